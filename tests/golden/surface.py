"""What users and other programs see, as stored in surface/: help pages, composed configurations,
a row of every metric.

    python tests/golden/surface.py recapture

writes them anew. Do that only after a change that is meant to be seen, and read the difference
before it is committed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import yaml  # noqa: E402
from support.house import COMMANDS  # noqa: E402
from support.runs import only_run, run_in_process, tiny_run  # noqa: E402

from bench.config.compose import compose  # noqa: E402
from bench.core.data.base import DataSet  # noqa: E402
from probes.extractors.local import LocalExtractor, local_extractor, untrained  # noqa: E402

STORED = Path(__file__).parent / "surface"
CONFIGURATIONS = {
    "vanilla": ["method=vanilla"],
    "selfflow_L": ["method=selfflow", "size=L", "time.kind=logit_normal", "images=64Ki", "seed=3"],
    "repa_dinov2_g": [
        "method=repa",
        "encoder=dinov2_g",
        "data=imagenet256",
        "size=XL",
        "compute.compile=true",
    ],
    "haste": [
        "method=haste",
        "data=imagenet256",
        "images=100steps",
        "optimizer.lr=1e-3",
        "method.weight=1",
    ],
    "cluster": [
        "method=sra",
        "data=folder",
        "data.root=pictures",
        "compute=slurm",
        "compute.gpus=8",
    ],
}
# One line each: a command and words that it refuses. "*" stands for a run folder that is not there.
REFUSALS = """\
run method=selfflw | run methd=vanilla | run method=vanilla,repa | run seed=-1 | run seed=x
run images=100 batch=64 | run images=10 | run method | run batch=0 | run micro_batch=7
run precision=half | run optimizer.lr=0 | run optimizer.lr=fast | run optimizer.schedule=step
run method=repa encoder=dinov2 | run --cfg | run method=vanilla method=repa | run seed=0 --seed 1
run --seed | run --cfg all | run name=a/b | run runs= | run data.patch=0 | run data=null
run size=Q | run size.depth=0 | run method=vanilla encoder=local_s
run method=selfflow method.mask_ratio=2 | run method=selfflow method.masks=1
run method=layersync method.student_block=last | run method=haste encoder=local_s
run evaluation.protocol=ode51 | run evaluation.encoders=[nothing] | run compute=slurm
run compute.threads=1.5 | run label_drop=2 | run ema.decay=1 | sweep | sweep study=dmo
sweep study=demo action=go | sweep study=demo dry_run=maybe | sweep study=demo workers=0
sweep study=demo study=family | sweep study=demo workers=2 compute=slurm | sweep study=demo word
sweep data=digits | sweep study=demo action=work dry_run=true | sweep study=demo retries=-1
sweep study=demo size=Q | sweep study=demo rates=1e-3
evaluate run=* | evaluate run=a checkpoint=b | evaluate samples=1
evaluate run=* smples=1 | evaluate run=* samples= | evaluate checkpoint=a
evaluate checkpoint=a format=dit size=XL data=digits | evaluate run=* format=sit
evaluate run=* threads=0 | evaluate run=* threads=x | evaluate run=* metrics=fdi
evaluate run=* metrics=fid | evaluate run=* metrics=probes,probes | evaluate run=* reference=nowhere
evaluate run=* probe=fast | evaluate run=* metrics=probes probe=slow
evaluate run=* metrics=probes seed=1 | evaluate run=* encoder.name=a | latents size=8 size=16
report all all | report all studdy=demo | report all --no-pdf maybe | report all runs=
prepare vae=ema vae=mse | publish out=a pages=best | publish out=a pages=all,all | latents size=20
latents heldout=2 | report scalin | report fit | report fit nowhere.csv | report all --runs nowhere
report demo --study dmo | prepare | prepare encoder=dinov2 | prepare word | prepare vae=sd
prepare reference=lsun | prepare dry_run=maybe | doctor word | doctor method=selfflw
doctor seed=-1 | publish | publish study=demo | publish run=* out=a | publish word | latents
latents word=1 | latents data.root=nowhere out=a | latents images=maybe | posthoc_ema
posthoc_ema run=* | posthoc_ema run=* decay=x | posthoc_ema run=* decay=2 | posthoc_ema run=* word
posthoc_ema run=* decay=0.9 warmup=maybe | posthoc_ema run=* decay=0.9 images=x | speed word
export | export run=* format=sit | export run=* format=gguf | export run=* word
speed size=Q | speed method=selfflw | speed steps=0 | speed steps=x | speed arms=selfflw
speed sizes=Q | speed levels=two | speed sampling=dopri5
run method=irepa method.kernel=2 | run method=sra method.similarity=l1
run method=repa method.head_init=kaiming | run method=irepa method.head_init=torch
"""
HASH = re.compile(
    r"\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}\b"
)  # of trained weights: other on another processor


def help_page(command: str) -> str:
    """What `python -m bench.<command> --help` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            main_of(command)(["--help"])
        except SystemExit as done:
            assert not done.code
    return printed.getvalue()


