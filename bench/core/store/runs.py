"""The one reader of run folders: what a run is, how far it came, what it cost, what was measured.

run = read_run(Path("runs/digits-vanilla-nano-s0-1a2b3c4d"))    # ValueError where it is no run
run.arm, run.seed, run.state, run.cost.get("seconds_per_step"), run.metrics[-1]["loss"]
runs, problems = read_runs(Path("runs"))                        # damaged files: named, left out

run.json      what was trained: arm, size, data, seed, the words of the command   `Description`
config.json   the whole configuration          env.json      versions, device and code
status.json   state, heartbeat, message        cost.json     parameters, FLOPs, seconds, memory
metrics.jsonl one line a logging interval      results/      one file a measurement
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.core.store.files import Json, flatten, short_hash, write_json
from bench.core.store.rows import in_todays_words
from bench.core.store.schema import (
    CONFIGURATION_VALUES,
    COST_VALUES,
    DESCRIPTION_VALUES,
    MEASUREMENT_VALUES,
    ROW_VALUES,
    SCHEMA_VERSION,
    STATUS_VALUES,
    NewerSchema,
    Values,
    check_content,
    read_checked,
)
from bench.core.store.untrusted import parse_json, printable

if TYPE_CHECKING:
    pass

DESCRIPTION = "run.json"
CONFIGURATION = "config.json"
ENVIRONMENT = "env.json"
COST = "cost.json"
STATUS = "status.json"
METRICS_LOG = "metrics.jsonl"
RUN_FILES = (CONFIGURATION, DESCRIPTION, ENVIRONMENT, COST, STATUS, METRICS_LOG)
_VALUES: Mapping[str, Values] = {
    STATUS: STATUS_VALUES,
    COST: COST_VALUES,
    ENVIRONMENT: {},
    CONFIGURATION: CONFIGURATION_VALUES,
}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What run.json says.

    images, batch: of the whole training, and of a step; aligned: family, training data and labels
    of the encoder that the arm is aligned with, of several kinds of data by part; blocks, head:
    where its loss is read, and by what; identity: the settings that its hash is of; fingerprints:
    of data and encoder; data_sizes: pictures in each split; init: the run whose weights it began
    from, its arm and images; argv: the words of the command.
    """

    arm: str
    method: str
    encoder: str | None
    size: str
    depth: int
    width: int
    data: str
    seed: int
    images: int
    hash: str = ""
    batch: int | None = None
    aligned: Json | None = None
    blocks: dict[str, int] | None = None
    head: str = ""
    identity: Json = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    data_sizes: dict[str, int] = field(default_factory=dict)
    init: Json | None = None
    argv: list[str] = field(default_factory=list)


class ResultRows(NamedTuple):
    """rows: as stored, with images, flops, hours, kind and `final` of their file; problems: what
    is damaged and left out.
    """

    rows: list[Json]
    problems: list[str]


