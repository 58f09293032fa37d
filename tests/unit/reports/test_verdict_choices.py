"""Which runs a verdict rests on: data sets, protocols and sizes apart, all rivals,
and what is said of the rest.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from support.truth import rows

from reports.findings.claims import load_claims
from reports.findings.decisions import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_MONOTONE,
    NOT_TESTED,
    SUPPORTED,
    Verdict,
)
from reports.findings.verdicts import judge_claims
from reports.page.verdicts import judge, unreadable, verdict_counts
from reports.study.runs import StudyResults
from reports.study.strengths import MeasuredStrength, encoder_strengths

CLAIMS = {claim.name: claim for claim in load_claims()}
REPA = {"repa/s": 8.0, "repa/m": 9.0, "repa/l": 10.0}
LADDER = {"s": 0.7, "m": 0.8, "l": 0.9}


def strengths(
    table: pd.DataFrame, values: dict[str, float], metric: str = "encoder_linear_probe"
) -> pd.DataFrame:
    """Rows of the encoders' own measures, one for each run that has the encoder."""
    found = table[table["encoder"].isin(list(values)) & table["final"]]
    own = {name: f"{metric}-{name}" for name in values}
    return found.assign(
        metric=metric, value=found["encoder"].map(values), protocol_id=found["encoder"].map(own)
    )


def larger(means: dict[str, float], seeds: int, **common: object) -> pd.DataFrame:
    """Runs of a size above that of `rows`."""
    table = rows(means, seeds=seeds, size="micro", parameters=1.8e5, **common)
    return table.assign(run=table["run"] + "-micro")


def verdict(name: str, *tables: pd.DataFrame, **more: object) -> Verdict:
    (only,) = judge_claims([CLAIMS[name]], pd.concat(tables), **more)
    return only


def test_encoders_of_one_name_are_ordered_on_each_data_set_by_their_own_strength():
    digits, other = rows(REPA, seeds=4), rows(REPA, seeds=4, data="cifar10")
    other = other.assign(run=other["run"] + "-c")
    reverse = dict(zip(LADDER, [0.99, 0.5, 0.1], strict=True))
    table = pd.concat([digits, other, strengths(digits, LADDER), strengths(other, reverse)])
    cifar, ours = judge_claims([CLAIMS["stronger_encoders_worse"]], table)
    assert (cifar.data, cifar.here, cifar.left) == (
        "cifar10",
        CONTRADICTED,
        ("repa/l", "repa/m", "repa/s"),
    )
    assert (ours.data, ours.here, ours.left) == (
        "digits",
        SUPPORTED,
        ("repa/s", "repa/m", "repa/l"),
    )
    (alone,) = judge_claims([CLAIMS["stronger_encoders_worse"]], table[table["data"] == "digits"])
    assert (alone.effect, alone.low) == (ours.effect, ours.low)
    assert verdict_counts([cifar, ours]).startswith(
        "1 of 1 claims could be tested on 2 data sets (cifar10, digits), in 2 tests"
    )


def test_unlike_protocols_of_a_strength_are_never_averaged():
    table = rows(REPA)
    probes = strengths(table, LADDER)
    stray = probes[(probes["encoder"] == "s") & (probes["seed"] == 0)].assign(
        value=4.0, protocol_id="a-new-one"
    )
    found = encoder_strengths(pd.concat([probes, stray.assign(run="another")]))[
        "encoder_linear_probe"
    ]["digits"]
    assert {name: one.value for name, one in found.items()} == pytest.approx(LADDER)
    assert "by another one (a-new-one)" in found["s"].note and not found["m"].note
    told = verdict("stronger_encoders_worse", table, probes, stray)
    assert any("a-new-one" in note for note in told.notes)


@pytest.mark.parametrize(
    ("structure", "note", "words"),
    [
        ({"s": 0.1, "m": 0.2, "l": 0.3}, "that by spatial structure: one test", [CONTRADICTED]),
        (
            {"s": 0.3, "m": 0.2, "l": 0.1},
            "that by spatial structure from high to low: one test",
            [SUPPORTED],
        ),
        ({"s": 0.3, "m": 0.1, "l": 0.2}, "", []),
    ],
)
def test_orders_that_coincide_are_one_test(structure, note, words):
    """Stronger is worse here: so is more structure where it goes with strength, and less where it
    goes against it.
    """
    table = rows(REPA, seeds=5)
    probes = (strengths(table, LADDER), strengths(table, structure, "encoder_structure"))
    names = ("stronger_encoders_worse", "structured_encoders_better")
    found = judge_claims([CLAIMS[name] for name in names], pd.concat([table, *probes]))
    told = [one for one in found[0].notes if one.startswith("the order by linear probe")]
    assert found[0].here == SUPPORTED
    assert (note in told[0]) if note else not told
    assert [one.word for one in found[0].also] == words
    assert len(found) == 2 - len(words), "one test is counted once"
    assert verdict_counts(found).startswith(f"2 of 2 claims could be tested, in {len(found)} test")