def main_of(command: str) -> Callable[[list[str]], int]:
    """What `python -m bench.<command>` runs."""
    module = importlib.import_module(f"bench.{command}")
    return getattr(module, command.upper(), module).main


def refusal(line: str) -> str:
    """The one sentence with which a command refuses these words."""
    command, *words = line.replace("run=*", "run=no/such/run").split()
    main = main_of(command)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = main(words)
        except (ValueError, OSError) as error:
            return str(error)
        except SystemExit as done:
            code = done.code
    return f"exit {code}: {printed.getvalue().strip().splitlines()[-1:]}"


def refusals() -> dict[str, str]:
    """{words: the sentence that refuses them}."""
    lines = [part.strip() for line in REFUSALS.splitlines() for part in line.split(" | ")]
    return {line: refusal(line) for line in lines}


def configuration(words: list[str]) -> dict[str, Any]:
    """What `--cfg job` prints; where a class lies is no part of what a run is."""
    return without_targets(compose(words).to_dict())


def without_targets(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: without_targets(value) for key, value in node.items() if key != "target"}


def result_rows(runs: Path) -> dict[str, list[dict[str, Any]]]:
    """{kind: rows} of a run with an encoder of its own and everything
    measured that needs no download.
    """
    words = [
        "method=repa",
        "encoder=local_s",
        "measure=full",
        "evaluation.samples=64",
        "evaluation.probe_images=200",
    ]
    words = tiny_run(runs, *words, "snapshots=1")

    def seeded(dataset: DataSet, cache: Path) -> LocalExtractor:
        """An extractor as it begins, whose weights follow from a seed: trained ones are others on
        another processor, and of 64 samples they find twice as many near real ones, or half.
        """
        with mock.patch("probes.extractors.local.train", untrained):
            return local_extractor(dataset, runs / "extractor")

    with mock.patch("probes.distances.local.local_extractor", seeded):
        assert run_in_process(words) == 0
    run = only_run(runs)
    evaluate = main_of("evaluate")
    of_samples = [
        "protocol=sde250",
        "steps=4",
        "samples=70",
        "reference=train",
        "metrics=fd_local_s",
    ]
    for asked in (of_samples, ["metrics=probes,cknna_local_s", "probe=fast"]):
        asked += [word for word in words if word.startswith("cache=")]
        with contextlib.redirect_stdout(io.StringIO()):
            assert evaluate([f"run={run}", "device=cpu", *asked]) == 0
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((run / "results").glob("*.json")):
        kind = HASH.sub("HASH", path.stem).replace(f"-{2048:012d}", "")
        found[kind] = [told(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    return found


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what other processors change: hashes of weights,
    and answers picture by picture.
    """
    row = {key: value for key, value in row.items() if key not in ("protocol_id", "stderr")}
    row["details"] = {
        key: value for key, value in row["details"].items() if key not in ("correct", "interval_95")
    }
    return json.loads(HASH.sub("HASH", json.dumps(row)))


def capture() -> dict[str, str]:
    """{file name: content} of everything here."""
    files = {f"help_{command}.txt": help_page(command) for command in COMMANDS}
    for name, words in CONFIGURATIONS.items():
        files[f"configuration_{name}.yaml"] = yaml.safe_dump(configuration(words), sort_keys=False)
    files["refusals.txt"] = "".join(f"{line}\n    {said}\n" for line, said in refusals().items())
    with tempfile.TemporaryDirectory() as folder:
        rows = result_rows(Path(folder))
    lines = {
        kind: ",\n".join(f"  {json.dumps(row)}" for row in of_kind)
        for kind, of_kind in rows.items()
    }
    files["rows.json"] = (
        "{\n" + ",\n".join(f' "{kind}": [\n{text}\n ]' for kind, text in lines.items()) + "\n}\n"
    )
    return files


if __name__ == "__main__":
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("action", choices=["recapture"], help="write what is stored anew")
    parser.parse_args()
    for name, content in capture().items():
        (STORED / name).write_text(content, encoding="utf-8")
