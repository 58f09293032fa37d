"""What a page cannot show, and the command that would fill it."""

from __future__ import annotations

import shlex

from bench.core.store.files import Json
from bench.core.store.rows import kind_of_part, result_path
from bench.core.store.runs import RunRecord
from bench.core.store.untrusted import printable
from reports.draw.page_parts import Missing
from reports.draw.theme import arm_label
from reports.findings.sentences import joined
from reports.page.commands import (
    measuring_command,
    run_command,
    sweep_command,
    training_command,
    words_of,
)
from reports.page.figures.pictures import PICTURE_MODALITY, newest_picture, picture_places
from reports.study.groups import distances, sorted_arms
from reports.study.runs import StudyResults, mapping, training_curve

AGREEMENT = "gradient_agreement"  # among the diagnostics

ENOUGH_SEEDS = 3
MOST_LINES = 40


def missing_parts(study: StudyResults) -> list[Missing]:
    """Unfinished runs, seeds and sizes that an arm lacks, metrics and pictures only some have."""
    absent = _planned(study) if study.name else _seeds(study)
    lines = [*_unfinished(study), *absent, *_metrics(study), *_pictures(study), *_agreement(study)]
    if len(lines) > MOST_LINES:
        return [*lines[:MOST_LINES], Missing(f"and {len(lines) - MOST_LINES} more")]
    return lines


def unanswered_part(study: StudyResults, needs: str, made_by: str) -> Missing:
    """What a page needs for its question, and what makes it: a study, or a measurement."""
    run = next(iter(study.runs.values()), None)
    what = f"this page's question needs {needs}, and no run here has that"
    if run is None:
        return Missing(what, sweep_command(made_by or study.name) if made_by or study.name else "")
    if not made_by:
        return Missing(what, training_command(run, measure="full"))
    return Missing(what, sweep_command(made_by, run.data, run.folder.parent))


def _planned(study: StudyResults) -> list[Missing]:
    """Runs of the study that have no folder, and arms that cannot be run here."""
    lines = []
    for run in study.planned:
        if run.reason:
            lines.append(Missing(f"{arm_label(run.arm)} cannot be run here: {run.reason}"))
        elif run.id not in study.runs:
            what = f"{run.id} ({arm_label(run.arm)}) has not been started"
            lines.append(Missing(what, run_command(run.overrides)))
    return list(dict.fromkeys(lines))


def _unfinished(study: StudyResults) -> list[Missing]:
    lines = []
    for run in study.runs.values():
        if run.state != "complete":
            done, total = (
                f"{n:,}" if isinstance(n, int) else "?"
                for n in (run.status.get("images"), run.images)
            )
            state = f"{run.state} ({run.status['phase']})" if run.status.get("phase") else run.state
            reason = f": {run.status['message']}" if run.status.get("message") else ""
            what = (
                f"{run.id} is {state} at {done} of {total} images{reason}; "
                "only its snapshots are used"
            )
            lines.append(Missing(what, training_command(run)))
    return lines


def _seeds(study: StudyResults) -> list[Missing]:
    """Arms with fewer seeds than the others of their size, or than a verdict needs; arms that lack
    a whole size.
    """
    found: dict[tuple[str, str], dict[str, dict[int, RunRecord]]] = {}
    for run in study.runs.values():
        place = (run.data, run.size)
        found.setdefault(place, {}).setdefault(run.arm, {})[run.seed] = run
    arms = sorted_arms(run.arm for run in study.runs.values())
    lines = []
    for (data, size), by_arm in sorted(found.items()):
        wanted = max(ENOUGH_SEEDS, *(len(seeds) for seeds in by_arm.values()))
        known = set().union(*by_arm.values())
        for arm in arms:
            if arm not in by_arm:
                like = next(run for run in study.runs.values() if run.arm == arm)
                example = training_command(like, size=size, data=data, seed=0)
                lines.append(
                    Missing(f"{arm_label(arm)} has no run of size {size} on {data}", example)
                )
            elif len(by_arm[arm]) < wanted:
                lacking = sorted((known | set(range(wanted))) - set(by_arm[arm]))[
                    : wanted - len(by_arm[arm])
                ]
                run = next(iter(by_arm[arm].values()))
                what = (
                    f"{arm_label(arm)}, size {size}, {data}: {len(by_arm[arm])} of {wanted} seeds"
                )
                lines.append(Missing(what, training_command(run, seed=lacking[0])))
    return lines


