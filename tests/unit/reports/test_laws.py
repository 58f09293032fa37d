"""The tables of scaling laws: pairs of arms, what is said where no number is finite, marks,
refusals.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.truth import rows

from reports.draw.content import LinePanel
from reports.draw.line_chart import line_chart
from reports.draw.table import Table
from reports.draw.theme import arm_styles
from reports.laws.arms import crossing_text, fitted_laws, law_tables, times_text
from reports.laws.comparison import Crossing, effective_parameters
from reports.laws.fits import fit_power_law
from reports.output.export import panel_rows
from reports.page.figures.laws import law_figure

SIZES = {"a": 1e5, "b": 4e5, "c": 1.6e6, "d": 6.4e6, "e": 2.56e7}
ARMS = {"vanilla": 30.0, "selfflow": 20.0, "repa/m": 24.0}


def study(
    arms: dict[str, float] = ARMS, sizes: dict[str, float] = SIZES, **common: object
) -> pd.DataFrame:
    parts = []
    for size, n in sizes.items():
        means = {arm: 0.2 + scale * n**-0.4 for arm, scale in arms.items()}
        part = rows(means, size=size, parameters=n, **common)
        parts.append(part.assign(run=part["run"] + size))
    return pd.concat(parts, ignore_index=True)


def texts(table: Table, *heads: str) -> list[tuple[str, ...]]:
    at = [[column.label for column in table.columns].index(head) for head in heads]
    return [tuple(row[index].text for index in at) for row in table.rows]


def test_every_arm_is_compared_with_vanilla_and_selfflow_with_repa():
    laws, pairs = law_tables(fitted_laws(study()))
    assert [name for (name,) in texts(laws, "arm")] == ["vanilla", "selfflow", "repa/m"]
    assert texts(pairs, "arm", "against") == [
        ("selfflow", "vanilla"),
        ("repa/m", "vanilla"),
        ("selfflow", "repa/m"),
    ]
    words = texts(pairs, "effective parameters")[2][0].replace("(", "").split()
    truth = (20 / 24) ** (-1 / 0.4)  # E and a are the same
    assert words[1] == "times" and float(words[2]) < truth < float(words[4].rstrip(");"))


def test_the_noise_of_a_size_is_pooled_over_its_arms():
    table = study(sizes=SIZES)
    (found,) = fitted_laws(table)
    final = table[table["final"]]
    for size, n in SIZES.items():
        logs = [np.log(part["value"]) for _, part in final[final["size"] == size].groupby("arm")]
        by_hand = np.sqrt(np.mean([np.var(one, ddof=1) for one in logs]))
        assert found.noise[n] == (pytest.approx(by_hand), 6)


def test_a_related_metric_is_marked_on_the_arm_and_on_its_pairs():
    table = study()
    table["related"] = np.where(table["arm"] == "repa/m", "same encoder", "")
    laws, pairs = law_tables(fitted_laws(table))
    mark = "fd_pixels related to the encoder of repa/m"
    assert [note for (note,) in texts(laws, "note")] == ["", "", mark]
    assert [note for (note,) in texts(pairs, "note")] == ["", mark, mark]


def test_where_no_size_is_large_enough_the_lower_limit_is_given():
    assert (
        times_text(Crossing(None, 1.31, np.inf, 0.26))
        == "no finite number in 74 % of samples; more than 1.31 times"
    )
    assert times_text(Crossing(1.8, 1.3, np.inf, 0.9)) == (
        "1.80 times (1.300 to unbounded); no finite number in 10 % of samples"
    )
    n = np.repeat(list(SIZES.values()), 3)
    noise = {float(at): (0.01, 30) for at in n}
    low, high = (fit_power_law(n, e + 30 * n**-0.4, bootstrap=20, noise=noise) for e in (0.2, 2.0))
    assert (
        times_text(effective_parameters(low, high, 2.56e7))
        == "no finite number in 100 % of samples"
    )
    assert crossing_text(Crossing(None, None, None, 0.0)) == "they do not meet in 100 % of samples"


def test_too_few_sizes_are_refused_with_the_reason_and_without_pairs():
    (laws,) = law_tables(fitted_laws(study(sizes=dict(list(SIZES.items())[:3]))))
    assert (
        not laws.rows
        and "Not fitted (vanilla, selfflow, repa/m): there are 3 values of N" in laws.note
    )


def test_the_figure_draws_law_and_band_over_the_measured_sizes_and_joins_no_markers():
    found = fitted_laws(study())
    [figure] = law_figure(found)
    [panel] = figure.panels
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
    assert law_figure([]) == []
