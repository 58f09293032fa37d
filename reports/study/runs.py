"""Read a folder of runs once: result rows as a table, and what is known of each run beside them.

    study = read_study(Path("runs"))
    study.rows     # pandas, one line a result row (bench.core.store.row_table)
    study.runs     # {run id: RunRecord}, also for runs without results

Nothing here fails because of one bad file: it is named in `study.problems` and left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.core.store.files import Json, flatten
from bench.core.store.row_table import row_table
from bench.core.store.runs import METRICS_LOG, Description, RunRecord, read_runs
from bench.core.store.untrusted import parse_json
from reports.study.cells import Comparable, cells
from reports.study.groups import Group, by_size, distances, of_group, sorted_arms

if TYPE_CHECKING:
    import pandas as pd

POINTS = 200  # of a training curve that are kept: more cannot be seen in a figure


class PlannedRun(Protocol):
    """A run that a study asks for (bench.study.runs.RunSpec), as far as a page names it.

    id: its folder's name, None where it cannot be run for a reason; overrides: the command's words;
    found_in: itself, or, where only that is there, the run that its words made earlier; matched:
    the comparisons that it is for, at equal "images", "flops" or both (`match` of a study file).
    """

    @property
    def id(self) -> str | None: ...
    @property
    def arm(self) -> str: ...
    @property
    def overrides(self) -> tuple[str, ...]: ...
    @property
    def reason(self) -> str: ...
    @property
    def matched(self) -> tuple[str, ...]: ...
    def found_in(self, runs: Path) -> PlannedRun: ...


@dataclass
class StudyResults:
    """What a page is a function of. planned: the runs that a named study asks for, () when the page
    is of a folder.
    """

    name: str
    rows: pd.DataFrame
    runs: dict[str, RunRecord]
    planned: tuple[PlannedRun, ...] = ()
    problems: list[str] = field(default_factory=list)
    _cells: dict[Group, Comparable] = field(default_factory=dict, init=False, repr=False)
    _parts: dict[Group, pd.DataFrame] = field(default_factory=dict, init=False, repr=False)
    _sizes: dict[Group, list[tuple[str, pd.DataFrame]]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def final(self) -> pd.DataFrame:
        """Rows of the last snapshots of finished runs."""
        return self.rows[self.rows["final"]]

    @cached_property
    def distances(self) -> list[Group]:
        """What finished runs are compared by, in the order in which it is shown."""
        return distances(self.final)

    def part(self, group: Group) -> pd.DataFrame:
        """The rows of a group, of finished runs."""
        if group not in self._parts:
            self._parts[group] = of_group(self.final, group)
        return self._parts[group]

    def by_size(self, group: Group) -> list[tuple[str, pd.DataFrame]]:
        """The same at each size, from the smallest backbone to the largest."""
        if group not in self._sizes:
            self._sizes[group] = by_size(self.part(group))
        return self._sizes[group]

    def cells(self, group: Group) -> Comparable:
        """The numbers of a group of finished runs, with their curves: computed once a study, as
        most figures and sentences of a page ask for them.
        """
        if group not in self._cells:
            finished = self.rows[self.rows["state"] == "complete"]
            self._cells[group] = cells(self.rows, finished, group)
        return self._cells[group]

    def rows_matched(self, by: str) -> pd.DataFrame:
        """Rows of the study's runs for comparisons at equal "images" or "flops", none of a folder's
        page; at equal FLOPs the arms' numbers of images differ.
        """
        named = {run.id for run in self.planned if by in run.matched}
        return self.rows[self.rows["run"].isin(named)]

    @property
    def arms(self) -> list[str]:
        """The arms in the study's order, those of a folder in the usual one."""
        there = [self.runs[run.id].arm for run in self.planned if run.id in self.runs]
        return [*dict.fromkeys([*there, *sorted_arms(run.arm for run in self.runs.values())])]

    def first_seeds(self) -> dict[tuple[str, str], list[RunRecord]]:
        """{(data, size): the run of the lowest seed of each arm}, the largest size first."""
        first: dict[tuple[str, str], dict[str, RunRecord]] = {}
        for run in sorted(self.runs.values(), key=lambda run: (run.seed, run.id)):
            first.setdefault((run.data, run.size), {}).setdefault(run.arm, run)

        def position(place: tuple[str, str]) -> tuple[str, int, str]:
            data, size = place
            return data, -next(iter(first[place].values())).width, size

        return {
            place: [first[place][arm] for arm in sorted_arms(first[place])]
            for place in sorted(first, key=position)
        }


