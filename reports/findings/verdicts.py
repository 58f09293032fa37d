"""Verdicts: what the runs of a study say about published findings (the rules: docs/verdicts.md).

    verdicts = judge_claims(load_claims(), study.rows)      # rows of one study only
    for verdict in verdicts:
        print(verdict.word, verdict.sentence, verdict.reason)

supported or contradicted: the 95 % interval excludes zero, from three seeds that the compared arms
share; inside a size the deviation has six degrees of freedom at least. *Not monotone* is a ladder
of encoders that rises at one step and falls at another. Everything else is inconclusive, and says
what it would take. Outside the data, sizes, encoders and images of the paper no verdict on it is
given: the word says so, and `here` holds what the rules make of these runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.core.metrics import facts_of
from reports.findings.adjustment import adjusted, one_test_an_order
from reports.findings.claims import ENCODER, Claim, match
from reports.findings.conjunction import conjunction, is_part
from reports.findings.decisions import NOT_MONOTONE, NOT_TESTED, OUTSIDE, Verdict, decide, turns
from reports.findings.outcomes import Outcome, Properties, Untestable, lenders_text
from reports.findings.power import seeds_needed
from reports.findings.sentences import outcome_text, steps_text
from reports.findings.statistics import STATISTICS
from reports.study.cells import LOGARITHMIC, Comparable, comparable
from reports.study.contrasts import LEAST_SEEDS
from reports.study.groups import Group
from reports.study.strengths import Strengths, encoder_strengths

if TYPE_CHECKING:
    import pandas as pd

EQUAL_FLOPS = "equal_flops"
DISTANCE = LOGARITHMIC[0]


def judge_claims(
    claims: Sequence[Claim],
    rows: pd.DataFrame,
    encoder_parameters: Strengths | None = None,
    matched: pd.DataFrame | None = None,
    modalities: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """One verdict a claim, measure and data set, in the order of the claims.

    rows: of one study (`bench.core.store.row_table`); encoder_parameters: of
    `reports.study.strengths`, for the claims that order encoders by size; matched: rows of the runs
    that the study matched by FLOPs, which end at unlike numbers of images; modalities: the kind of
    each data set, for claims that are about one kind. Never raises for what
    the runs lack: the verdict is then "not tested", with the reason.
    """
    strengths = encoder_strengths(rows) | {"encoder_parameters": encoder_parameters or {}}
    cache: dict[tuple[str, tuple[float, float], bool], list[Comparable]] = {}
    by_flops = matched is not None and len(matched) > 0
    out: list[Verdict] = []
    for claim in claims:
        # what a distance says, the held-out loss may say too: in a verdict of its own. A margin is
        # that of its measure
        by_loss = claim.measure == DISTANCE and not claim.margin
        for measure in dict.fromkeys((claim.measure, *LOGARITHMIC * by_loss)):
            key = (measure, claim.blocks, by_flops and claim.statistic == EQUAL_FLOPS)
            if key not in cache:
                cache[key] = comparable(_at_one_budget(matched) if key[2] else rows, *key[:2])
            of_parts: list[Verdict] = []
            for data in sorted({runs.group.data for runs in cache[key]}) or [""]:
                if claim.modality and (modalities or {}).get(data) != claim.modality:
                    continue
                if claim.every and not is_part(claim, data):
                    continue
                own = {order: of_data.get(data, {}) for order, of_data in strengths.items()}
                of_data = [runs for runs in cache[key] if runs.group.data == data]
                verdict = _verdict(claim, measure, data, of_data, own)
                if claim.every:
                    of_parts.append(verdict)
                elif verdict.tested or measure == claim.measure:
                    out.append(verdict)
            if of_parts:
                together = conjunction(claim, of_parts)
                out += [together] if together.tested or measure == claim.measure else []
    return adjusted(one_test_an_order(out, {claim.name: claim for claim in claims}, strengths))


def _at_one_budget(matched: pd.DataFrame | None) -> pd.DataFrame:
    """The rows with the most images of their data set as everybody's: FLOPs are their budget."""
    assert matched is not None
    return matched.assign(images_total=matched.groupby("data")["images_total"].transform("max"))


