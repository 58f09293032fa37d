"""Drawn panels: what is in the data is in the picture, at its place, and nothing else."""

import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from reports.draw.axes import CHARACTER, Scale, signed
from reports.draw.heat_map import VIRIDIS, colour_at
from reports.draw.labels import Box, Wanted, placed
from reports.draw.legend import draw_panel, with_legend
from reports.draw.panels import (
    Axis,
    Bar,
    BarPanel,
    Effect,
    ForestPanel,
    HeatPanel,
    LinePanel,
    Point,
    Rule,
    Series,
)
from reports.draw.theme import arm_styles
from reports.output.pdf import (
    LINES_ACROSS,
    NAMED_ACROSS,
    SMALL_ACROSS,
    maps_across,
    panels_across,
)

SVG = "{http://www.w3.org/2000/svg}"


def styles_of(arms):
    return {style.arm: style for style in arm_styles(arms)}


STYLES = styles_of(["vanilla", "selfflow", "repa/<x>&"])


def point(x, y, low=None, high=None):
    return Point(x, y, low, high, 3, f"<{y}>")


def line_panel(**changes):
    series = [
        Series("selfflow", [point(0, 1, 0.5, 1.5), point(1, 2), point(2, 4)]),
        Series("repa/<x>&", [point(0, 3)]),
    ]
    return replace(LinePanel("a <title> & more", Axis("x"), Axis("y"), series), **changes)


def groups_of(drawn):
    return {
        group.attrib["data-arm"]: group for group in ElementTree.fromstring(drawn).iter(f"{SVG}g")
    }


def test_every_arm_is_a_group_of_its_own():
    groups = groups_of(draw_panel(line_panel(), STYLES))
    assert set(groups) == {STYLES["selfflow"].key, STYLES["repa/<x>&"].key}
    tips = [title.text for title in groups[STYLES["selfflow"].key].iter(f"{SVG}title")]
    assert tips == ["<1>", "<2>", "<4>"]


def test_line_runs_through_the_points():
    group = groups_of(draw_panel(line_panel(), STYLES))[STYLES["selfflow"].key]
    places = [
        tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", group[0].attrib["d"])
    ]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert (y0 - y1) * 2 == pytest.approx(y1 - y2, abs=0.3)  # 1, 2, 4 upwards


@pytest.mark.parametrize(("points", "marks"), [(1, ["<1>"]), (2, [])])
def test_a_line_without_markers_is_seen_though_it_is_one_point(points, marks):
    series = Series("selfflow", [point(0, 1), point(1, 2)][:points], markers=False)
    drawn = groups_of(draw_panel(line_panel(series=[series]), STYLES))[STYLES["selfflow"].key]
    assert [title.text for title in drawn.iter(f"{SVG}title")] == marks


PRINTED = 176 / 25.4 * 72  # points across a page, 7 of them between two panels


def room(columns):
    return (PRINTED - 7 * (columns - 1)) / columns


def printed(panel, styles, columns, wide=False):
    """The picture as paper has it, and points that its smallest letters have there."""
    drawn = ElementTree.fromstring(draw_panel(panel, styles, wide, printed=room(columns)))
    smallest = min(float(text.get("font-size")) for text in drawn.iter(f"{SVG}text"))
    return drawn, smallest * room(columns) / float(drawn.get("width"))


@pytest.mark.parametrize("count", range(1, 13))
@pytest.mark.parametrize("named", [False, True])
def test_letters_of_lines_can_be_read_in_print(count, named):
    columns = panels_across(count, NAMED_ACROSS if named else LINES_ACROSS)
    assert columns <= (2 if named else 3)
    assert count <= columns or count % columns != 1 or columns == 2
    points = [replace(point(0, 1), name="a name"), point(1, 2)] if named else [point(0, 1)]
    panel = line_panel(series=[Series("selfflow", points)])
    assert printed(panel, STYLES, max(columns, 2))[1] > 5.5  # one that is alone takes half a page


