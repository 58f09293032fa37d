"""Tables of numbers: distances with their spread and floor, the best places to probe, encoders."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from bench.core.metrics import facts_of
from bench.core.store.rows import CONTROL_OF_MOTION, YARDSTICKS
from reports.draw.axes import rounded, signed
from reports.draw.table import Cell, Table, arm_cell, cell, columns
from reports.draw.theme import encoder_name
from reports.findings.changes import changes
from reports.findings.claims import judged_shares
from reports.page.first_table import change_cell
from reports.study.contrasts import CONTROL, percent
from reports.study.groups import (
    Group,
    by_size,
    floor_text,
    groups,
    is_related,
    log_means,
    of_group,
    paired_deviation,
    pooled_deviation,
    sorted_arms,
    summarise,
)
from reports.study.runs import StudyResults
from reports.study.strengths import (
    STRENGTH_METRICS,
    MeasuredStrength,
    encoder_parameters,
    encoder_strengths,
    pixel_strengths,
)

if TYPE_CHECKING:
    import pandas as pd

Beside = tuple[str, str, str]  # arm, size, metric of one of these families
FAMILIES_BESIDE = ("share", "quality")
COLUMNS_EXPLAINED = (
    "Mean and deviation (SD) over n seeds of finished runs. "
    "Against vanilla: of the means of the log. A run, a pair: "
    "by how much one run scatters over seeds, pooled over the arms of a size, with its degrees "
    "of freedom, and the difference of two runs of one seed. Related: to the arm's encoder. "
)


def results_tables(study: StudyResults) -> list[Table]:
    """One table for each comparable set of distances, with what must stand beside a distance:
    spread, floor, copies.
    """
    final = study.final
    beside = [
        name for name in final["metric"].unique() if facts_of(str(name)).family in FAMILIES_BESIDE
    ]
    quality = final[final["metric"].isin(beside)]
    explained: set[str] = set()
    return [
        _results(study, quality, group, f"results-{index}", explained)
        for index, group in enumerate(study.distances)
    ]


def _results(
    study: StudyResults,
    rows_beside: pd.DataFrame,
    group: Group,
    name: str,
    explained: set[str],
) -> Table:
    """explained: columns of which a table before this one says what they are, and of this one."""
    part = study.part(group)
    quality, related = _quality(rows_beside, part)
    beside = sorted({metric for *_, metric in quality}, key=lambda one: facts_of(one).position)
    lines = []
    for size, of_size in study.by_size(group):
        summaries = {summary.arm: summary for summary in summarise(of_size, ["arm"])}
        floor, freedom = pooled_deviation(of_size)
        pair = paired_deviation(of_size)
        logs = log_means(of_size)
        for arm in sorted_arms(summaries):
            summary = summaries[arm]
            compared = arm != "vanilla" and {arm, "vanilla"} <= logs.keys()
            change = percent(logs[arm][0] - logs["vanilla"][0]) if compared else None
            # what makes a number of this line less than it seems
            marked = [group.metric] if summary.related else []
            marked += [facts_of(one).label for one in beside if (arm, size, one) in related]
            words = [f"related: {', '.join(marked)}"] if marked else []
            words += [f"{summary.failed} without a value"] if summary.failed else []
            lines.append([
                arm_cell(arm),
                Cell(size, rounded(summary.parameters)),
                cell(summary.mean), cell(summary.sd, 2), cell(summary.n),
                Cell("–" if change is None else f"{signed(change)} %", rounded(change)),
                Cell(_floor_cell(floor, freedom), rounded(floor)),
                Cell("–" if pair is None else floor_text(pair), rounded(pair)),
                cell(summary.real, 3),
                *(cell(quality.get((arm, size, metric)), 3) for metric in beside),
                cell(summary.flops, 3),
                cell("; ".join(words)),
            ])  # fmt: skip
    meaning = f": {group.facts.meaning}" if group.facts.meaning else ""
    note = f"{group.facts.axis}{meaning}, {group.facts.direction}. "
    note += "Columns as in the first table. " if "mean" in explained else COLUMNS_EXPLAINED
    note += f"Protocol {group.protocol_id} is written out at the end."
    controls = [one.get(CONTROL_OF_MOTION) for one in part["details"] if isinstance(one, dict)]
    if control := [one for one in controls if one is not None]:
        shuffled = sum(control) / len(control)
        note += f" Held-out videos with their frames shuffled: {shuffled:.3g}."
    note += _yardsticks(part, part) + _yardsticks(rows_beside, part)
    for facts in map(facts_of, beside):
        if facts.meaning and facts.label not in explained:
            note += f" {facts.label.capitalize()}: {facts.meaning}."
    explained |= {"mean", *(facts_of(metric).label for metric in beside)}
    heads = columns(
        *("arm", "size", "#mean", "#SD", "#n", "#against vanilla", "#a run", "#a pair"),
        f"#{group.facts.real}",
        *(f"#{facts_of(metric).label}" for metric in beside),
        *("#FLOPs", "note"),
    )
    title = f"{group.title()} · after {group.images_total:,} images"
    return Table(name, title, note, heads, lines)


def share_tables(study: StudyResults) -> list[Table]:
    """One table for each comparable set of shares of samples that are right, of which a claim is:
    spread, change from vanilla in points, and the best that could be.
    """
    found = groups(study.final[study.final["metric"].isin(judged_shares())])
    return [_shares(study, group, f"shares-{index}") for index, group in enumerate(found)]


def _shares(study: StudyResults, group: Group, name: str) -> Table:
    lines = []
    for size, of_size in study.by_size(group):
        changed = {one.arm: one for one in changes(study.cells(group), size, CONTROL)}
        summaries = {summary.arm: summary for summary in summarise(of_size, ["arm"])}
        for arm in sorted_arms(summaries):
            one = summaries[arm]
            words = [f"related: {group.metric}"] if one.related else []
            words += [f"{one.failed} without a value"] if one.failed else []
            lines.append([
                arm_cell(arm), Cell(size, rounded(one.parameters)),
                cell(one.mean), cell(one.sd, 2), cell(one.n),
                change_cell(changed[arm]) if arm in changed else cell(None),
                cell(one.real, 3), cell(one.flops, 3), cell("; ".join(words)),
            ])  # fmt: skip
    note = f"{group.facts.label.capitalize()}: {group.facts.meaning}, {group.facts.direction}. "
    note += (
        "Mean and deviation (SD) over n seeds of finished runs; changes in points, with 95 % "
        f"intervals over shared seeds. Protocol {group.protocol_id} is written out at the end."
    )
    heads = columns(
        *("arm", "size", "#mean", "#SD", "#n", "#from Vanilla", f"#{group.facts.real}"),
        *("#FLOPs", "note"),
    )
    return Table(name, f"{group.title()} · after {group.images_total:,} images", note, heads, lines)


def _floor_cell(floor: float | None, freedom: int) -> str:
    return "–" if floor is None else f"{floor_text(floor)} (df {freedom})"


def _yardsticks(rows_beside: pd.DataFrame, part: pd.DataFrame) -> str:
    """A sentence for each number that is to be better than something: what, mean over the same
    runs.
    """
    said = ""
    of_runs = rows_beside[rows_beside["run"].isin(part["run"].unique())]
    for metric in dict.fromkeys(of_runs["metric"]):
        rows = of_runs[of_runs["metric"] == metric]
        each = [one.get(YARDSTICKS, {}) for one in rows["details"] if isinstance(one, dict)]
        names = dict.fromkeys(name for one in each for name in one)
        if not names:
            continue
        facts = facts_of(str(metric))
        real = rows["real"].mean()
        beside = [f"{facts.real} {real:.3g}"] if real == real else []
        beside += [f"{n} {fmean([one[n] for one in each if n in one]):.3g}" for n in names]
        said += f" {facts.label.capitalize()}, mean over the runs: {', '.join(beside)}."
    return said


def _quality(rows: pd.DataFrame, part: pd.DataFrame) -> tuple[dict[Beside, float], set[Beside]]:
    """Means of what is said beside a distance, of the same runs, and which of them are related to
    the arm's encoder.
    """
    keys = ["arm", "size", "metric"]
    chosen = rows[rows["run"].isin(part["run"].unique())]
    means = chosen[chosen["value"].notna()].groupby(keys)["value"].mean().reset_index()
    found = {
        (str(row["arm"]), str(row["size"]), str(row["metric"])): float(row["value"])
        for row in means.to_dict("records")
    }
    related = set(chosen.loc[is_related(chosen), keys].itertuples(index=False, name=None))
    return found, related


def probe_tables(rows: pd.DataFrame) -> list[Table]:
    """Best block and noise level of every arm on the mean over seeds, with the error of a
    proportion: one table, none where nothing was probed.
    """
    final = rows[rows["final"]]
    lines = []
    for group in groups(final, per_block=True):
        for size, part in by_size(of_group(final, group)):
            summaries = summarise(part.assign(t=part["t"].fillna(-1.0)), ["arm", "block", "t"])
            sign = 1 if group.higher_is_better else -1
            for arm in sorted_arms(summary.arm for summary in summaries):
                # the best of the arm's places that have a value
                own = [
                    (sign * one.mean, one)
                    for one in summaries
                    if one.arm == arm and one.mean is not None
                ]
                if not own:
                    continue
                _, best = max(own, key=lambda pair: pair[0])
                assert best.block is not None and best.t is not None, "they are in the key"
                lines.append([
                    arm_cell(arm),
                    Cell(size, rounded(best.parameters)),
                    cell(group.metric),
                    cell(int(best.block)),
                    cell(best.t if best.t >= 0 else None, 2),
                    cell(best.mean), cell(best.sd, 2), cell(best.n), cell(best.stderr, 2),
                    cell(best.related),
                ])  # fmt: skip
    if not lines:
        return []
    note = (
        "The best of all measured blocks and noise levels, chosen on the mean over seeds, "
        "is a little optimistic."
    )
    heads = columns(
        *("arm", "size", "metric", "#block", "#t", "#mean", "#SD", "#n", "#binomial error", "note")
    )
    return [Table("probes", "Best place to probe", note, heads, lines)]


def encoder_tables(study: StudyResults) -> list[Table]:
    """Strength of each encoder by its own measures and its size, and the line that raw pixels draw:
    one table, none where no encoder was measured.
    """
    strengths = encoder_strengths(study.rows)
    parts = [strengths.get(name, {}) for name in STRENGTH_METRICS]
    if not any(parts):
        return []
    parts.append(encoder_parameters(study.runs.values()))
    pixels = pixel_strengths(study.rows)
    lines: list[Sequence[Cell]] = []
    notes: list[str] = []
    for data in sorted({data for part in parts for data in part}):
        for encoder in sorted({encoder for part in parts for encoder in part.get(data, {})}):
            found = [part.get(data, {}).get(encoder) for part in parts]
            notes += [one.note for one in found if one and one.note]
            lines.append(
                [cell(encoder_name(encoder)), cell(data), *(_strength(one) for one in found)]
            )
        if data in pixels:
            notes += filter(None, [pixels[data].note])
            of_pixels = _strength(pixels[data])
            lines.append([cell("raw pixels"), cell(data), of_pixels, cell(None), cell(None)])
    heads = columns(
        *("encoder", "data", "#linear probe (accuracy)", "#spatial structure", "#parameters")
    )
    note = (
        "Measured on the encoder's frozen features; "
        "one below the raw pixels knows less than its input shows."
    )
    note = " ".join([note, *(f"{words[:1].upper()}{words[1:]}." for words in dict.fromkeys(notes))])
    return [Table("encoders", "Strength of the encoders", note, heads, lines)]


def _strength(found: MeasuredStrength | None) -> Cell:
    return cell(found.value if found else None)