def test_the_line_is_over_measured_strength_and_the_steps_are_told():
    """Two weak encoders and a strong one: the line is that of a regression on the strength."""
    table = rows({"repa/s": 8.0, "repa/m": 9.0, "repa/l": 10.0}, seeds=5)
    uneven = {"s": 0.70, "m": 0.71, "l": 0.9}
    found = verdict("stronger_encoders_worse", table, strengths(table, uneven))
    final = table[table["final"]]
    means = [np.log(final.loc[final["arm"] == f"repa/{e}", "value"]).mean() for e in uneven]
    slope = np.polyfit(list(uneven.values()), means, 1)[0]
    assert found.effect == pytest.approx(slope * 0.2)
    assert any(one.startswith("step by step: repa/s to repa/m +1") for one in found.notes)


def test_a_ladder_that_falls_and_rises_again_is_no_flat_one():
    table = rows({"repa/s": 9.0, "repa/m": 8.0, "repa/l": 9.1}, seeds=5)
    found = verdict("stronger_encoders_worse", table, strengths(table, LADDER))
    assert (found.here, found.holm_word) == (NOT_MONOTONE, NOT_MONOTONE)
    assert "it rises at one step and falls at another (repa/s to repa/m -1" in found.reason


def test_encoders_that_do_not_help_cannot_be_compared():
    names = ("repa_beats_vanilla", "stronger_encoders_worse")
    claims = [CLAIMS[name] for name in names]
    for vanilla, readable in ((8.9, False), (20.0, True)):
        table = rows(REPA | {"vanilla": vanilla}, seeds=5)
        found = judge_claims(claims, pd.concat([table, strengths(table, LADDER)]))
        warnings = unreadable(claims, found)
        assert (not warnings) == readable
        assert all(one.startswith("Comparisons of encoders cannot be read on") for one in warnings)


PARTS = {
    "dual_timestep": 12.0,
    "selfflow": 8.0,
    "selfflow(masking=false)": 9.0,
    "selfflow(near=0.2)": 8.2,
}


def test_the_worst_of_all_needs_all_of_them():
    missing = verdict("representation_term_matters_most", rows(PARTS))
    assert missing.word == NOT_TESTED and missing.reason.endswith(
        "without runs at nano: selfflow(similarity=l1)."
    )
    whole = verdict(
        "representation_term_matters_most", rows(PARTS | {"selfflow(similarity=l1)": 8.1})
    )
    assert whole.here == SUPPORTED and whole.effect == pytest.approx(math.log(12 / 9), abs=0.05)
    assert (
        "dual_timestep against selfflow(masking=false), the nearest of 4 rivals, nano"
        in whole.reason
    )


LEAD = {"vanilla": 10.0, "selfflow": 8.0, "repa/m": 9.0}


@pytest.mark.parametrize("ahead", [True, False])
def test_a_stray_larger_run_takes_no_verdict_whatever_it_says(ahead):
    stray = {"selfflow": 4.0, "repa/m": 4.5} if ahead else {"selfflow": 5.0, "repa/m": 4.0}
    found, alone = (
        verdict("selfflow_beats_repa_images", rows(LEAD, seeds=5), *more)
        for more in ([larger(stray, 1)], [])
    )
    assert (found.here, found.sizes, found.effect) == (SUPPORTED, ("nano",), alone.effect)
    assert (
        "left out, with fewer than 3 seeds: selfflow at micro (1), repa/m at micro (1)"
        in found.notes
    )
    more = larger(stray | {"vanilla": 6.0}, 4)
    enough = verdict("selfflow_beats_repa_images", rows(LEAD, seeds=5), more)
    assert (enough.sizes, enough.here) == (("micro",), SUPPORTED if ahead else CONTRADICTED)