@pytest.mark.parametrize("arms", [["vanilla", "selfflow"], ["repa(weight=2)/noise(local_m)"] * 2])
def test_letters_of_changes_costs_and_maps_can_be_read_in_print(arms):
    styles = styles_of(dict.fromkeys(arms))
    effects = [Effect(arm, -1.5, -3.0, 2.0, n=8) for arm in arms]
    forest = ForestPanel("title", Axis("change (%)"), effects, 1.0, note="a note")
    bars = BarPanel("cost", Axis("FLOPs"), ("backbone",), [Bar(arm, [1e6]) for arm in arms])
    maps = replace(
        heat_panel([[0.0, 0.25, 0.5, 0.75, 1.0]] * 4),
        x=Axis("t", values=[0.1, 0.3, 0.5, 0.7, 0.9]),
        y=Axis("block", values=[1, 2, 3, 4]),
    )
    assert printed(forest, styles, 1, wide=True)[1] > 5.5
    assert min(printed(forest, styles, columns)[1] for columns in (2, 3)) > 5.5
    assert printed(bars, styles, 2)[1] > 5.5
    for count in range(1, 13):
        assert printed(maps, STYLES, max(maps_across(count), 3))[1] > 5.5


@pytest.mark.parametrize("draw", ["bars", "forest"])
def test_a_name_too_long_for_its_line_stands_over_it_and_is_not_small(draw):
    arms = ["vanilla", "repa(weight=2)/averaged(efficientnet_lite0)"]
    styles = styles_of(arms)
    panel = BarPanel("cost", Axis("FLOPs"), ("backbone",), [Bar(arm, [1e6]) for arm in arms])
    if draw == "forest":
        panel = ForestPanel("t", Axis("x"), [Effect(arm, -1.5, -3.0, 2.0, n=8) for arm in arms])
    drawn = ElementTree.fromstring(draw_panel(panel, styles))
    names = {text.text: text.attrib for text in drawn.iter(f"{SVG}text")}
    own = [names[styles[arm].name] for arm in arms]  # whole, as they are called
    assert {float(one["font-size"]) for one in own} == {10.5}
    words = [one for text, one in names.items() if "n=8" in text or text == "1M"]
    tops = {float(one["y"]) for one in own}
    assert words and not tops & {float(one["y"]) for one in words}


@pytest.mark.parametrize("count", range(1, 13))
def test_small_panels_fill_their_last_row_or_are_not_alone_in_it(count):
    columns = panels_across(count, SMALL_ACROSS)
    assert columns in range(1, 6) and (count <= columns or count % columns != 1)
    columns = maps_across(count)
    assert columns in range(1, 5) and (count <= columns or count % columns != 1 or count == 1)


def test_labels_of_ticks_keep_apart_in_a_narrow_picture():
    panel = line_panel(x=Axis("training images"), series=[Series("selfflow", [
        point(2000, 1.0), point(65536, 2.0)])])  # fmt: skip
    drawn = ElementTree.fromstring(draw_panel(panel, STYLES, printed=room(3)))
    heights = [(text.get("y"), text) for text in drawn.iter(f"{SVG}text")]
    row = [text for y, text in heights if [one for one, _ in heights].count(y) > 2]
    edges = sorted((float(one.get("x")), len(str(one.text)) * 10 * CHARACTER) for one in row)
    assert len(edges) > 2
    for (left, wide), (right, other) in itertools.pairwise(edges):
        assert right - left > (wide + other) / 2


def test_a_log_axis_leaves_out_what_it_cannot_show():
    series = [Series("selfflow", [point(1, 0.0), point(10, 1.0), point(100, 10.0)])]
    panel = line_panel(series=series, y=Axis("y", log=True))
    assert (
        len(list(groups_of(draw_panel(panel, STYLES))[STYLES["selfflow"].key].iter(f"{SVG}title")))
        == 2
    )


def test_labels_of_rules_do_not_touch():
    rules = [
        Rule("vanilla", 2.0, 1.9, 2.1, arm="vanilla"),
        Rule("real", 2.01),
    ]
    drawn = ElementTree.fromstring(draw_panel(line_panel(rules=rules), STYLES))
    boxes = [box_of(text) for text in drawn.iter(f"{SVG}text") if text.text in ("vanilla", "real")]
    assert len(boxes) == 2 and not boxes[0].meets(boxes[1])


