"""A measured FID stands beside a published one only where arm, size, block, objective,
sampler and budget agree.
"""

import json

import pytest
from support.pages import write_run

from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.store.rows import Row, write_rows
from bench.core.store.runs import RunRecord
from reports.page.published_table import published_tables, reported_tables
from reports.study.runs import read_study

IMAGES = 400_000 * 256


def measured(root, arm, size, block, recipe=None, value=11.1, n=50_000, **changes):
    """A run with a FID after 400K steps, sampled by sde250 with changes."""
    run = write_run(root, arm, size=size, data="imagenet256", snapshots=1, probes=False)
    described = json.loads((run / "run.json").read_text()) | {"identity": recipe or {}}
    described["blocks"] = {"student": block} if block else {}
    (run / "run.json").write_text(json.dumps(described))
    protocol = {
        "sampling": sampling_protocol("sde250", **changes).to_json() | {"samples": n},
        "n": n,
    }
    write_rows(
        run,
        "evaluate",
        IMAGES,
        [Row("fid", value, n, False, protocol)],
        {"flops": 1.0, "hours": 1.0},
    )


def beside(root):
    """[(arm, published FID, source)] of the rows that a measured FID stands beside."""
    (table,) = published_tables(read_study(root))
    heads = [column.label for column in table.columns]
    rows = [dict(zip(heads, (cell.sort for cell in row), strict=True)) for row in table.rows]
    return [
        (row["arm"], row["FID"], row["source"])
        for row in rows
        if row["FID measured here"] is not None
    ]


def test_other_samplers_blocks_and_objectives_stand_alone(tmp_path):
    measured(tmp_path, "vanilla", "B", None)
    measured(tmp_path, "repa/dinov2_b", "B", 4)
    measured(tmp_path, "repa/dinov2_b", "L", 8)
    measured(tmp_path, "repa/mae_l", "L", 8)  # published with NT-Xent only
    found = beside(tmp_path)
    assert [(arm, fid) for arm, fid, _ in found] == [
        ("vanilla", 33.0), ("repa/dinov2_b", 24.4), ("repa/dinov2_b", 10.0),
    ]  # fmt: skip
    assert all(source.startswith("REPA arXiv 2410.06940") for _, _, source in found)


@pytest.mark.parametrize(
    ("arm", "block", "fid"),
    [
        ("selfflow(masking=False)", 8, 11.5),
        ("selfflow(near=0.2)", 8, 11.0),
        ("selfflow(similarity=l1)", 8, 10.0),
        ("selfflow", 8, 10.5),
    ],
)
def test_changes_of_self_flow_find_their_rows(tmp_path, arm, block, fid):
    measured(tmp_path, arm, "XL", block)
    assert [found[:2] for found in beside(tmp_path)] == [(arm, fid)]


def test_dual_timestep_is_self_flow_without_its_term(tmp_path):
    measured(tmp_path, "dual_timestep", "XL", None)
    assert [found[:2] for found in beside(tmp_path)] == [("dual_timestep", 15.0)] * 2  # two figures


@pytest.mark.parametrize(
    "change",
    [
        {"block": 6},
        {"recipe": {"optimizer.lr": 0.001}},
        {"recipe": {"batch": 64}},
        {"n": 10_000},
        {"steps": 50},
        {"guidance": 1.5},
        {"labels": "balanced"},
        {"rounding": "round_half_up"},
    ],
    ids=str,
)
def test_another_set_up_is_not_put_beside(tmp_path, change):
    measured(tmp_path, **{"arm": "repa/dinov2_b", "size": "B", "block": 4} | change)
    assert beside(tmp_path) == []


def test_the_precision_of_the_model_may_differ(tmp_path):
    measured(
        tmp_path, "repa/dinov2_b", "B", 4, recipe={"precision": "bf16"}, model_precision="bf16"
    )
    assert [found[1] for found in beside(tmp_path)] == [24.4]


def test_what_the_paper_reports_of_a_kind_of_data_stands_as_changes_from_its_vanilla(
    tmp_path, monkeypatch
):
    write_run(tmp_path, "vanilla", data="moving_digits", snapshots=1, probes=False)
    study = read_study(tmp_path)
    monkeypatch.setattr(RunRecord, "modalities", {"moving_digits": "video"})
    (table,) = reported_tables(study)
    lines = {(row[0].text, row[1].text): row for row in table.rows}
    assert len(lines) == 12 and lines["selfflow", "fvd_videomae"][4].sort == pytest.approx(
        100 * (47.81 / 50.95 - 1), abs=0.01
    )
    assert "no interval" in table.note