@dataclass(frozen=True, kw_only=True)
class RunRecord(Description):
    """One run folder as its files say it; {} for a file that is missing or damaged.

    began_as: the folder's name when the run began; problems: damaged files beside run.json, in
    words.
    """

    folder: Path
    began_as: str = ""
    status: Json = field(default_factory=dict)
    cost: Json = field(default_factory=dict)
    environment: Json = field(default_factory=dict)
    configuration: Json = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The folder's name, as it is shown."""
        return printable(self.folder.name)

    @property
    def state(self) -> str:
        """What status.json says: running | stopped | failed | complete, "unknown" without one."""
        return self.status.get("state") or "unknown"

    @property
    def recipe(self) -> Json:
        """What makes its numbers beside method, encoder, size, data and seed:
        {"optimizer.lr": 0.001}, or nothing. The weights that it began from are called by the run
        that they are of: {"init": "digits-vanilla-nano-s0@3f5a0c1d"}.
        """
        named = ("method", "encoder", "encoder.of", "size", "data", "seed", "init_weights")
        begun = {"init": self.begun_from} if self.begun_from else {}
        return begun | {
            key: value
            for key, value in self.identity.items()
            if key not in named and not key.startswith("method.")
        }

    @property
    def begun_from(self) -> str:
        """The run whose weights it began from, its name and the weights' hash in place of the
        folder's: "digits-vanilla-nano-s0@3f5a0c1d"; "" of a run with fresh weights.
        """
        weights = self.identity.get("init_weights")
        folder = printable(str((self.init or {}).get("run", "run")))
        return f"{re.sub('-[0-9a-f]{8}$', '', folder)}@{str(weights)[:8]}" if weights else ""

    @property
    def settings(self) -> Json:
        """Its configuration by key, "optimizer.lr", as it is shown."""
        return {
            printable(key): printable(value) if isinstance(value, str) else value
            for key, value in flatten(self.configuration).items()
        }

    @property
    def parts(self) -> list[str]:
        """The parts of its data by name, "" where they are of one kind."""
        data = self.configuration.get("data")
        parts = data.get("parts") if isinstance(data, dict) else None
        return list(parts) if isinstance(parts, dict) and parts else [""]

    @property
    def modalities(self) -> dict[str, str]:
        """The kind of its data, by what its rows call them; "" where their option does not say it,
        and one for each part of data of several kinds.
        """
        data = self.configuration.get("data")
        said = data if isinstance(data, dict) else {}
        parts = said.get("parts")
        kinds = {"": said, **(parts if isinstance(parts, dict) else {})}
        return {
            data_of_part(self.data, part): str(one.get("modality", ""))
            for part, one in kinds.items()
            if isinstance(one, dict)
        }

    @property
    def streams(self) -> str:
        """What the pictures, noise, times and dropped labels of its steps depend on beside the
        seed: runs that agree in it and in the seed share them.
        """
        settings = {"batch": self.batch, "device": self.environment.get("device")}
        settings |= {key: self.configuration.get(key) for key in ("label_drop", "time")}
        # two copies of a data set in different places are the same pictures
        return short_hash([self.data, self.fingerprints.get("data"), settings])

    @property
    def schedule(self) -> str:
        """Of the learning rate, "" where its configuration does not say."""
        optimizer = self.configuration.get("optimizer")
        return str(optimizer.get("schedule", "")) if isinstance(optimizer, dict) else ""

    @cached_property
    def metrics(self) -> list[Json]:
        """The lines of metrics.jsonl, [] where there is none."""
        path = self.folder / METRICS_LOG
        return read_metrics(path) if path.exists() else []

    @cached_property
    def results(self) -> ResultRows:
        """The rows of all result files, in the order of their names."""
        found = ResultRows([], [])
        for path in sorted((self.folder / "results").glob("*.json")):
            # a file that cannot be read is named
            where = printable(f"{self.folder.name}/results/{path.name}")
            try:
                content = read_measurement(path)
            except (OSError, ValueError) as error:
                found.problems.append(f"{where}: {_why(error)}; its rows are left out")
                continue
            # what every row of the file shares, and each row by itself
            of_file = {key: content.get(key) for key in ("images", "flops", "hours", "kind")}
            of_file["final"] = self.state == "complete" and content["images"] == self.images
            faults: list[str] = []
            for row in content["rows"]:
                try:
                    check_content(row, ROW_VALUES)
                    said = in_todays_words(row)
                    found.rows.append(of_file | {column: said.get(column) for column in _STORED})
                except ValueError as error:
                    faults.append(str(error))
            # one line for all rows that are none
            if faults:
                left_out = f"{len(faults)} of {len(content['rows'])} rows are left out"
                found.problems.append(f"{where}: {faults[0]}; {left_out}")
        return found