def box_of(text):
    """What a text of a picture covers, a little less than is reckoned for it."""
    size, x, y = (float(text.attrib[name]) for name in ("font-size", "x", "y"))
    wide = CHARACTER * size * len(text.text)
    left = x - {"start": 0, "end": wide, "middle": wide / 2}[text.attrib["text-anchor"]]
    return Box(left, y - 0.8 * size, left + wide, y + 0.2 * size)


@pytest.mark.parametrize("seed", range(4))
def test_names_of_points_hide_neither_each_other_nor_labels_nor_markers(seed):
    """Twelve points with long names, half of them in one column, beside two rules: what is written
    is free, and what is left out is little.
    """
    rng = np.random.default_rng(seed)
    arms = [f"repa/encoder_{index}" for index in range(12)]
    places = [(0.6 if i % 2 else rng.random(), rng.random()) for i in range(12)]
    series = [
        Series(
            arm, [replace(point(x, y), low=y - 0.2, high=y + 0.2, name=f"a name of {i:02} letters")]
        )
        for i, (arm, (x, y)) in enumerate(zip(arms, places, strict=True))
    ]
    rules = [Rule("Vanilla", 0.5, 0.4, 0.6), Rule("Self-Flow", 0.47, 0.4, 0.5)]
    panel = line_panel(series=series, rules=rules)
    styles = {style.arm: style for style in arm_styles(arms)}
    drawn = ElementTree.fromstring(draw_panel(panel, styles))
    said = ("a name", "Vanilla", "Self-Flow")
    boxes = [box_of(text) for text in drawn.iter(f"{SVG}text") if text.text.startswith(said)]
    assert len(boxes) >= 12
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].meets(pair[1])]
    names = [box_of(text) for text in drawn.iter(f"{SVG}text") if text.text.startswith("a name")]
    markers = [path for path in drawn.iter(f"{SVG}path") if path.findtext(f"{SVG}title")]
    found = [re.match(r"M([\d.]+) ([\d.]+)", path.attrib["d"]) for path in markers]
    spots = [(float(one[1]), float(one[2])) for one in found]
    assert len(spots) == 12 and not sum(box.covers(spots) for box in names)


def test_a_label_takes_its_best_free_place_or_none():
    room = Box(-10, 0, 200, 100)
    label = Wanted(50, 10, [((100, 50), 0.0), ((0, 50), 1.0)], may_go=True)
    assert placed([label], [], [], room) == [(100, 50)]
    right, left = (label.box(foot) for foot, _ in label.places)
    assert placed([label], [right], [], room) == [(0, 50)]
    assert placed([label], [right, left], [], room) == [None]
    assert set(placed([label, label], [], [], room)) == {(100, 50), (0, 50)}
    assert set(placed([label] * 3, [], [], room)) == {(100, 50), (0, 50), None}


@pytest.mark.parametrize(("y", "last", "below"), [(1.0, 1.2, True), (1.0, 4.0, False)])
def test_the_label_of_the_lowest_rule_is_where_fewer_lines_pass(y, last, below):
    points = [point(1, 5.0), point(10, 1.1 if below else 3.0), point(100, last)]
    points = [replace(points[0], y=1.12), *points[1:]] if below else points
    high = Series("repa/<x>&", [point(100, 5.0)])
    panel = line_panel(series=[Series("selfflow", points), high], rules=[Rule("real", y)])
    drawn = ElementTree.fromstring(draw_panel(panel, STYLES))
    (label,) = (
        float(found.attrib["y"]) for found in drawn.iter(f"{SVG}text") if found.text == "real"
    )
    group = next(
        g for g in drawn.iter(f"{SVG}g") if (g.findtext(f"{SVG}title") or "").startswith("real:")
    )
    line = float(group.find(f"{SVG}path").attrib["d"].partition(" ")[2].partition("H")[0])
    assert (label > line) is below


def heat_panel(cells):
    x, y = Axis("t", values=[0.1, 0.5]), Axis("block", values=[1, 2])
    return HeatPanel("vanilla", "map", x, y, cells, 0, 1, "l")