def test_a_stray_longer_run_takes_no_verdict():
    longer = rows(LEAD, seeds=1, images_total=9_999_999)
    found = verdict(
        "selfflow_beats_repa_images",
        rows(LEAD, seeds=5),
        longer.assign(run=longer["run"] + "-long"),
    )
    assert (found.here, found.images, found.seeds) == (SUPPORTED, 6_400_000, 5)
    assert any("9,999,999 images are left out" in note for note in found.notes)


def test_a_stray_encoder_does_not_enter_the_mean_and_is_named():
    found = verdict(
        "selfflow_beats_repa_images", rows(LEAD, seeds=5), rows({"repa/l": 1.0}, seeds=1)
    )
    assert (found.right, found.seeds) == (("repa/m",), 5)
    assert "left out, with fewer than 3 seeds: repa/l at nano (1)" in found.notes


def test_sizes_without_seeds_do_not_enter_a_trend_over_sizes():
    small = rows(LEAD, seeds=4)
    middle = larger({"selfflow": 6.0, "repa/m": 7.5}, 4)
    largest = rows({"selfflow": 9.0, "repa/m": 2.0}, seeds=1, size="mini", parameters=3.2e5)
    largest = largest.assign(run=largest["run"] + "-mini")
    for name in ("gap_widens_with_size", "selfflow_beats_next_size"):
        found, alone = verdict(name, small, middle, largest), verdict(name, small, middle)
        assert (found.sizes, found.effect, found.seeds) == (("nano", "micro"), alone.effect, 4)
        assert any("at mini (1)" in note for note in found.notes)


def test_the_next_size_is_near_and_no_mean_over_unlike_steps():
    middle, far = ({"selfflow": 6.0, "repa/m": 7.0}, {"selfflow": 3.0, "repa/m": 4.0})
    big = rows(far, size="mini", parameters=9e5)
    big = big.assign(run=big["run"] + "-mini")
    found = verdict("selfflow_beats_next_size", rows(LEAD), larger(middle, 3), big)
    assert found.effect == pytest.approx(math.log(8 / 7), abs=0.06), "nano to micro alone"
    assert "one size larger, nano to micro, digits" in found.reason
    assert any(one.startswith("micro to mini (x 5): +") for one in found.notes)
    alone = verdict("selfflow_beats_next_size", rows(LEAD), big)
    assert alone.word == NOT_TESTED
    assert "at most 2 times the parameters: nano to mini is x 9" in alone.reason


def test_one_seed_has_no_interval():
    found = verdict("selfflow_beats_repa_images", rows(LEAD, seeds=1))
    assert found.here == INCONCLUSIVE and found.run_floor is not None and np.isnan(found.run_floor)
    why = "(interval unknown), 1 seed, 0 df: the compared arms share 1 seed where 3 are needed."
    assert why in found.reason


def test_a_size_that_only_one_arm_has_and_a_missing_cell_are_sentences():
    lonely = verdict("gap_widens_with_size", rows(LEAD, seeds=5), larger({"selfflow": 6.0}, 5))
    assert (
        lonely.word == NOT_TESTED and "needs both arms at 2 sizes, there is nano" in lonely.reason
    )
    table = rows(LEAD, seeds=5)
    missing = table[~((table["arm"] == "selfflow") & (table["seed"] > 1))]
    found = verdict("selfflow_beats_repa_images", missing)
    assert "the compared arms share 2 seeds where 3 are needed" in found.reason


def test_ten_arms_of_three_seeds_lend_each_other_their_deviation():
    arms = LEAD | {f"other{i}": 10.0 + i for i in range(7)}
    found = verdict("selfflow_beats_repa_images", rows(arms))
    assert (found.df, found.lenders) == (18, "all 10 arms of the size")
    over = verdict("gap_widens_with_size", rows(arms), larger(arms, 3))
    assert (over.df, over.seeds) == (2, 3)


def test_larger_encoders_are_told_by_the_data_set():
    table = rows(REPA, seeds=4)
    sizes = {
        name: MeasuredStrength(value, "of two sizes" * (name == "s"))
        for name, value in LADDER.items()
    }
    found = verdict("larger_encoders_worse", table, encoder_parameters={"digits": sizes})
    assert found.here == SUPPORTED and "of two sizes" in found.notes
    assert (
        verdict("larger_encoders_worse", table, encoder_parameters={"cifar10": sizes}).word
        == NOT_TESTED
    )


