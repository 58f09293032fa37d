"""The tables of scaling laws: pairs of arms, what is said where no number is finite, marks,
refusals.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.truth import IMAGES, rows

from bench.core.store.runs import RunRecord
from reports.draw.line_chart import line_chart
from reports.draw.panels import LinePanel
from reports.draw.table import Table
from reports.draw.theme import arm_styles
from reports.laws.arms import fitted_laws
from reports.laws.comparison import Compared, effective_multiplier
from reports.laws.fits import fit_power_law
from reports.laws.joint import joint_laws, why_no_shorter_run
from reports.laws.joint_tables import joint_tables
from reports.laws.tables import law_tables
from reports.laws.words import crossing_text, times_text
from reports.output.numbers import panel_rows
from reports.page.figures.distance import AXES
from reports.page.figures.laws import frontier_figure, law_figure

SIZES = {"a": 1e5, "b": 4e5, "c": 1.6e6, "d": 6.4e6, "e": 2.56e7}
ARMS = {"vanilla": 30.0, "selfflow": 20.0, "repa/m": 24.0}


def study(
    arms: dict[str, float] = ARMS, sizes: dict[str, float] = SIZES, **common: object
) -> pd.DataFrame:
    parts = []
    for size, n in sizes.items():
        means = {arm: 0.2 + scale * n**-0.4 for arm, scale in arms.items()}
        part = rows(means, size=size, parameters=n, **common)
        part["value"] *= np.exp(0.02 * np.random.default_rng(int(n)).standard_normal(len(part)))
        parts.append(part.assign(run=part["run"] + size, flops=6e-3 * n * part["images"]))
    return pd.concat(parts, ignore_index=True)


def texts(table: Table, *heads: str) -> list[tuple[str, ...]]:
    at = [[column.label for column in table.columns].index(head) for head in heads]
    return [tuple(row[index].text for index in at) for row in table.rows]


def test_every_arm_is_compared_with_vanilla_and_selfflow_with_repa():
    laws, pairs, in_flops, pairs_in_flops = law_tables(fitted_laws(study()))
    assert "in N" in laws.title and "in C" in in_flops.title
    assert len(pairs_in_flops.rows) == 3 and len(in_flops.rows) == 3
    assert [name for (name,) in texts(laws, "arm")] == ["vanilla", "selfflow", "repa/m"]
    assert texts(pairs, "arm", "against") == [
        ("selfflow", "vanilla"),
        ("repa/m", "vanilla"),
        ("selfflow", "repa/m"),
    ]
    words = texts(pairs, "effective parameters")[2][0].replace("(", "").split()
    truth = (20 / 24) ** (-1 / 0.4)  # E and a are the same
    assert words[1] == "times" and float(words[2]) < truth < float(words[4].rstrip(");"))


def test_a_related_metric_is_marked_on_the_arm_and_on_its_pairs():
    table = study()
    table["related"] = np.where(table["arm"] == "repa/m", "same encoder", "")
    laws, pairs = law_tables(fitted_laws(table))[:2]
    mark = "fd_pixels related to the encoder of repa/m"
    assert [note for (note,) in texts(laws, "note")] == ["", "", mark]
    assert [note for (note,) in texts(pairs, "note")] == ["", mark, mark]


def test_where_no_size_is_large_enough_the_lower_limit_is_given():
    assert (
        times_text(Compared(None, 1.31, np.inf, 0.26))
        == "no finite number in 74 % of samples; more than 1.31 times"
    )
    assert times_text(Compared(1.8, 1.3, np.inf, 0.9)) == (
        "1.80 times (1.300 to unbounded); no finite number in 10 % of samples"
    )
    n = np.repeat(list(SIZES.values()), 3)
    luck = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(n)))
    low, high = (fit_power_law(n, (e + 30 * n**-0.4) * luck, bootstrap=20) for e in (0.2, 2.0))
    assert (
        times_text(effective_multiplier(low, high, 2.56e7))
        == "no finite number in 100 % of samples"
    )
    assert crossing_text(Compared(None, None, None, 0.64)) == (
        "none that is sure: they cross in 64 % of samples"
    )
    assert crossing_text(Compared(4.1e5, 2e5, 9e5, 1.0)) == "410k (200k to 900k)"


def test_too_few_sizes_are_refused_with_the_reason_and_without_pairs():
    (laws,) = law_tables(fitted_laws(study(sizes=dict(list(SIZES.items())[:4]))))
    assert not laws.rows
    assert "Not fitted (vanilla, selfflow, repa/m): there are 4 values of N" in laws.note
    assert "add 1, as N = 25.6M, or below 100k; sizes that would help: " in laws.note


def test_the_figure_draws_law_and_band_over_the_measured_sizes_and_joins_no_markers():
    found = fitted_laws(study())
    [figure] = law_figure(found, [one.group for one in found])
    panel, in_flops = figure.panels
    assert (panel.x.label, in_flops.x.label) == (AXES["parameters"], AXES["flops"])
    assert isinstance(panel, LinePanel)
    law = found[0].laws["selfflow"]
    [curve] = [one for one in panel.curves if one.arm == "selfflow"]
    assert [curve.points[0].x, curve.points[-1].x] == [1e5, 2.56e7]
    for point in curve.points[::8]:
        assert point.y == pytest.approx(law["E"] + law["A"] * point.x ** -law["a"], rel=1e-5)
        assert point.low < point.high
    styles = {style.arm: style for style in arm_styles(ARMS)}
    svg = line_chart(panel, styles)
    assert svg.count('opacity="0.12"') == len(ARMS)
    joined = line_chart(replace(panel, curves=()), styles)
    assert svg.count('stroke-width="1.8"') == joined.count('stroke-width="1.8"') == len(ARMS)
    rows_of_csv = panel_rows(panel)
    assert len([row for row in rows_of_csv if row[-1] is None]) == len(ARMS) * len(curve.points)
    assert law_figure([], []) == []


CONSTANT = {"schedule": "constant", "warmup_steps": 1000}


def records(
    table: pd.DataFrame, optimizer: dict[str, object] = CONSTANT, decay: float = 0.999
) -> dict[str, RunRecord]:
    """The runs of a table as their folders would say them."""
    first = table.groupby("run").first()
    return {
        name: RunRecord(
            arm=row["arm"], method=row["method"], encoder=row["encoder"], size=row["size"],
            depth=4, width=32, data="digits", seed=int(row["seed"]), images=int(IMAGES[-1]),
            batch=64, folder=Path(name),
            configuration={"optimizer": optimizer, "ema": {"decay": decay}},
        )
        for name, row in first.to_dict("index").items()
    }  # fmt: skip


def over_images(arms: dict[str, float]) -> pd.DataFrame:
    """A study whose snapshots follow a joint law in N and D."""
    table = study(arms)
    luck = table.groupby(["arm", "size", "images"])["value"].transform(lambda one: one / one.mean())
    scale = table["arm"].map(arms)
    law = 0.2 + scale * table["parameters"] ** -0.4 + 50 * table["images"] ** -0.35
    return table.assign(value=law * luck)


def test_snapshots_of_constant_runs_give_joint_laws_and_a_frontier():
    table = over_images({"vanilla": 30.0, "selfflow": 20.0})
    runs = records(table)
    (found,) = joint_laws(table, runs)
    assert found.rows["images"].min() == 1e5  # 64 images a step, 1000 steps of warm-up
    for arm, scale in (("vanilla", 30.0), ("selfflow", 20.0)):
        law = found.laws[arm]
        for name, value in {"E": 0.2, "A": scale, "a": 0.4, "B": 50.0, "b": 0.35}.items():
            low, high = law.interval(name)
            assert low / 1.2 < value < high * 1.2
        assert 0 < law.run_deviation < law.deviation == pytest.approx(0.02, abs=0.005)
        assert found.costs[arm].exponent == pytest.approx(1)
    laws, frontier, pairs = joint_tables([found])
    assert "share its luck" in laws.note and len(laws.rows) == 2
    # a budget's best N and D by trying many N; what lies outside of the runs is said
    told = [note for (note,) in texts(frontier, "note")]
    for arm, of_arm in (("vanilla", told[:3]), ("selfflow", told[3:])):
        e, scale, a, scale_d, b = (float(found.laws[arm].values[i]) for i in range(5))
        means, cost = found.means(arm), found.costs[arm]
        for share, note in zip((0.1, 1.0, 10.0), of_arm, strict=True):
            n = np.geomspace(1e3, 1e9, 20_000)
            d = share * means["flops"].max() / cost.scale / n**cost.exponent
            best = np.argmin(e + scale * n**-a + scale_d * d**-b)
            inside = [
                trained.min() <= value <= trained.max()
                for value, trained in ((n[best], means["parameters"]), (d[best], means["images"]))
            ]
            assert (note == "") == (all(inside) and share <= 1), (arm, share)
    times = texts(pairs, "times the FLOPs")[0][0]
    assert times.endswith(")") and float(times.split()[0]) > 1
    [figure] = frontier_figure([found])
    [panel] = figure.panels
    assert isinstance(panel, LinePanel)
    assert len(panel.guides) == 2 * len(SIZES) and len(panel.curves) == 2
    heights = [point.y for point in panel.series[0].points]
    assert heights == sorted(heights, reverse=True)
    assert 'opacity="0.12"' in line_chart(panel, {one.arm: one for one in arm_styles(ARMS)})


@pytest.mark.parametrize(
    ("optimizer", "decay", "why"),
    [
        ({"schedule": "cosine"}, 0.999, "optimizer.schedule=cosine ends with the run"),
        ({**CONSTANT, "warmup_share": 0.1}, 0.999, "optimizer.warmup_share=0.1 is a share"),
        (CONSTANT, 0.0, "ema.decay=0 leaves"),
        ({}, 0.999, "says nothing of the learning rate"),
    ],
)
def test_snapshots_under_a_schedule_of_the_run_are_no_shorter_runs(optimizer, decay, why):
    table = over_images({"vanilla": 30.0})
    runs = records(table, optimizer, decay)
    assert why in why_no_shorter_run(next(iter(runs.values())))
    (refused,) = joint_tables(joint_laws(table, runs))
    assert not refused.rows and why in refused.note and "to their own ends" in refused.note


def test_runs_that_end_at_several_images_give_a_joint_law_under_any_schedule():
    table = over_images({"vanilla": 30.0})
    ends = table.assign(
        images_total=table["images"], final=True,
        run=table["run"] + table["images"].astype(str),
    )  # fmt: skip
    (found,) = joint_laws(ends, records(ends, {"schedule": "cosine"}))
    assert set(found.laws) == {"vanilla"}
    low, high = found.laws["vanilla"].interval("b")
    assert low < 0.35 < high