@pytest.mark.parametrize("kind", ["line", "heat", "bar", "forest"])
def test_a_long_title_is_set_in_lines_and_nothing_of_it_is_cut(kind):
    panels = {
        "line": line_panel(),
        "heat": heat_panel([[0.0, 1.0], [0.2, 0.5]]),
        "bar": BarPanel("", Axis("x"), [], []),
        "forest": ForestPanel("", Axis("x"), []),
    }
    heights = []
    for title in (
        "short",
        "selfflow(attention=separated,near=0.2)/a_long_name − repa/dinov2_b [optimizer.lr=0.05]",
    ):
        drawn = ElementTree.fromstring(draw_panel(replace(panels[kind], title=title), STYLES))
        lines = [part for part in drawn if part.get("font-weight") == "bold"]
        assert "".join(line.text for line in lines).replace(" ", "") == title.replace(" ", "")
        width, heights = float(drawn.attrib["width"]), [*heights, float(drawn.attrib["height"])]
        assert all(float(line.attrib["x"]) + 7 * len(line.text) < width for line in lines)
        moved = [
            part.get("transform") for part in drawn if "translate" in part.get("transform", "")
        ]
        assert moved == ([f"translate(0 {14 * (len(lines) - 1)})"] if len(lines) > 1 else [])
    assert heights[1] == heights[0] + 14 * (len(lines) - 1) > heights[0]