# Reading -----------------------------------------------------------------------------------------


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, whatever state its files are in."""
    return (folder / DESCRIPTION).exists()


def read_run(folder: Path) -> RunRecord:
    """The run of a folder.

    Raises OSError or ValueError where run.json is missing, damaged, or of a newer schema.
    """
    content = read_checked(folder / DESCRIPTION, DESCRIPTION_VALUES)
    names = {one.name for one in fields(Description)}
    description: Json = {"encoder": None} | {
        name: value for name, value in content.items() if name in names and value is not None
    }
    problems: list[str] = []
    status, cost, environment, configuration = (
        _read_beside(folder, file, problems) for file in _VALUES
    )
    return RunRecord(
        **description,
        folder=folder,
        began_as=content.get("id") or "",
        status=status,
        cost=cost,
        environment=environment,
        configuration=configuration,
        problems=tuple(problems),
    )


def read_runs(
    runs_dir: Path, run_ids: Collection[str] | None = None
) -> tuple[list[RunRecord], list[str]]:
    """The runs directly below a folder (the named ones only), in the order of their names, and what
    is damaged, in words: one bad file costs what it holds and nothing else.
    """
    runs: list[RunRecord] = []
    problems: list[str] = []
    for folder in sorted(runs_dir.glob("*/")):
        if not is_run(folder) or (run_ids is not None and folder.name not in run_ids):
            continue
        try:
            runs.append(read_run(folder))
            problems += runs[-1].problems
        except (OSError, ValueError) as error:
            where = printable(f"{folder.name}/{DESCRIPTION}")
            problems.append(f"{where}: {_why(error)}; the run is left out")
    return runs, problems


def find_run(folder: Path) -> RunRecord | None:
    """The run that was begun in a folder; None where none was, or run.json is damaged.

    Raises ValueError for a run of a newer version of this program, which is left alone.
    """
    try:
        return read_run(folder)
    except NewerSchema as error:
        raise ValueError(
            f"{folder} is a run of a newer version of this program ({DESCRIPTION} {error}) and is "
            "left alone: use that version, or name another folder"
        ) from error
    except (OSError, ValueError):
        return None


def read_part(folder: Path, file: str) -> Json:
    """One of a run's files beside run.json, {} where there is none or it is damaged."""
    return _read_beside(folder, file, [])


def read_status(folder: Path) -> Json:
    """status.json of a run folder, {} where there is none or it is damaged."""
    return read_part(folder, STATUS)


def _read_beside(folder: Path, file: str, problems: list[str]) -> Json:
    path = folder / file
    try:
        # a folder of data that the configuration names is looked for under the very name
        as_written = file == CONFIGURATION
        values = _VALUES[file]
        return read_checked(path, values, SCHEMA_VERSION, as_written) if path.exists() else {}
    except (OSError, ValueError) as error:
        where = printable(f"{folder.name}/{file}")
        problems.append(f"{where}: {_why(error)}; what it holds is missing")
        return {}


# Writing -----------------------------------------------------------------------------------------


def write_description(folder: Path, description: Description) -> None:
    """Write run.json."""
    header = {"schema_version": SCHEMA_VERSION, "id": folder.name}
    write_json(folder / DESCRIPTION, header | asdict(description))


def write_status(folder: Path, status: Mapping[str, object]) -> None:
    """Write status.json."""
    write_json(folder / STATUS, {"schema_version": SCHEMA_VERSION} | dict(status))


# Lines and rows ----------------------------------------------------------------------------------


def read_metrics(path: Path) -> list[Json]:
    """The whole lines of a metrics.jsonl; a last line that is still being written is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(parse_json(line))
        except ValueError:
            break
    return lines


def read_measurement(path: Path) -> Json:
    """A result file. Raises OSError or ValueError when it cannot be read."""
    return read_checked(path, MEASUREMENT_VALUES)


def is_readable(path: Path) -> bool:
    """Whether the rows of a result file are there for whoever reads the run."""
    try:
        return bool(read_measurement(path))
    except (OSError, ValueError):
        return False


def is_row(content: object) -> bool:
    """Whether what a result file lists is a row."""
    try:
        check_content(content, ROW_VALUES)
    except ValueError:
        return False
    return True


def _why(error: Exception) -> str:
    damaged = isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
    return f"is damaged ({error})" if damaged else str(error)


# What of a stored row is read
OF_ROW = (
    *("metric", "value", "stderr", "n", "real", "higher_is_better", "block", "t", "related"),
    *("protocol", "protocol_id", "metric_version", "note", "details", "request"),
)
_STORED = (*OF_ROW, "encoder", "part")


# Names of parts ----------------------------------------------------------------------------------


def data_of_part(data: str, part: str) -> str:
    """What the data of a part's rows are called: "mixed/notes", which is no run on notes alone."""
    return f"{data}/{part}" if part else data


def samples_folder(run_dir: Path, part: str = "") -> Path:
    """Where the pictures lie that a run's samples are shown by, those of a part by themselves."""
    return run_dir / "parts" / part / "samples" if part else run_dir / "samples"