def _metrics(study: StudyResults) -> list[Missing]:
    """Metrics that some finished runs of a data set have and others lack."""
    final = study.rows[study.rows["final"]]
    lines = []
    for data, part in final.groupby("data"):
        per_block = set(part.loc[part["block"].notna(), "metric"])
        names = sorted({group.metric for group in distances(part)} | per_block)
        complete = [
            run for run in study.runs.values() if run.state == "complete" and data in run.modalities
        ]
        for name in names:
            measured = part[(part["metric"] == name) & part["value"].notna()]
            have, arms = set(measured["run"]), set(measured["arm"])
            # a probe may make sense for some arms only (alignment with an encoder)
            whole_model = name not in per_block
            lacking = [
                run for run in complete if run.id not in have and (whole_model or run.arm in arms)
            ]
            if lacking and have:
                first = lacking[0]
                what = (
                    f"{name} is missing in {len(lacking)} of {len(complete)} finished runs, "
                    f"the first is {first.id}"
                )
                like = {str(name): value for name, value in measured.iloc[0].items()}
                lines.append(Missing(what, measuring_command(first, like)))
    return lines


def _pictures(study: StudyResults) -> list[Missing]:
    """Arms whose first seed is finished and has no picture of a kind that they could have."""
    lines = []
    for kind, words in (("samples", "sample grid"), ("features", "features as pictures")):
        for (data, size), part, runs in picture_places(study):
            lacking = [run for run in runs if newest_picture(run, kind, part) is None]
            finished = [run for run in lacking if run.state == "complete"]
            none = kind == "features" and len(lacking) == len(runs)
            if finished and not (none and any(_draws_none(run, data) for run in runs)):
                arms = joined([arm_label(run.arm) for run in finished])
                what = (
                    f"{words}, {data}, size {size}: there is none of {arms}; "
                    "the command measures the first of them again"
                )
                lines.append(Missing(what, _again(finished[0], kind_of_part(kind, part))))
    return lines


def _draws_none(run: RunRecord, data: str) -> bool:
    """Whether a run's features become no pictures: those of other data than pictures, and of runs
    that were told by name what to measure.
    """
    told = any(word.startswith("evaluation.metrics=") for word in words_of(run))
    return told or run.modalities.get(data) not in (PICTURE_MODALITY, "", None)


def _agreement(study: StudyResults) -> list[Missing]:
    """Arms with a term beside the velocity whose first seed has logged no agreement of the two
    terms' gradients.
    """
    lines = []
    for (data, size), runs in study.first_seeds().items():
        lacking = [run for run in runs if run.state == "complete" and _lacks_agreement(run)]
        if lacking:
            run = lacking[0]
            aside = run.folder.parent.with_name(f"{run.folder.parent.name}-replaced")
            arms = joined([arm_label(run.arm) for run in lacking])
            what = (
                f"gradient agreement, {data}, size {size}: there is none of {arms}; "
                "it is found while training, so the command "
                "puts the folder of the first of them aside and trains it again"
            )
            aside_words = (
                shlex.join(["mkdir", "-p", str(aside)]),
                shlex.join(["mv", str(run.folder), str(aside)]),
            )
            aside_first = printable(" && ".join(aside_words))
            lines.append(Missing(what, f"{aside_first} && {training_command(run)}"))
    return lines


def _lacks_agreement(run: RunRecord) -> bool:
    """Whether it was looked for while a run learned; where that was once, at its first step, the
    gradients were not there yet, and another run would have none either.
    """
    curve = training_curve(run, [])  # what is damaged in it is named where it is drawn
    several = any(len(mapping(line.get("loss")).keys() - {"total"}) > 1 for line in curve)
    diagnosed = [found for line in curve if "feature_norm" in (found := _diagnostics(line))]
    return several and len(diagnosed) > 1 and not any(AGREEMENT in found for found in diagnosed)


def _diagnostics(line: Json) -> Json:
    return mapping(line.get("diagnostics"))


def _again(run: RunRecord, kind: str) -> str:
    """The command that makes a measurement of the last snapshot anew: where its results are there
    they have to go.
    """
    result = result_path(run.folder, kind, run.images)
    measure = training_command(run, measure="full")
    remove = printable(f"rm {shlex.quote(str(result))}")
    return f"{remove} && {measure}" if result.exists() else measure