def _verdict(
    claim: Claim,
    measure: str,
    data: str,
    groups: Sequence[Comparable],
    properties: Properties,
) -> Verdict:
    common = Verdict(
        claim.name,
        claim.sentence,
        claim.source,
        claim.pages,
        NOT_TESTED,
        "",
        elsewhere=claim.elsewhere,
        measure=measure,
        data=data,
    )

    # each group by itself: its outcome, or what it lacks
    reasons: list[str] = []
    found: list[tuple[Comparable, Outcome]] = []
    for runs in groups:
        try:
            found.append((runs, STATISTICS[claim.statistic](claim, runs, properties)))
        except Untestable as error:
            reasons.append(str(error))
    not_tested = f"Not tested{data and f' on {data}'}"
    if not found:
        why = reasons[0] if reasons else f"no finished run has {_measure_text(measure)}"
        return replace(common, reason=f"{not_tested}: {why}.")
    usable = [one for one in found if not _is_related(*one)]
    related = sorted({runs.group.metric for runs, outcome in found if _is_related(runs, outcome)})
    if not usable:
        why = (
            f"{', '.join(related)} is related to an encoder of the compared arms, "
            "and nothing unrelated could decide" + (f" ({reasons[0]})" if reasons else "")
        )
        return replace(common, reason=f"{not_tested}: {why}.")

    # one of them decides: what has its seeds first, then the largest budget, then the order of
    # metrics; never the most favourable one
    runs, outcome = min(
        usable,
        key=lambda one: (
            one[1].estimate.seeds < LEAST_SEEDS,
            -one[0].group.images_total,
            one[0].group.facts.position,
        ),
    )
    group, arms = runs.group, (*outcome.left, *outcome.right)
    here, why = decide(outcome, claim.sign)
    encoders = [runs.encoders[arm] for arm in arms if arm in runs.encoders]
    outside = claim.domain.outside(group.data, outcome.sizes, encoders, group.images_total)
    if measure != claim.measure:
        outside = "; ".join(filter(None, (outside, f"{group.metric} (published: a distance)")))
    estimate = outcome.estimate
    return replace(
        common,
        word=OUTSIDE if outside else here,
        here=here,
        reason=outcome_text(claim, runs, outcome, why),
        in_domain=not outside,
        outside=outside,
        effect=outcome.effect,
        low=outcome.low,
        high=outcome.high,
        run_floor=estimate.run_floor,
        seed_floor=estimate.seed_floor,
        unit=outcome.unit,
        df=estimate.df,
        seeds=estimate.seeds,
        takes=(seeds_needed(estimate, outcome.distance) or 0) if estimate.df > 0 else None,
        lenders=lenders_text(outcome),
        p=outcome.p if here != NOT_MONOTONE else max(turns(outcome)),
        metric=group.metric,
        protocol_id=group.protocol_id,
        images=group.images_total,
        sizes=outcome.sizes,
        left=outcome.left,
        right=outcome.right,
        encoders=tuple(encoders),
        notes=tuple(_notes(claim, runs, outcome, [one.group for one, _ in usable], related)),
    )


def _notes(
    claim: Claim,
    runs: Comparable,
    outcome: Outcome,
    usable: Sequence[Group],
    related: Sequence[str],
) -> list[str]:
    """What was left out: of the runs that decide, and of the other groups."""
    group, arms = runs.group, (*outcome.left, *outcome.right)
    notes = [note for (arm, _), of_arm in runs.notes.items() if arm in arms for note in of_arm]
    notes += outcome.notes
    if outcome.steps:
        notes.append(f"step by step: {steps_text(outcome)}")
    if (longer := max(one.images_total for one in usable)) > group.images_total:
        notes.append(
            f"runs of {longer:,} images are left out, "
            f"as an arm has fewer than {LEAST_SEEDS} seeds there"
        )
    asked = [pattern.replace(ENCODER, "*") for pattern in (*claim.left, *claim.right)]
    kin = [
        arm
        for arm, size in runs.related
        if size in outcome.sizes and arm not in arms and any(match(one, [arm]) for one in asked)
    ]
    if kin and claim.statistic != "level_trend":
        notes.append(f"{group.metric} is related to {', '.join(sorted(kin))}, not judged by it")
    if related:
        notes.append(
            f"{', '.join(related)} is left out: related to an encoder of the compared arms"
        )
    protocols = {one.protocol_id for one in usable if one.metric == group.metric}
    if others := sorted(protocols - {group.protocol_id}):
        notes.append(f"{group.metric} under other protocols ({', '.join(others)}) is not mixed in")
    return notes


def _measure_text(measure: str) -> str:
    if measure in LOGARITHMIC:
        return "a Fréchet distance" if measure == DISTANCE else "a held-out loss"
    if not facts_of(measure).per_block:
        return f"its {facts_of(measure).label}"
    return f"a {measure.replace('_', ' ')} by block"


def _is_related(runs: Comparable, outcome: Outcome) -> bool:
    return any(
        arm in (*outcome.left, *outcome.right) and size in outcome.sizes
        for arm, size in runs.related
    )