def test_a_map_colours_its_cells_and_marks_holes():
    drawn = ElementTree.fromstring(draw_panel(heat_panel([[0.0, 1.0], [None, 0.5]]), STYLES))
    cells = [rect for rect in drawn.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert [cell.attrib["fill"] for cell in cells][:3] == [VIRIDIS[0], VIRIDIS[-1], "none"]
    assert "not measured" in cells[2].find(f"{SVG}title").text
    assert float(cells[0].attrib["y"]) > float(cells[3].attrib["y"])  # block 1 is below block 2


def test_colours_of_a_map_get_lighter_all_the_way():
    def light(part):
        red, green, blue = colour_at(part, VIRIDIS)
        return 0.299 * red + 0.587 * green + 0.114 * blue

    lights = [light(step / 40) for step in range(41)]
    assert lights == sorted(lights)


def test_bars_and_forests_are_drawn():
    bars = [Bar("vanilla", [2.0, 0.0]), Bar("selfflow", [2.0, 1.0])]
    bar = BarPanel("cost", Axis("FLOPs"), ["backbone", "heads"], bars)
    drawn = groups_of(draw_panel(bar, STYLES))
    widths = {
        key: sum(float(rect.attrib["width"]) for rect in group.iter(f"{SVG}rect"))
        for key, group in drawn.items()
    }
    assert widths[STYLES["selfflow"].key] == pytest.approx(
        1.5 * widths[STYLES["vanilla"].key], rel=0.01
    )
    forest = ForestPanel("effects", Axis("%"), [Effect("selfflow", -3.0)])
    assert STYLES["selfflow"].key in groups_of(draw_panel(forest, STYLES))


@pytest.mark.parametrize("wide", [True, False])
def test_a_forest_says_each_change_with_its_interval_and_number(wide):
    effects = [
        Effect("selfflow", -3.0, -7.25, 1.5, n=5),
        Effect("repa/<x>&", 40.0, 20.0, 60.0, n=4, related=True),
    ]
    panel = ForestPanel("effects", Axis("%"), effects, floor=5.0, reference=("vanilla", "0.731"))
    drawn = ElementTree.fromstring(draw_panel(panel, STYLES, wide))
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "Self-Flow" in texts and "Vanilla 0.731" in texts
    assert any("-3.0 % (-7.2 to +1.5)" in text for text in texts)
    (band,) = (rect for rect in drawn.iter(f"{SVG}rect") if rect.get("class") == "band")
    zero = next(path for path in drawn.iter(f"{SVG}path") if path.get("class") == "axis")
    middle = float(band.attrib["x"]) + float(band.attrib["width"]) / 2
    assert float(zero.attrib["d"][1:].split()[0]) == pytest.approx(middle, abs=0.1)
    # nothing of a text is over a neighbour in its row
    rows = {}
    for text in drawn.iter(f"{SVG}text"):
        x, wide_text = float(text.attrib["x"]), 0.6 * float(text.attrib["font-size"])
        wide_text *= len(text.text)
        left = x - {"start": 0, "middle": 0.5, "end": 1}[text.attrib["text-anchor"]] * wide_text
        rows.setdefault(text.attrib["y"], []).append((left, left + wide_text))
    for spans in rows.values():
        for (_, end), (start, _) in itertools.pairwise(sorted(spans)):
            assert end <= start + 1


def test_points_of_one_size_stand_side_by_side():
    series = [Series("selfflow", [point(1, 1)]), Series("repa/<x>&", [point(1, 1)])]
    apart = groups_of(draw_panel(line_panel(series=series, beside=True), STYLES))
    together = groups_of(draw_panel(line_panel(series=series), STYLES))

    def places(groups):
        return {group[-1].attrib["d"][:6] for group in groups.values()}

    assert len(places(apart)) == 2 and len(places(together)) == 1
    # where places are many, none reaches into the next
    near = [Series(one.arm, [point(at, 1) for at in range(40)]) for one in series]
    drawn = groups_of(draw_panel(line_panel(series=near, beside=True), STYLES))
    left, right = (
        [float(re.findall(r"M([\d.]+)", path.attrib["d"])[-1]) for path in group][1:]
        for group in drawn.values()
    )
    assert all(a < b < c for a, b, c in zip(left, right, left[1:], strict=False))


def test_a_floor_is_a_band_and_names_stand_beside_their_markers():
    floor = [Point(0, 0, -1, 1), Point(2, 0, -2, 2)]
    named = Series("selfflow", [replace(point(1, 0.0), name="local M")])
    drawn = ElementTree.fromstring(draw_panel(line_panel(series=[named], floor=floor), STYLES))
    (band,) = (path for path in drawn.iter(f"{SVG}path") if path.get("class") == "band")
    heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", band.attrib["d"])]
    assert heights[2] - heights[1] == pytest.approx(2 * (heights[3] - heights[0]), abs=0.3)
    assert "local M" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_scale_keeps_whiskers_inside():
    panel = line_panel(series=[Series("selfflow", [point(0, 1, -5, 7)])])
    drawn = draw_panel(panel, STYLES)
    low, high = Scale.around([-5, 1, 7], 244, 40)(-5), Scale.around([-5, 1, 7], 244, 40)(7)
    assert f"{low:.1f}V{high:.1f}" in drawn


def test_a_figure_that_stands_alone_names_its_arms():
    styles = styles_of(["vanilla", "selfflow", "a long name of an arm & its encoder/<x>"])
    panel = draw_panel(line_panel(series=[]), styles)
    drawn = ElementTree.fromstring(with_legend(panel, styles, styles))
    labels = {found.text: found.attrib for found in drawn.findall(f"{SVG}text")}
    assert list(labels) == [style.name for style in styles.values()]
    width, height = (float(drawn.attrib[side]) for side in ("width", "height"))
    inner = drawn.find(f"{SVG}svg")
    assert inner is not None and drawn.attrib["aria-label"] == inner.attrib["aria-label"]
    for text, place in labels.items():
        assert float(inner.attrib["height"]) < float(place["y"]) < height
        assert float(place["x"]) + 6.6 * len(text) < width + 14
    rows = {place["y"] for place in labels.values()}
    assert len(rows) == 2, "a name that does not fit beside the others has a row of its own"
    assert with_legend(panel, ["vanilla"], styles) == panel


def test_a_name_of_two_lines_is_drawn_whole_and_gets_its_legend():
    drawn = draw_panel(replace(heat_panel([[0.0, 1.0], [None, 0.5]]), title="new\nline"), STYLES)
    assert ">new line</text>" in drawn
    label = ' aria-label="new\nline"'
    drawn = re.sub(' aria-label=.*?"(?= )', label, drawn, count=1)
    assert "new" in with_legend(drawn, list(STYLES)[:2], STYLES)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-0.04, 1, "-0.04"), (-0.004, 1, "-0.004"), (-0.0004, 1, "0"), (-0.0, 2, "0"), (0.0, 1, "0"),
     (0.06, 1, "+0.1"), (-12.34, 1, "-12.3"), (2.3e6, 1, "+2.3M")],
)  # fmt: skip
def test_a_change_that_is_not_zero_is_not_written_as_zero_with_a_sign(value, digits, text):
    assert signed(value, digits) == text
