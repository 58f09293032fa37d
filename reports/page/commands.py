"""Commands that a page prints: each can be pasted, and makes the run or the measurement that it
stands beside.

    training_command(run, seed=3)    # python -m bench.run method=selfflow size=nano seed=3
    measuring_command(run, like)     # python -m bench.evaluate run=... metrics=fid reference=train
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.core.metrics import metric_entries
from bench.core.model.sampling_protocol import CHANGEABLE, PROTOCOLS
from bench.core.store.files import Json
from bench.core.store.runs import RunRecord
from bench.core.store.untrusted import printable
from reports.study.runs import mapping

DESCRIBING = ("method", "size", "encoder", "data", "seed")  # fields of a run that are words too
EVALUATED = "evaluate-"  # begins the result files of bench.evaluate; bench.run makes the others


def run_command(words: Iterable[str]) -> str:
    """The command that trains a run."""
    return printable("python -m bench.run " + " ".join(shlex.quote(word) for word in words))


def sweep_command(study: str, data: str = "", runs: Path = Path("runs")) -> str:
    """The command that runs a study, on its first data set where none is said."""
    words = [f"study={study}", f"data={data}" if data else ""]
    words += [] if runs == Path("runs") else [f"runs={runs}"]
    return printable("python -m bench.sweep " + " ".join(shlex.quote(one) for one in words if one))


def training_command(run: RunRecord, **changes: object) -> str:
    """The command that made a run, with some keys changed; on a finished run it makes what is not
    yet measured.
    """
    words = [word for word in words_of(run) if not word.startswith("runs=")]
    left = {key: _text(value) for key, value in changes.items()}
    if run.folder.parent != Path("runs"):
        left["runs"] = str(run.folder.parent)
    # what is changed stays in its place, what is new follows
    for place, word in enumerate(words):
        for key in [key for key in left if word.startswith(f"{key}=")]:
            words[place] = f"{key}={left.pop(key)}"
    return run_command([*words, *(f"{key}={value}" for key, value in left.items())])


def measuring_command(run: RunRecord, like: Mapping[str, object]) -> str:
    """The command that measures a finished run as a result row of another one was measured."""
    if not str(like["kind"]).startswith(EVALUATED):
        return training_command(run, measure="full")
    asked = mapping(like.get("request")) or _request_of_old(run, like)
    words = {"run": run.folder} | asked
    quoted = [shlex.quote(f"{key}={value}") for key, value in words.items() if value is not None]
    return printable("python -m bench.evaluate " + " ".join(quoted))


def _request_of_old(run: RunRecord, like: Mapping[str, object]) -> Json:
    """What was asked for a row of a time when rows kept words, or nothing, of it."""
    protocol, asked = mapping(like["protocol"]), mapping(mapping(like.get("details")).get("words"))
    if "sampling" not in protocol:  # of features, which take no samples
        return asked

    # how it was sampled
    sampling = mapping(protocol.get("sampling"))
    name, metric = str(sampling.get("name", "sde250")), str(like["metric"])
    usual = PROTOCOLS[name].to_json() if name in PROTOCOLS else {}
    words = {"protocol": name, "samples": sampling.get("samples"), "seed": sampling.get("seed")}
    words |= {
        key: sampling[key]
        for key in CHANGEABLE
        if key in sampling and sampling[key] != usual.get(key)
    }
    if "guided_channels" in words:
        # counted in numbers of a token; the word counts the data's channels
        patch = int(mapping(run.configuration.get("data")).get("patch") or 1)
        words["guided_channels"] //= patch**2

    # what was measured, against what
    reference = str(protocol.get("reference", "train")).partition(" (")[0]
    reference = "train" if reference.endswith(" train") else reference
    giving = (e.name for e in metric_entries().values() if not e.kind and metric in e.gives)
    return words | {"reference": reference, "metrics": next(giving, metric)} | asked


def words_of(run: RunRecord) -> list[str]:
    """The words that a run was started with; where they were not kept, those that make it."""
    kept = [word for word in run.argv if isinstance(word, str) and "=" in word]
    if kept:
        return kept

    # what it is
    settings = run.configuration
    values = {key: getattr(run, key) for key in DESCRIBING}
    values = {key: value for key, value in values.items() if value not in (None, "", "none")}
    # what differs from the recipe
    for key, value in run.identity.items():
        if key == "init_weights":  # it follows from init
            continue
        group, _, rest = key.partition(".")
        option = rest.partition(".")[0]
        by_size = mapping(settings.get(group)).get(option) if rest != option else None
        # a mapping by size, method.block.B, is given whole: a word replaces it
        values |= {key: value} if by_size is None else {f"{group}.{option}": by_size}
    # what is no part of its identity
    values |= {
        key: settings[key] for key in ("name", "measure", "init") if settings.get(key) is not None
    }
    if run.images != mapping(mapping(settings.get("data")).get("recipe")).get("images"):
        values["images"] = run.images
    return [f"{key}={_text(value)}" for key, value in values.items()]


def _text(value: object) -> str:
    """A value as a word of the command holds it: true, null, [1, 2], {default:0.3,L:8}."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
