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
from reports.findings.verdicts import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTED,
    SUPPORTED,
    Verdict,
    judge_claims,
)
from reports.page.verdicts import verdict_counts
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
    table = rows(means, seeds=seeds, size="micro", parameters=5e5, **common)
    return table.assign(run=table["run"] + "-micro")


def verdict(name: str, *tables: pd.DataFrame, **more: object) -> Verdict:
    (only,) = judge_claims([CLAIMS[name]], pd.concat(tables), **more)
    return only


def test_encoders_of_one_name_are_ordered_on_each_data_set_by_their_own_strength():
    digits, other = rows(REPA), rows(REPA, data="cifar10")
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
        "1 of 1 claims could be tested on 2 data sets (cifar10, digits), 2 times in all"
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
    assert "of others (a-new-one)" in found["s"].note and not found["m"].note
    told = verdict("stronger_encoders_worse", table, probes, stray)
    assert any("a-new-one" in note for note in told.notes)


@pytest.mark.parametrize(
    ("structure", "note"),
    [
        (
            {"s": 0.1, "m": 0.2, "l": 0.3},
            "is also that by spatial structure; these runs cannot tell them apart",
        ),
        ({"s": 0.3, "m": 0.2, "l": 0.1}, "is also that by spatial structure from high to low"),
        ({"s": 0.3, "m": 0.1, "l": 0.2}, ""),
    ],
)
def test_orders_that_coincide_are_named(structure, note):
    table = rows(REPA)
    told = verdict(
        "stronger_encoders_worse",
        table,
        strengths(table, LADDER),
        strengths(table, structure, "encoder_structure"),
    )
    found = [one for one in told.notes if one.startswith("the order by linear probe")]
    assert (note in found[0]) if note else not found


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
    enough = verdict("selfflow_beats_repa_images", rows(LEAD, seeds=5), larger(stray, 4))
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
    largest = rows({"selfflow": 9.0, "repa/m": 2.0}, seeds=1, size="mini", parameters=1e6)
    largest = largest.assign(run=largest["run"] + "-mini")
    for name in ("gap_widens_with_size", "selfflow_beats_next_size"):
        found, alone = verdict(name, small, middle, largest), verdict(name, small, middle)
        assert (found.sizes, found.effect, found.seeds) == (("nano", "micro"), alone.effect, 4)
        assert any("at mini (1)" in note for note in found.notes)


def test_neighbouring_sizes_are_named():
    found = verdict(
        "selfflow_beats_next_size", rows(LEAD), larger({"selfflow": 6.0, "repa/m": 7.0}, 3)
    )
    assert "one size larger, mean of nano to micro, digits" in found.reason
    assert "selfflow at nano against repa/m at micro" in found.notes


def test_an_unknown_deviation_is_no_floor_of_zero():
    found = verdict("selfflow_beats_repa_images", rows(LEAD, seeds=1))
    assert found.here == INCONCLUSIVE and found.floor is not None and np.isnan(found.floor)
    assert (
        "(interval unknown), floor unknown, 1 seed, 0 df: an arm has 1 seed where 3 are needed."
        in found.reason
    )


def test_larger_encoders_are_told_by_the_data_set():
    table = rows(REPA)
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
