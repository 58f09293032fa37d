"""What a reader must know before any number of a page: what is not there, what cannot be compared,
what has no value.

    notices(study, "all", lead, sections)      # a sentence each, in the page's head
    without_value(study)                       # the first of these rows, in its appendix
"""

from __future__ import annotations

from bench.core.store.files import flatten
from reports.draw.page_parts import Section
from reports.draw.panels import Figure
from reports.draw.theme import arm_label
from reports.findings.apart import runs_apart
from reports.page.commands import run_command, sweep_command, training_command
from reports.study.runs import StudyResults

ROWS_NAMED = 12  # without a value
RUNS_NAMED = 4  # that stand apart


def _first_command(study: StudyResults) -> str:
    return sweep_command(study.name) if study.name else run_command(["method=selfflow"])


def notices(
    study: StudyResults, kind: str, lead: Figure | None, sections: list[Section]
) -> list[str]:
    """What a reader must know before any number."""
    runs = list(study.runs.values())
    if not runs:
        return [f"There are no runs here. To train some: {_first_command(study)}"]
    said = []
    # what is not there
    if not any(run.state == "complete" for run in runs):
        said.append(
            "No run is finished: "
            "curves rest on snapshots of unfinished runs, and nothing is compared."
        )
    if not len(study.rows):
        said.append(
            f"No run has results yet: measure one with {training_command(runs[0], measure='full')}"
        )
    # what cannot be compared
    if len({run.seed for run in runs}) == 1:
        said.append(
            "There is one seed only: no spread and no noise floor can be had, and so no verdict."
        )
    if kind == "scaling" and len({run.size for run in runs}) == 1:
        said.append(f"There is one size only ({runs[0].size}): scaling needs at least two.")
    if kind == "encoders" and len({run.encoder for run in runs} - {None, "", "none"}) < 2:
        said.append("Fewer than two encoders were used: their strength cannot be compared.")
    # a rate of each size's own is the study's plan, and other data are never compared
    differing: set[str] = set()
    for place in {(run.data, run.size) for run in runs}:
        alike = [flatten(run.recipe) for run in runs if (run.data, run.size) == place]
        recipes = [{(key, str(value)) for key, value in one.items()} for one in alike]
        differing |= {key for key, _ in set.union(*recipes) - set.intersection(*recipes)}
    if differing:
        said.append(
            f"Runs differ in {', '.join(sorted(differing))} too, not only in arm, size and seed: "
            "see the table of runs."
        )
    if len({run.arm for run in runs}) == 1:
        said.append(
            f"There is one arm only ({arm_label(runs[0].arm)}): "
            "there is nothing to compare it with."
        )
    said += _standing_apart(study)
    # what was measured and has no value, or no figure
    failed = int(study.rows["value"].isna().sum())
    if failed:
        said.append(
            f"{failed} result rows have no value (NaN, infinite or not measurable): "
            "they are left out of all means; "
            "the first are named at the end."
        )
    if lead is None and not any(one.figures for one in sections) and len(study.rows):
        said.append(
            "The figures of this page need results that no finished run has; "
            "see below what is missing."
        )
    return said


def _standing_apart(study: StudyResults) -> list[str]:
    """The runs that are far from the others of their arm, one sentence for all of them."""
    apart = runs_apart(study)
    if not apart:
        return []
    named = [
        f"{one.run} ({one.label}{_on_part(one.data, study.runs[one.run].data)} {one.value:.3g}, "
        f"others {_span(*one.others)})"
        for one in apart[:RUNS_NAMED]
    ]
    if len(apart) > RUNS_NAMED:
        named.append(f"{len(apart) - RUNS_NAMED} more")
    runs, stand = ("run", "stands") if len(apart) == 1 else ("runs", "stand")
    return [
        f"{len(apart)} {runs} {stand} far apart from the others of the same arm: "
        f"{'; '.join(named)}. Nothing was left out of any number: "
        "look at the curves and samples, and at the recipe, before the verdicts."
    ]


def _on_part(measured: str, trained: str) -> str:
    """Where a run of several kinds of data was measured on one of them, which."""
    return "" if measured == trained else f" on {measured.removeprefix(f'{trained}/')}"


def _span(least: float, most: float) -> str:
    low, high = f"{least:.3g}", f"{most:.3g}"
    return low if low == high else f"{low} to {high}"


def without_value(study: StudyResults) -> list[str]:
    """The first rows without a value, by run, metric and place, and how many more there are."""
    rows = study.rows[study.rows["value"].isna()]
    lines = []
    for row in rows.head(ROWS_NAMED).to_dict("records"):
        place = (
            f", block {row['block']:g}, t = {row['t']:g}" if row["block"] == row["block"] else ""
        )
        lines.append(
            f"{row['run']}: {row['metric']} at {row['images']:,.0f} images{place} "
            "has no finite value"
        )
    more = len(rows) - len(lines)
    return [*lines, f"and {more:,} more rows without a value"] if more else lines
