"""Claims on several data sets at once: cases by hand, and how often they are wrong when nothing, or
one part alone, is as the claim says.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from support.truth import PROPERTIES, SIZES, SPREAD, arms_of, rows, table

from reports.findings.claims import load_claims
from reports.findings.conjunction import conjunction
from reports.findings.decisions import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_TESTED,
    OUTSIDE,
    SUPPORTED,
    Verdict,
    decide,
)
from reports.findings.statistics import STATISTICS
from reports.findings.verdicts import judge_claims
from reports.page.answers import answers
from reports.page.verdicts import judge
from reports.study.runs import StudyResults

CLAIMS = {claim.name: claim for claim in load_claims()}
CLAIM = CLAIMS["mixed_improves_all"]
STUDIES = 400
MOST_WRONG = int(binom.ppf(0.99, STUDIES, 0.05))


def part(name, here, p, effect, **more):
    """The verdict on one data set, of a claim that says "lower"."""
    found = {"p": p, "effect": effect, "low": effect - 0.1, "high": effect + 0.1}
    of_group = {"unit": "log distance", "metric": "fd_local", "seeds": 4, "takes": 9}
    return Verdict(
        CLAIM.name, CLAIM.sentence, CLAIM.source, CLAIM.pages, here, f"as {name} has it.",
        **{"here": here, "data": f"mixed_a/{name}"} | found | of_group | more,
    )  # fmt: skip


def test_it_holds_where_every_part_does_as_surely_as_the_least_of_them():
    parts = [
        part("digits", SUPPORTED, 0.001, -0.3),
        part("videos", SUPPORTED, 0.04, -0.2),
        part("notes", SUPPORTED, 0.02, -0.25),
    ]
    found = conjunction(CLAIM, parts)
    assert (found.here, found.p, found.weakest) == (SUPPORTED, 0.04, "mixed_a/videos")
    assert (found.effect, found.data) == (-0.2, "mixed_a") and len(found.parts) == 3
    assert found.reason == "All 3 parts hold by themselves. The least of them: as videos has it."


def test_one_part_that_is_not_told_leaves_it_open_and_is_named():
    parts = [
        part("digits", SUPPORTED, 0.001, -0.3),
        part("videos", INCONCLUSIVE, 0.4, 0.02, takes=80),
        part("notes", INCONCLUSIVE, 0.2, -0.05),
    ]
    found = conjunction(CLAIM, parts)
    # the effect of videos points the other way: nothing speaks for the claim there
    assert (found.here, found.p, found.weakest, found.takes) == (
        *(INCONCLUSIVE, 1.0, "mixed_a/videos"),
        80,
    )
    said = "1 of 3 parts hold by themselves; not told: mixed_a/videos and mixed_a/notes."
    assert found.reason.startswith(said)


@pytest.mark.parametrize(("p", "here"), [(0.01, CONTRADICTED), (0.03, INCONCLUSIVE)])
def test_one_part_the_other_way_contradicts_it_where_it_does_for_so_many_parts(p, here):
    """Any of three parts may be wrong: its p counts three times, 0.03 and 0.09."""
    parts = [
        part("digits", SUPPORTED, 0.001, -0.3),
        part("videos", CONTRADICTED, p, 0.2),
        part("notes", SUPPORTED, 0.02, -0.25),
    ]
    found = conjunction(CLAIM, parts)
    assert found.here == here
    assert found.p == (pytest.approx(3 * p) if here == CONTRADICTED else 1.0)
    assert "mixed_a/videos" in found.reason.partition("The least")[0]


def test_a_part_that_is_not_tested_keeps_it_from_being_supported_but_not_contradicted():
    nothing = {"effect": None, "low": None, "high": None, "p": None, "here": ""}
    missing = replace(part("notes", NOT_TESTED, 1.0, 0.0), **nothing)
    held = part("digits", SUPPORTED, 0.001, -0.3), part("videos", SUPPORTED, 0.01, -0.2)
    found = conjunction(CLAIM, [*held, missing])
    assert not found.tested and found.word == NOT_TESTED and "mixed_a/notes" in found.reason
    worse = part("videos", CONTRADICTED, 0.001, 0.5)
    found = conjunction(CLAIM, [held[0], worse, missing])
    assert found.here == CONTRADICTED and found.p == pytest.approx(0.003)


def test_one_part_alone_is_no_several():
    found = conjunction(CLAIM, [part("digits", SUPPORTED, 0.001, -0.3)])
    assert found.word == NOT_TESTED and not found.tested


def test_outside_the_range_the_word_says_so():
    out = {"outside": "data mixed_a/digits (published: others)"}
    parts = [part("digits", SUPPORTED, 0.01, -0.3, **out), part("notes", SUPPORTED, 0.01, -0.3)]
    found = conjunction(CLAIM, parts)
    assert (found.word, found.here, found.outside) == (OUTSIDE, SUPPORTED, out["outside"])


# Null simulations ---------------------------------------------------------------------------------


def words(deviations, seeds=5, studies=STUDIES):
    """Words of simulated studies; deviations: of the left arm in each part, in the claim's
    direction.
    """
    rng, left = np.random.default_rng(20261124), arms_of(CLAIM)[0]
    found = []
    for _ in range(studies):
        parts = []
        for name, shift in enumerate(deviations):
            cells = {(left, size): CLAIM.sign * shift * SPREAD for size in SIZES}
            made = STATISTICS["difference"](CLAIM, table(CLAIM, seeds, rng, cells, 0.5), PROPERTIES)
            here, _ = decide(made, CLAIM.sign)
            given = {"low": made.low, "high": made.high}
            parts.append(part(str(name), here, made.p, made.effect, **given))
        found.append(conjunction(CLAIM, parts))
    return found


def test_where_nothing_differs_anywhere_it_is_seldom_decided():
    found = words([0.0, 0.0, 0.0])
    wrong = [one for one in found if one.here != INCONCLUSIVE]
    assert len(wrong) <= MOST_WRONG and not any(one.here == SUPPORTED for one in wrong)
    assert all(one.p < 0.05 for one in wrong)


def test_where_one_part_does_not_differ_it_is_seldom_decided():
    """The hardest null of an intersection-union test: all others are far in the claim's favour."""
    found = words([0.0, 30.0, 30.0])
    wrong = sum(one.here != INCONCLUSIVE for one in found)
    assert 0 < wrong <= MOST_WRONG
    assert {one.weakest for one in found} == {"mixed_a/0"}


