"""Published numbers: types, ranges, a source in every row, and errors that name the place."""

from __future__ import annotations

import pytest

from reports.study.published import (
    ARMS,
    CERTAINTIES,
    LIMITS,
    METRICS_FILE,
    PUBLISHED_FILE,
    SAMPLERS,
    TASKS,
    published,
    published_metrics,
)


def test_every_row_has_a_source_and_numbers_in_range():
    rows = published()
    assert len(rows) >= 70
    for row in rows:
        assert row.source and row.confidence in CERTAINTIES and row.task in TASKS
        assert isinstance(row.steps, int) and row.sampler in SAMPLERS
        for column, (least, most) in LIMITS.items():
            value = getattr(row, "is_" if column == "is" else column)
            assert value is None or least <= value <= most
        assert row.fid is not None


def test_known_rows():
    rows = published("imagenet256")
    (row,) = [row for row in rows if row.method == "selfflow" and row.confidence == "paper"]
    assert (row.fid, row.sfid, row.is_, row.images) == (5.70, 4.97, 151.40, 1_024_000_000)
    assert {row.task for row in published("t2i")} == {"t2i"}
    assert {row.images for row in published("t2i")} == {None}  # of a batch that nobody knows
    assert [row.fid for row in published("imagenet256_rae")] == [3.24, 2.95]


def test_numbers_of_other_kinds_of_data():
    rows = published_metrics()
    found = {(row.task, row.arm, row.metric, row.note): row.value for row in rows}
    assert len(found) == len(rows) == 106
    assert found["video", "repa/vjepa2", "fvd_videomae", ""] == 53.55
    # Self-Flow improves 29 of the 30 pairs of mixed training, and one is equal to three digits
    mixed = {key[1:]: value for key, value in found.items() if key[0] == "mixed"}
    pairs = [(value, mixed["selfflow", *key[1:]]) for key, value in mixed.items()
             if key[0] == "vanilla"]  # fmt: skip
    assert len(pairs) == 30 and sum(ours < theirs for theirs, ours in pairs) == 29
    assert [row.higher for row in rows if row.metric == "clip_score"] == [True] * 5


def test_a_wrong_number_is_named(tmp_path):
    for old, new, why in (
        ("50.95", "x", "line 12: steps or value is no number"),
        (",paper", ",hearsay", "line 2: a source, and one of paper"),
    ):
        path = tmp_path / "published_metrics.csv"
        path.write_text(METRICS_FILE.read_text(encoding="utf-8").replace(old, new, 1))
        with pytest.raises(ValueError, match=why):
            published_metrics(path=path)


def test_a_row_whose_source_names_another_sampler_or_block_says_so():
    met = set()
    for row in published():
        if "ODE sampler" in row.source:
            met.add("ode")
            assert row.sampler == "ode"
        elif "50 steps, block 8" in row.source:
            met.add("block")
            assert (row.sampler, row.alignment_block) == ("unknown", 8)
        elif row.confidence == "rerun" or row.task == "t2i":
            met.add("unknown")
            assert row.sampler == "unknown"
        else:
            met.add("sde")
            assert row.sampler == "sde250"
    assert met == {"ode", "block", "unknown", "sde"}, "a branch that no row takes tests nothing"


def test_changes_of_self_flow_are_named_as_this_project_names_its_arms():
    from bench.config.compose import compose
    from bench.config.identity import arm_name

    words = {
        "selfflow_no_masking": ["method=selfflow", "method.masking=false"],
        "selfflow_near_timestep": ["method=selfflow", "method.near=0.2"],
        "selfflow_l1": ["method=selfflow", "method.similarity=l1"],
        "selfflow_no_rep": ["method=dual_timestep"],
    }
    assert {method: arm_name(compose(said)) for method, said in words.items()} == ARMS
    assert {row.method for row in published() if row.method.startswith("selfflow_")} == set(ARMS)


def test_methods_are_ones_of_this_project_or_its_switches():
    from bench.config.groups import CONF

    known = {path.stem for path in (CONF / "method").glob("*.yaml")}
    assert {row.method for row in published() if not row.method.startswith("selfflow_")} <= known


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (",33.0,", ",,x", "fid"),
        (",0.53,0.63", ",53,0.63", "precision is 53.0, outside 0 to 1"),
        ("SiT-B/2,vanilla", ",vanilla", "model is empty"),
        (",paper\n", ",rumour\n", "line 2: confidence is 'rumour'"),
        (
            ",none,sde250,",
            ",none,sde,",
            "line 2: sampler is 'sde', not one of sde250, ode, unknown",
        ),
        ("task,model", "task,modell", "columns are"),
    ],
)
def test_slips_are_named(tmp_path, old, new, why):
    text = PUBLISHED_FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "published.csv"
    path.write_text(
        text.replace(old, new, 1) if why != "fid" else text.replace(",33.0,", ",low,", 1),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=why):
        published(path=path)