def test_an_encoder_that_is_wrong_on_purpose_is_meant_by_its_own_name_alone():
    arms = LEAD | {"repa/noise(m)": 30.0, "repa/digits_l": 30.0}
    assert verdict("selfflow_beats_repa_images", rows(arms, seeds=4)).right == ("repa/m",)


# Encoders that are wrong on purpose ---------------------------------------------------------------


def wrong_ladder(**means: float) -> pd.DataFrame:
    """Four seeds of vanilla, an encoder, and what is made of it; values by a short name."""
    arms = {
        "vanilla": "vanilla",
        "right": "repa/lite0",
        "averaged": "repa/averaged(lite0)",
        "noise": "repa/noise(lite0)",
        "digits": "repa/digits_l",
        "heavy": "repa(weight=2)/lite0",
        "heavy_noise": "repa(weight=2)/noise(lite0)",
        "other": "repa/lite2",
    }
    return rows({arms[name]: mean for name, mean in means.items()}, seeds=4)


def test_an_encoder_is_compared_with_what_is_made_of_it():
    table = wrong_ladder(vanilla=10, right=8, averaged=9, other=5)
    found = verdict("structure_helps", table)
    assert (found.left, found.right) == (("repa/lite0",), ("repa/averaged(lite0)",))
    assert found.word == SUPPORTED, "nobody published a range to be outside of"
    # two encoders of which both are made: both sides are means over the same encoders
    made = rows({"repa/lite2": 5.0, "repa/averaged(lite2)": 5.0}, seeds=4)
    both = pd.concat([wrong_ladder(vanilla=10, right=8, averaged=9), made])
    found = verdict("structure_helps", both)
    assert found.left == ("repa/lite0", "repa/lite2")
    assert found.right == ("repa/averaged(lite0)", "repa/averaged(lite2)")
    assert found.effect == pytest.approx(_mean_log(both, found.left) - _mean_log(both, found.right))


def _mean_log(table: pd.DataFrame, arms: tuple[str, ...]) -> float:
    ends = table[table["final"] & table["arm"].isin(arms)]
    return float(np.log(ends["value"]).mean())


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("repa_beats_vanilla", ("repa/lite0",), ("vanilla",)),
        ("noise_hurts", ("repa/noise(lite0)",), ("vanilla",)),
        ("heavy_noise_hurts", ("repa(weight=2)/noise(lite0)",), ("vanilla",)),
        ("heavier_hurts_late", ("repa(weight=2)/lite0",), ("repa/lite0",)),
        ("domain_helps", ("repa/lite0",), ("repa/digits_l",)),
    ],
)
def test_a_pattern_means_wrong_encoders_only_where_it_says_so(name, left, right):
    table = wrong_ladder(
        vanilla=10, right=8, averaged=9, noise=10, digits=9.5, heavy=8.5, heavy_noise=12
    )
    found = verdict(name, table)
    assert (found.left, found.right) == (left, right)


def test_early_is_read_after_a_share_of_the_images():
    table = wrong_ladder(vanilla=10, noise=10)
    vanilla = table["arm"] == "vanilla"
    early = table["images"] <= 8e5  # an eighth of 64e5
    table["value"] = table["value"].where(vanilla | ~early, table["value"] * 1.5)
    extra = rows({"spare": 10.0}, seeds=4)
    found = verdict("noise_hurts_early", table, extra)
    late = verdict("noise_hurts", table, extra)
    assert found.here == SUPPORTED and late.here == INCONCLUSIVE
    assert found.effect == pytest.approx(late.effect + math.log(1.5))
    assert "after 0.125 of the images" in found.reason
    plain = table.replace({"repa/noise(lite0)": "repa/lite0", "noise(lite0)": "lite0"})
    wobble = np.where(early, np.exp(0.01 * np.sin(np.arange(len(table)))), 1.0)
    change = verdict("repa_lead_is_early", plain.assign(value=plain["value"] * wobble), extra)
    assert change.effect == pytest.approx(-math.log(1.5), abs=0.02)
    assert change.here == CONTRADICTED and "from 0.125 of the images on" in change.reason
    few = table[table["images"] > 8e5]
    assert "no snapshot after 0.125" in verdict("noise_hurts_early", few, extra).reason


def test_questions_that_the_runs_do_not_ask_are_not_missed():
    study = StudyResults("study", rows({"vanilla": 10.0, "selfflow": 9.0}, seeds=4), {})
    judged = judge(study, "all")
    told = " ".join(one.sentence for one in judged.untested)
    assert "Aligning with an external encoder" in told and "wrong on purpose" not in told