def read_study(
    runs_dir: Path, name: str = "", planned: Collection[PlannedRun] = ()
) -> StudyResults:
    """Read all runs below a folder, or those that a study has planned.

    Raises ValueError when the folder does not exist; an empty one gives a study without runs.
    """
    if not runs_dir.is_dir():
        raise ValueError(
            f"no folder {runs_dir}: "
            "give the folder that holds the runs with --runs, or train one first"
        )
    planned = tuple(run.found_in(runs_dir) for run in planned)
    run_ids = {run.id for run in planned if run.id} if name else None
    records, problems = read_runs(runs_dir, run_ids)
    rows = _typed(row_table(records, problems))
    records, copies = without_copies(records)
    problems += copies
    runs = _marked_by_recipe({run.id: run for run in records})
    rows = rows[rows["run"].isin(list(runs))].reset_index(drop=True)
    rows = rows.assign(arm=rows["run"].map({run.id: run.arm for run in runs.values()}).astype(str))
    return StudyResults(name, rows, runs, planned, problems)


def without_copies(runs: Iterable[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """The runs in their order, each training once, and the folders that are left out, in words.

    The same settings, seed, images and data give the same numbers, so a folder that was copied, or
    a training that was repeated under another name, is no further run. The one stays whose folder
    has the name that it began with; of several such a complete one, then the first.
    """
    there = list(runs)
    first: dict[str, RunRecord] = {}
    for run in sorted(there, key=lambda run: (run.began_as != run.id, run.state != "complete")):
        first.setdefault(_training(run), run)
    kept = [run for run in there if first[_training(run)] is run]
    return kept, [
        f"{run.id}: has the settings, seed and data of {first[_training(run)].id}, so it is the "
        "same run; it is left out"
        for run in there
        if first[_training(run)] is not run
    ]


def _training(run: RunRecord) -> str:
    """What two folders of one training share: all that run.json says but the words of the command,
    which may name another folder.
    """
    said = {one.name: getattr(run, one.name) for one in fields(Description)}
    return json.dumps({key: value for key, value in said.items() if key != "argv"}, sort_keys=True)


def _marked_by_recipe(runs: dict[str, RunRecord]) -> dict[str, RunRecord]:
    """Runs of a data set and size whose recipe not all share are arms of their own:
    "vanilla [optimizer.lr=0.001]".

    Otherwise a run with another learning rate would pass for one more seed, or for what its method
    does. How an encoder is read is a recipe among runs of one arm alone, and so is an option of
    the method that its name does not say: one that is newer than some of the runs.
    """
    own: dict[str, set[str]] = {run: set() for run in runs}
    for keys, reads in ((("data", "arm", "size"), True), (("data", "size"), False)):
        # the settings of the runs that are alike in these keys
        alike: dict[tuple[str, ...], dict[str, set[str]]] = {}
        for run in runs.values():
            own_options = {k: v for k, v in run.identity.items() if k.startswith("method.")}
            items = {
                item
                for item in flat_items(run.recipe | own_options)
                if reads or not item.startswith(("encoder.", "method."))
            }
            alike.setdefault(tuple(str(getattr(run, key)) for key in keys), {})[run.id] = items
        # what not all of them have
        for members in alike.values():
            shared = set.intersection(*members.values())
            for name, items in members.items():
                own[name] |= items - shared
    marks = {name: f" [{', '.join(sorted(items))}]" if items else "" for name, items in own.items()}
    return {name: replace(run, arm=f"{run.arm}{marks[name]}") for name, run in runs.items()}


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns of one type each, also where a run lacks an entry or there is no row at all."""
    import pandas as pd

    texts = {
        name: rows[name].fillna("?").astype(str)
        for name in ("size", "data", "metric", "protocol_id")
    }
    numbers = {
        name: pd.to_numeric(rows[name], errors="coerce")
        for name in ("parameters", "images", "images_total", "batch")
    }
    flags = {name: rows[name].eq(True) for name in ("final", "higher_is_better")}
    # JSON's Infinity is no number to average or to draw
    finite = {
        name: rows[name].where(rows[name].abs() < float("inf"))
        for name in ("value", "stderr", "real", "flops", "hours")
    }
    return rows.assign(**texts, **numbers, **flags, **finite)


def training_curve(run: RunRecord, problems: list[str]) -> list[Json]:
    """Lines of metrics.jsonl, evenly thinned to `POINTS`; a damaged line is skipped and named."""
    path = run.folder / METRICS_LOG
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        problems.append(f"{run.id}/{METRICS_LOG}: {error}; its curves are missing from the page")
        return []
    stride = max(1, len(lines) // POINTS)
    kept, damaged = [], 0
    for line in lines[::-stride][::-1]:
        try:
            content = parse_json(line)
        except ValueError:
            content = None
        if isinstance(content, dict):
            kept.append(content)
        else:
            damaged += 1
    if damaged:
        problems.append(f"{run.id}/{METRICS_LOG}: {damaged} damaged lines are left out")
    return kept


# JSON of run folders ------------------------------------------------------------------------------


def mapping(value: object) -> Json:
    """The value where it is a JSON object, else {}: files of runs are not to be trusted."""
    return value if isinstance(value, dict) else {}


def flat_items(tree: Mapping[str, object]) -> list[str]:
    """A configuration as ["optimizer.lr=0.004", ...]."""
    return [f"{key}={value}" for key, value in flatten(tree).items()]
