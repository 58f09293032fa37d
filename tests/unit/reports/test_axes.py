"""Ticks, labels and scales of the figures."""

import math
from xml.etree import ElementTree

import pytest

from reports.draw.axes import Scale, linear_ticks, log_ticks, number, svg, svg_text, tick_label


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (0.0, "0"),
        (3.14159, "3.14"),
        (0.0213, "0.0213"),
        (12345.0, "12.3k"),
        (131072, "131k"),
        (999_999.0, "1000k"),
        (4.58e8, "458M"),
        (3.2e22, "3.20e22"),
        (1.05e12, "1.05T"),
        (2.1e-4, "0.000210"),
        (2.1e-5, "2.10e-5"),
        (-0.5, "-0.500"),
        (math.nan, "n/a"),
        (None, "n/a"),
    ],
)
def test_numbers_are_short_and_right(value, read):
    assert number(value) == read


def test_number_keeps_the_value():
    for value in (1.5e-5, 0.00123, 0.5, 7.25, 812.0, 5.5e22):
        assert float(number(value, 4)) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.42374, 0.42386), (-16.0, 3.0), (1e9, 5e9), (5.0, 5.0)]
)
def test_linear_ticks_are_round_inside_and_few(low, high):
    ticks, step = linear_ticks(low, high, 7)
    assert len(ticks) <= 8
    assert all(low - 1e-9 * abs(low) <= tick <= high + 1e-9 * abs(high) for tick in ticks)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - round_one) for round_one in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize(
    ("low", "high"), [(0.6, 7.0), (1e12, 2.5e13), (80e3, 1.3e6), (1e-4, 1e4), (4000.0, 131072.0)]
)
def test_log_ticks_cover_the_range(low, high):
    ticks = log_ticks(low, high, 7)
    assert 2 <= len(ticks) <= 7
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
    assert ticks == sorted(set(ticks))


def test_tick_labels_are_distinct():
    for ticks, step in (
        linear_ticks(0.42374, 0.42386, 7),
        linear_ticks(0, 1, 7),
        linear_ticks(1e12, 1.4e12, 7),
    ):
        labels = [tick_label(tick, step) for tick in ticks]
        assert len(set(labels)) == len(labels)
    assert tick_label(2e13) == "2·10¹³"
    assert tick_label(1e-4) == "10⁻⁴"


def test_scale_maps_ends_and_middle():
    linear = Scale(0.0, 10.0, 100.0, 200.0)
    assert (linear(0.0), linear(5.0), linear(10.0)) == (100.0, 150.0, 200.0)
    log = Scale(1.0, 100.0, 0.0, 300.0, log=True)
    assert log(10.0) == pytest.approx(150.0)
    assert not log.holds(0.0) and not log.holds(math.nan) and linear.holds(0.0)


def test_scale_of_nothing_and_of_one_value():
    assert Scale.around([], 0.0, 1.0).low < Scale.around([], 0.0, 1.0).high
    alone = Scale.around([0.5, math.nan], 0.0, 1.0, log=True)
    assert 0.0 < alone(0.5) < 1.0


def test_names_cannot_break_the_picture():
    nasty = "<b>&\"'</text>"
    picture = ElementTree.fromstring(svg(10, 10, nasty, [svg_text(1, 2, nasty)]))
    assert picture.attrib["aria-label"] == nasty
    assert picture[0].text == nasty