def test_where_all_parts_are_better_it_is_found_and_where_one_is_worse_contradicted():
    assert sum(one.here == SUPPORTED for one in words([4.0, 4.0, 4.0], studies=50)) >= 45
    worse = words([4.0, 4.0, -4.0], studies=50)
    assert sum(one.here == CONTRADICTED for one in worse) >= 45
    assert not any(one.here == SUPPORTED for one in worse)


# On rows ------------------------------------------------------------------------------------------


def of_parts(means):
    tables = [
        rows({"selfflow": ours, "vanilla": 10.0}, seeds=7, data=data)
        for data, ours in means.items()
    ]
    for place, one in enumerate(tables):
        one["run"] = one["run"] + f"-{place}"
    return pd.concat(tables, ignore_index=True)


def test_rows_of_several_data_sets_give_one_verdict_beside_those_on_each():
    named = {"mixed_image/digits": 7.0, "mixed_image/notes": 8.0, "mixed_sound/notes": 7.5}
    study = of_parts(named | {"digits": 12.0})
    (one,) = judge_claims([CLAIM], study)
    assert (one.word, one.here, one.data) == (OUTSIDE, SUPPORTED, "mixed_image + mixed_sound")
    assert {of_part.data for of_part in one.parts} == set(named), "and digits alone is no part"
    each = judge_claims([CLAIMS["selfflow_beats_vanilla"]], study)
    assert {verdict.data for verdict in each} == {*named, "digits"}
    assert one.p == max(verdict.p for verdict in each if verdict.data in named)


def test_a_study_of_one_kind_of_data_is_not_asked():
    assert judge_claims([CLAIM], of_parts({"digits": 7.0})) == []


def test_a_page_names_the_least_of_the_parts():
    study = of_parts({"mixed_image/digits": 7.0, "mixed_image/notes": 9.99})
    judged = judge(StudyResults("", study, {}), "convergence")
    (entry,) = [one for one in judged.entries if one.sentences[0][1] == CLAIM.sentence]
    assert "the least of 2 parts, mixed_image/notes: " in entry.short
    assert "mixed_image/digits: supported" in dict(entry.facts)["notes"]


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        (8.0, "Self-Flow is better than Vanilla on all 3 parts, least so on mixed_image/words ("),
        (12.0, "No: Self-Flow is worse than Vanilla on mixed_image/notes (+"),
        (10.0, "That cannot be told: Self-Flow is better than Vanilla on 2 of 3 parts by itself, "),
    ],
)
def test_it_is_the_first_answer_of_a_page(notes, said):
    means = {"mixed_image/digits": 7.0, "mixed_image/notes": notes, "mixed_image/words": 8.5}
    study = StudyResults("", of_parts(means), {})
    judged = judge(study, "all")
    first, second, *_ = answers(study, judged.verdicts, judged.claims)
    assert first.question == "Is everything better at once?" and first.sentence.startswith(said)
    assert second.question == "Does anything beat Vanilla?"
    assert second.sentence.startswith("On three parts of the data, Self-Flow is ")


def test_it_belongs_to_a_difference():
    with pytest.raises(ValueError, match=r"`every`.* belongs to a difference without a margin"):
        replace(CLAIM, margin=0.1)
