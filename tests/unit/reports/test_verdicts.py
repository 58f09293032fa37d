"""Verdicts from result rows: known truth, the claim's range,
and input that a study should not have.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.truth import IMAGES, rows

from bench.core import numbers
from reports.findings.claims import STATISTIC_NAMES as NAMES
from reports.findings.claims import load_claims
from reports.findings.decisions import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTED,
    OUTSIDE,
    SUPPORTED,
    Verdict,
)
from reports.findings.statistics import STATISTICS
from reports.findings.verdicts import judge_claims
from reports.page.verdicts import verdict_counts
from reports.study.strengths import MeasuredStrength

CLAIMS = {claim.name: claim for claim in load_claims()}
ARMS = {"vanilla": 10.0, "repa/m": 9.0, "selfflow": 8.0, "dual_timestep": 9.9}


def verdict(name: str, table: pd.DataFrame, **more: object) -> Verdict:
    (only,) = judge_claims([CLAIMS[name]], table, **more)
    return only


def test_every_claim_of_the_list_is_shipped_with_its_source_and_range():
    assert set(NAMES) == set(STATISTICS) == {claim.statistic for claim in CLAIMS.values()}
    for claim in CLAIMS.values():
        assert claim.sentence.endswith(".")
        assert "arXiv" in claim.source
        assert claim.elsewhere
        assert claim.pages
        assert claim.domain.data


def test_studies_name_claims_that_exist():
    import yaml

    from bench.study.studies import FOLDER

    paths = list(FOLDER.glob("*.yaml"))
    assert paths
    for path in paths:
        assert set(yaml.safe_load(path.read_text(encoding="utf-8"))["claims"]) <= set(CLAIMS), (
            path.name
        )


def sized(arm: str, size: str, parameters: float, values: list[float]) -> list[pd.DataFrame]:
    """One final row a value, each of its own seed."""
    one = rows({arm: 1.0}, seeds=1).query("final")
    return [
        one.assign(
            run=f"{arm}-{size}-{seed}", size=size, parameters=parameters, seed=seed, value=value
        )
        for seed, value in enumerate(values)
    ]


def test_over_sizes_the_seeds_own_changes_decide():
    """One size scatters a hundred times the other: no pooling, the change of each seed counts."""
    noise = np.exp([0.0, 0.3, -0.3, 0.1])
    table = pd.concat(
        [
            *sized("selfflow", "nano", 1e5, list(noise)),
            *sized("repa/m", "nano", 1e5, list(noise)),
            *sized("selfflow", "micro", 1.5e5, [0.8, 0.801, 0.799, 0.8]),
            *sized("repa/m", "micro", 1.5e5, [1.0, 1.001, 0.999, 1.0]),
        ]
    )
    found = verdict("gap_widens_with_size", table)
    assert found.df == 3 and found.here == SUPPORTED, "what the arms of a seed share cancels"
    unshared = table.assign(streams=table["arm"] + table["size"])
    assert verdict("gap_widens_with_size", unshared).here == INCONCLUSIVE


def test_runs_of_another_recipe_are_not_part_of_an_arm():
    table = rows(ARMS)
    other = rows({"repa/m": 30.0}).assign(arm="repa/m [optimizer.lr=0.5]")
    other["run"] = other["run"] + "-lr"
    plain, mixed = (
        verdict("selfflow_beats_repa_images", table),
        verdict("selfflow_beats_repa_images", pd.concat([table, other])),
    )
    assert mixed.right == plain.right == ("repa/m",) and mixed.effect == pytest.approx(plain.effect)
    alone = verdict(
        "selfflow_beats_repa_images", pd.concat([table[table["arm"] != "repa/m"], other])
    )
    assert (
        alone.word == NOT_TESTED
        and "another recipe are not compared (repa/m [optimizer.lr=0.5])" in alone.reason
    )


def test_a_lead_is_supported_at_this_scale_and_outside_the_claims_range():
    found = verdict("selfflow_beats_repa_images", rows(ARMS))
    assert (found.word, found.here, found.holm_word) == (OUTSIDE, SUPPORTED, SUPPORTED)
    assert not found.in_domain
    assert "data digits" in found.outside
    assert found.effect == pytest.approx(math.log(8 / 9), abs=0.05)
    assert found.low is not None and found.high is not None
    assert found.low < found.effect < found.high < 0
    assert (found.seeds, found.df, found.lenders) == (3, 6, "all 4 arms of the size")
    assert found.reason.startswith("fd_pixels, selfflow against repa/m, nano, digits: -")
    assert "; a run scatters by 1.4 %, a pair of one seed by " in found.reason
    assert found.reason.endswith(": the interval excludes zero.")


def shares(means: dict[str, float], seeds: int = 4) -> pd.DataFrame:
    """Words read right: scattered by 0.02, real drawings 0.97."""
    common = {"metric": "word_accuracy", "higher_is_better": True, "data": "words", "real": 0.97}
    table = rows(means, seeds).query("final").assign(**common)
    luck = np.log(table["value"] / table["arm"].map(means))
    return table.assign(value=table["arm"].map(means) + luck)


def test_a_share_of_samples_is_compared_in_points_and_is_full_where_real_ones_are():
    found = verdict("selfflow_renders_text", shares({"vanilla": 0.4, "selfflow": 0.6, "sra": 0.4}))
    assert (found.here, found.unit, found.metric) == (SUPPORTED, "accuracy", "word_accuracy")
    assert found.effect == pytest.approx(0.2, abs=0.03) and "points" in found.reason
    none_right = shares({"vanilla": 0.4, "selfflow": 0.6, "sra": 0.4}).assign(value=0.0)
    assert verdict("selfflow_renders_text", none_right).effect == 0.0, "no logarithm of nothing"
    copies = shares({"vanilla": 0.4, "selfflow": 0.6, "sra": 0.4}).assign(metric="copy_rate")
    near = pd.concat([shares({"vanilla": 0.4, "selfflow": 0.6, "sra": 0.4}), copies])
    assert verdict("selfflow_renders_text", near).here == SUPPORTED, "a copy is no unseen word"
    full = verdict("selfflow_renders_text", shares({"vanilla": 0.4, "selfflow": 0.97, "sra": 0.4}))
    assert full.word == NOT_TESTED and "share of 0.9" in full.reason and "saturated" in full.reason
    assert verdict("selfflow_renders_text", rows(ARMS)).word == NOT_TESTED


def test_success_is_compared_in_points_and_an_expert_leaves_room():
    table = shares({"vanilla": 0.4, "selfflow": 0.6, "sra": 0.4}).assign(metric="success", real=1.0)
    found = verdict("selfflow_succeeds_more", table)
    assert (found.here, found.metric) == (SUPPORTED, "success") and "points" in found.reason
    assert found.effect == pytest.approx(0.2, abs=0.03)
    assert verdict("repa_succeeds_more", table).word == NOT_TESTED


def test_of_several_encoders_those_are_judged_to_which_the_metric_is_no_kin():
    table = shares({"vanilla": 0.4, "repa/kin": 0.9, "repa/m": 0.5})
    table.loc[table["arm"] == "repa/kin", "related"] = "the same pictures"
    found = verdict("repa_renders_text", table)
    assert (found.here, found.left) == (SUPPORTED, ("repa/m",))
    assert any("word_accuracy is related to repa/kin" in note for note in found.notes)
    alone = judge_claims([CLAIMS["repa_renders_text"]], table[table["arm"] != "repa/m"])
    assert alone[0].word == NOT_TESTED and "related to an encoder" in alone[0].reason


def test_a_claim_about_sounds_is_asked_of_sounds_alone():
    claim = CLAIMS["sound_encoder_no_better"]
    table = rows(ARMS, seeds=4, metric="fd_local")
    assert judge_claims([claim], table) == []
    (found,) = judge_claims([claim], table, modalities={"digits": "sound"})
    assert found.here == CONTRADICTED and "excludes the margin of -1.1 %" in found.reason
    same = rows({"vanilla": 9.0, "repa/m": 8.9, "sra": 9.0}, seeds=4, metric="fd_local")
    (unsure,) = judge_claims([claim], same, modalities={"digits": "sound"})
    assert unsure.here == INCONCLUSIVE and "contains the margin of -1.1 %" in unsure.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"measure": "words"},
        {"measure": "copy_rate"},
        {"margin": 1.5},
        {"statistic": "worst", "margin": 0.1},
    ],
)
def test_a_claim_with_an_unknown_measure_or_a_strange_margin_is_refused(wrong):
    with pytest.raises(ValueError, match="sound_encoder_no_better"):
        replace(CLAIMS["sound_encoder_no_better"], **wrong)


def test_the_opposite_is_contradicted():
    assert (
        verdict("selfflow_beats_repa_images", rows(ARMS | {"selfflow": 11.0})).here == CONTRADICTED
    )


def test_inside_the_published_range_the_verdict_is_on_the_paper():
    means = {"repa/dinov2_b": 9.0, "repa/dinov2_g": 1.0, "selfflow": 8.0, "vanilla": 12.0}
    table = rows(means, data="imagenet256", size="XL", metric="fid", images_total=1_024_000_000)
    found = verdict("selfflow_beats_repa_images", table)
    assert (found.word, found.in_domain, found.outside) == (SUPPORTED, True, "")
    assert found.right == (
        "repa/dinov2_b",
    )  # the published encoder, not the best or the mean of all


def test_stronger_encoders_follow_their_own_probe():
    table = rows({"repa/s": 8.0, "repa/m": 9.0, "repa/l": 10.0, "vanilla": 10.0})
    strength = {"s": 0.7, "m": 0.8, "l": 0.9}
    probes = [
        table[table["encoder"] == name].head(1).assign(metric="encoder_linear_probe", value=value)
        for name, value in strength.items()
    ]
    found = verdict("stronger_encoders_worse", pd.concat([table, *probes]))
    assert (found.here, found.left) == (SUPPORTED, ("repa/s", "repa/m", "repa/l"))
    assert found.effect == pytest.approx(math.log(10 / 8), abs=0.05)
    assert verdict("larger_encoders_worse", table).word == NOT_TESTED
    parameters = {"digits": {name: MeasuredStrength(value) for name, value in strength.items()}}
    assert verdict("larger_encoders_worse", table, encoder_parameters=parameters).here == SUPPORTED


def test_speed_up_is_the_ratio_of_images():
    # distances fall as images**-0.5, so 20 % lower at equal images is 0.64 of the images
    found = verdict("selfflow_faster", rows(ARMS | {"selfflow": 0.8 * 9.0}))
    assert found.unit == "log images"
    assert found.effect is not None
    assert math.exp(found.effect) == pytest.approx(0.64, abs=0.06)


def test_equal_flops_charge_the_dearer_arm():
    table = rows(ARMS | {"selfflow": 9.0})
    dear = table["arm"] == "selfflow"
    table.loc[dear, "flops"] *= 2.0  # so it is compared at half its images: 2**0.5 worse
    found = verdict("selfflow_beats_repa_flops", table)
    assert found.effect == pytest.approx(0.5 * math.log(2), abs=0.05)
    assert found.df == 6
    assert found.here == CONTRADICTED
    cosine = verdict("selfflow_beats_repa_flops", table.assign(schedule="cosine"))
    assert cosine.word == NOT_TESTED and "read mid-schedule" in cosine.reason


def test_equal_flops_of_runs_that_end_there_need_no_snapshots():
    table = rows(ARMS).query("final").assign(schedule="cosine")
    found = verdict("selfflow_beats_repa_flops", table)
    assert "at equal FLOPs (at their ends)" in found.reason and found.here == SUPPORTED


def probe_rows(gain: float, correct: dict[str, np.ndarray] | None = None) -> pd.DataFrame:
    final = rows({"vanilla": 1.0, "selfflow": 1.0, "repa/m": 1.0}).query("final")
    parts = []
    for block in (1, 2, 3, 4):
        value = 0.8 + gain * (final["arm"] == "selfflow") * (block <= 2) + 0.001 * final["seed"]
        part = final.assign(
            metric="linear_probe", block=block, t=0.5, stderr=0.016, value=value, n=600
        )
        if correct:
            bits = {arm: numbers.pack(right) for arm, right in correct.items()}
            part = part.assign(details=[{"correct": bits[arm]} for arm in part["arm"]])
        parts.append(part)
    return pd.concat(parts)


def test_probes_carry_the_error_of_the_pictures():
    found = verdict("selfflow_probes_early_middle", probe_rows(0.03))
    assert found.effect == pytest.approx(0.03)
    # the seeds agree to 0.001, 600 pictures do not tell 0.80 from 0.83
    assert found.here == INCONCLUSIVE
    assert verdict("selfflow_probes_early_middle", probe_rows(0.06)).here == SUPPORTED


def test_paired_pictures_tell_more():
    vanilla = np.arange(600) < 480
    selfflow = np.arange(600) < 498  # the same pictures right, and 18 more
    correct = {"vanilla": vanilla, "selfflow": selfflow, "repa/m": vanilla}
    found = verdict("selfflow_probes_early_middle", probe_rows(0.03, correct))
    variance = np.var(selfflow.astype(float) - vanilla, ddof=1) / 600  # what seeds share cancels
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * math.sqrt(variance), rel=0.02)
    assert found.here == SUPPORTED


def test_answers_survive_packing():
    right = np.arange(13) % 3 == 0
    assert numbers.unpack(numbers.pack(right), 13).tolist() == right.tolist()
    with pytest.raises(ValueError, match="16 bits cannot be the answers to 40 pictures"):
        numbers.unpack(numbers.pack(right), 40)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (rows(ARMS, seeds=1), "1 seed"),
        (rows(ARMS, seeds=2), "2 seeds"),
        (rows({"repa/m": 9.0, "selfflow": 8.0}), "2 degrees of freedom where 6 are needed"),
        (rows({"repa/m": 9.0, "selfflow": 8.0}), "as these arms have with 7 seeds"),
        (rows(ARMS | {"selfflow": 9.0}), "contains zero"),
    ],
)
def test_too_little_is_inconclusive(table, why):
    found = verdict("selfflow_beats_repa_images", table)
    assert found.here == INCONCLUSIVE
    assert why in found.reason


def test_an_effect_under_the_scatter_of_a_run_is_an_effect():
    found = verdict("selfflow_beats_repa_images", rows(ARMS | {"selfflow": 8.9}, seeds=100))
    assert found.effect is not None and found.run_floor is not None
    assert abs(found.effect) < found.run_floor
    assert found.here == SUPPORTED, "a hundred seeds see half of what one run scatters by"


def test_an_inconclusive_verdict_says_what_it_would_take():
    found = verdict("selfflow_beats_repa_images", rows(ARMS | {"selfflow": 8.97}, seeds=5))
    assert found.here == INCONCLUSIVE
    assert "four times in five these runs would have shown -3.4 %" in found.reason
    assert " seen would take " in found.reason and found.reason.endswith(" seeds.")


def test_seeds_that_not_all_arms_have_are_left_out_and_named():
    table = rows(ARMS, seeds=5)
    table = table[~((table["arm"] == "selfflow") & (table["seed"] == 4))]
    found = verdict("selfflow_beats_repa_images", table)
    assert (found.seeds, found.df) == (4, 6)
    assert "seeds that not all compared arms have are left out: 4 of repa/m at nano" in found.notes
    apart = rows(ARMS, seeds=5).assign(
        seed=lambda part: part["seed"] + 3 * (part["arm"] == "selfflow")
    )
    found = verdict("selfflow_beats_repa_images", apart)
    assert found.here == INCONCLUSIVE
    assert "the compared arms share 2 seeds where 3 are needed" in found.reason


def test_runs_that_share_nothing_are_compared_unpaired():
    table = rows(ARMS)
    table = table.assign(streams=table["arm"] == "selfflow")
    found = verdict("selfflow_beats_repa_images", table)
    assert (found.here, found.df) == (
        SUPPORTED,
        6,
    ) and "scatters by 1.4 %, unpaired" in found.reason


@pytest.mark.parametrize(
    ("copies", "real", "why"),
    [(1.0, 8.05, "within one run's deviation of that of held-out pictures, 8.05"),
     (0.85, 1.0, "its copy rate of 0.850 is below 0.9, so a part of its nearness is copying")],
)  # fmt: skip
def test_nothing_better_or_worse_is_said_of_a_saturated_arm(copies, real, why):
    table = rows(ARMS).assign(real=real)
    final = table[table["final"] & (table["arm"] == "selfflow")]
    rates = final.assign(metric="copy_rate", value=copies + 0.001 * final["seed"])
    found = verdict("selfflow_beats_repa_images", pd.concat([table, rates.assign(value=copies)]))
    assert found.word == NOT_TESTED and "selfflow at nano is saturated" in found.reason
    assert why in found.reason
    for smooth in (None, 0.95):  # nearer to everything than pictures are, and no copies
        others = [] if smooth is None else [rates.assign(value=smooth)]
        free = verdict("selfflow_beats_repa_images", pd.concat([table.assign(real=1.0), *others]))
        assert free.here == SUPPORTED


def test_the_held_out_loss_gives_a_verdict_of_its_own():
    loss = rows(ARMS | {"selfflow": 9.9}, metric="heldout_loss")
    of_distance, of_loss = judge_claims(
        [CLAIMS["selfflow_beats_repa_images"]], pd.concat([rows(ARMS), loss])
    )
    assert (of_distance.metric, of_distance.here) == ("fd_pixels", SUPPORTED)
    assert (of_loss.metric, of_loss.here, of_loss.unit) == (
        "heldout_loss",
        CONTRADICTED,
        "log loss",
    )
    assert "heldout_loss (published: a distance)" in of_loss.outside


def test_missing_arms_and_no_rows_are_sentences():
    assert "repa/*" in verdict("selfflow_beats_repa_images", rows({"selfflow": 8.0})).reason
    of_any_data = [c for c in CLAIMS.values() if not (c.modality or c.every)]
    found = judge_claims(of_any_data, rows({}))
    assert {one.word for one in found} == {NOT_TESTED}
    assert verdict_counts(found).startswith(
        f"0 of {len(of_any_data)} claims could be tested, in 0 tests"
    )
    unfinished = rows(ARMS, state="stopped", final=False)
    assert verdict("selfflow_beats_repa_images", unfinished).word == NOT_TESTED


def test_values_that_are_none_are_left_out_and_named():
    table = rows(ARMS)
    table.loc[(table["run"] == "selfflow-s0") & table["final"], "value"] = np.nan
    found = verdict("selfflow_beats_repa_images", table)
    assert found.seeds == 2
    assert any("selfflow-s0" in note for note in found.notes)
    assert verdict("selfflow_beats_repa_images", rows(ARMS).assign(value=np.nan)).word == NOT_TESTED


def test_unlike_protocols_are_never_mixed():
    left, right = (
        rows({"selfflow": 8.0}, protocol_id="one"),
        rows({"repa/m": 9.0}, protocol_id="two"),
    )
    assert verdict("selfflow_beats_repa_images", pd.concat([left, right])).word == NOT_TESTED
    other = rows({arm: 3 * mean for arm, mean in ARMS.items()}, protocol_id="other", seeds=2)
    found = verdict("selfflow_beats_repa_images", pd.concat([rows(ARMS), other]))
    assert (found.protocol_id, found.seeds) == ("p", 3)
    assert any("other" in note for note in found.notes)


def test_two_runs_of_one_seed_are_not_averaged():
    twin = rows({"selfflow": 4.0}).assign(run=lambda part: part["run"] + "-other")
    found = verdict("selfflow_beats_repa_images", pd.concat([rows(ARMS), twin]))
    assert found.word == NOT_TESTED


def test_related_distances_are_left_out_and_named():
    related = rows(dict.fromkeys(ARMS, 1.0), metric="fd_local", related="same encoder")
    found = verdict("selfflow_beats_repa_images", pd.concat([related, rows(ARMS)]))
    assert found.metric == "fd_pixels"
    assert "fd_local is left out" in found.notes[0]
    alone = verdict("selfflow_beats_repa_images", related)
    assert (alone.word, alone.p) == (NOT_TESTED, None)
    assert "fd_local is related" in alone.reason


def test_an_encoder_dearer_than_a_whole_run_is_named():
    table = rows({"repa/m": 9.0, "selfflow": 8.0})
    table.loc[table["arm"] == "repa/m", "flops"] += 11.0 * IMAGES[-1]
    found = verdict("selfflow_beats_repa_flops", table)
    assert found.word == NOT_TESTED
    assert "its encoder's training counts" in found.reason


def test_equal_flops_pool_arms_that_spent_less():
    table = rows({"vanilla": 10.0, "repa/m": 9.0, "selfflow": 8.0}, seeds=5)
    cheap = table["arm"] == "vanilla"
    table.loc[cheap, "flops"] *= 0.5
    found = verdict("selfflow_beats_repa_flops", table)
    assert (found.here, found.df) == (SUPPORTED, 8)


def test_runs_that_a_study_matched_by_flops_decide_at_equal_flops():
    """Self-Flow costs a quarter more an image, so it ends after four fifths of the images."""
    table = rows(ARMS).query("final").assign(schedule="cosine")
    dear = table["arm"] == "selfflow"
    table.loc[dear, ["images", "images_total"]] = int(0.8 * IMAGES[-1])
    claims = [CLAIMS["selfflow_beats_repa_flops"]]
    assert judge_claims(claims, table)[0].word == NOT_TESTED
    (found,) = judge_claims(claims, table, matched=table)
    assert found.here == SUPPORTED and "at equal FLOPs (at their ends), nano" in found.reason
    assert found.effect == pytest.approx(math.log(8 / 9), abs=0.05)
