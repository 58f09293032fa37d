"""Lines with spread over a numeric axis: the figure that most questions are answered with.

A panel is plain data, so that the page, the PDF and the CSV come from the same numbers. x "values"
are ticks instead of round numbers (blocks), "marks" named places (sizes):

    {"kind": "line", "title": ..., "note": ..., "x": {"label", "log", "marks", "values"}, "y": {"label", "log"},
     "series": [{"arm": "selfflow", "points": [{"x", "y", "low", "high", "n", "tip", "related"}], "markers": True}],
     "rules": [{"label": "held-out real pictures", "y": 0.64, "low": None, "high": None, "arm": ""}],
     "guides": [[(x, y), ...]], "curves": [{"arm": "selfflow", "points": [{"x", "y", "low", "high"}]}]}

A curve is a fitted line with a band from low to high; the markers of a panel that has curves are
not joined.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from html import escape
from typing import Any

from reports.draw.axes import CHARACTER, Frame, Scale, number, text, titled_svg
from reports.draw.theme import GRID, MUTED, PAPER, ArmStyle

WIDTH, HEIGHT = 440, 310
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 40, 46
Place = tuple[float, float]  # in the picture, to the right and down
HALO = f'stroke="{PAPER}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'


def marker(kind: str, x: float, y: float, size: float = 4.2) -> str:
    """A marker's path; all kinds have about the same ink."""
    s, w, h = size, size * 1.2, size * 1.3
    shapes = {
        "circle": f"m{-s:.1f} 0a{s} {s} 0 1 0 {2 * s} 0a{s} {s} 0 1 0 {-2 * s} 0Z",
        "square": f"m{-0.9 * s:.1f} {-0.9 * s:.1f}h{1.8 * s:.1f}v{1.8 * s:.1f}h{-1.8 * s:.1f}Z",
        "triangle": f"m0 {-w:.1f}l{w:.1f} {2 * s:.1f}h{-2 * w:.1f}Z",
        "down": f"m0 {w:.1f}l{w:.1f} {-2 * s:.1f}h{-2 * w:.1f}Z",
        "diamond": f"m0 {-h:.1f}l{w:.1f} {h:.1f}l{-w:.1f} {h:.1f}l{-w:.1f} {-h:.1f}Z",
        "cross": f"m{-s:.1f} {-s:.1f}l{2 * s} {2 * s}m0 {-2 * s}l{-2 * s} {2 * s}",
        "plus": f"m{-w:.1f} 0h{2 * w:.1f}m{-w:.1f} {-w:.1f}v{2 * w:.1f}",
    }
    return f"M{x:.1f} {y:.1f}{shapes[kind]}"


def draw_marker(
    style: ArmStyle, x: float, y: float, tip: str, size: float = 4.2, related: bool = False
) -> str:
    """A marker with a tooltip; related: an open one, in a ring where it has no inside."""
    strokes = style.marker in ("cross", "plus")
    names = f"stroke-{style.key}" + (
        " paper" if related else "" if strokes else f" fill-{style.key}"
    )
    colour = f'class="{names}" stroke="{style.colour}" stroke-width="1.6"'
    fill = PAPER if related else "none" if strokes else style.colour
    tip = f"<title>{escape(tip)}</title>" if tip else ""
    ring = marker("circle", x, y, size * 1.6) if related and strokes else ""
    return f'<path d="{ring}{marker(style.marker, x, y, size)}" {colour} fill="{fill}">{tip}</path>'


def line_chart(panel: Mapping[str, Any], styles: Mapping[str, ArmStyle]) -> str:
    """The panel as SVG; points that an axis cannot show (zero on a log axis) are left out,
    the table has them.
    """
    x_axis, y_axis = panel["x"], panel["y"]
    curves = panel.get("curves", [])
    points = [point for series in [*panel["series"], *curves] for point in series["points"]]
    rules = panel["rules"]
    heights = [
        value
        for point in points
        for value in (point["y"], point.get("low"), point.get("high"))
        if value is not None
    ]
    heights += [
        value
        for rule in rules
        for value in (rule["y"], rule.get("low"), rule.get("high"))
        if value is not None
    ]
    y = Scale.around(heights, HEIGHT - BOTTOM, TOP, y_axis["log"], most=_most(y_axis))
    left = max(LEFT, 32 + 10 * CHARACTER * max((len(label) for _, label in y.ticks()), default=0))
    x = Scale.around(
        [point["x"] for point in points], left, WIDTH - RIGHT, x_axis["log"], most=_most(x_axis)
    )
    frame = Frame(x, y)
    x_ticks = [(value, f"{value:g}") for value in _thin(x_axis.get("values", []), 12)]
    body = frame.draw(x_axis["label"], y_axis["label"], x_ticks)
    body += _marks(frame, x_axis.get("marks", []))
    guides = panel.get("guides", [])
    lines = [
        *(_places(frame, series) for series in panel["series"]),
        *_whiskers(frame, panel["series"]),
    ]
    lines += [[(frame.x(at), frame.y(height)) for at, height in guide] for guide in guides]
    body += _rules(frame, [rule for rule in rules if frame.y.holds(rule["y"])], styles, lines)
    body += [_guide(frame, guide) for guide in guides]
    body += [_curve(frame, curve, styles[curve["arm"]]) for curve in curves]
    for series in panel["series"]:
        body.append(_series(frame, series, styles[series["arm"]], joined=not curves))
    return titled_svg(WIDTH, HEIGHT, panel["title"], 22, body, panel.get("note", ""))


def _most(axis: Mapping[str, Any]) -> float:
    """Where an axis ends whatever its margin: there is no accuracy over 1."""
    return 1.0 if "(accuracy)" in axis["label"] else math.inf


def _thin(values: list[float], most: int) -> list[float]:
    return values[:: math.ceil(len(values) / most)] if values else []


def _shown(frame: Frame, series: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The points that the axes can show."""
    return [
        point
        for point in series["points"]
        if frame.x.holds(point["x"]) and frame.y.holds(point["y"])
    ]


def _places(frame: Frame, series: Mapping[str, Any]) -> list[Place]:
    """Where they are in the picture."""
    return [(frame.x(point["x"]), frame.y(point["y"])) for point in _shown(frame, series)]


def _whiskers(frame: Frame, lines: list[Mapping[str, Any]]) -> list[list[Place]]:
    """Where the whiskers of the series are."""
    points = [point for series in lines for point in _shown(frame, series)]
    return [
        [(frame.x(point["x"]), frame.y(point[end])) for end in ("low", "high")]
        for point in points
        if frame.y.holds(point.get("low")) and frame.y.holds(point.get("high"))
    ]


def _in_the_way(lines: list[list[Place]], start: float, end: float, foot: float) -> int:
    """How much of the lines is behind a label from `start` to `end` that stands on `foot`:
    places, 24 to a stretch.
    """
    count = 0
    for line in lines:
        for (x, y), (next_x, next_y) in itertools.pairwise([*line, *line[-1:]]):
            stretch = [(x + (next_x - x) * i / 24, y + (next_y - y) * i / 24) for i in range(24)]
            count += sum(
                start <= at <= end and foot - 14 <= height <= foot + 4 for at, height in stretch
            )
    return count


def _curve(frame: Frame, curve: Mapping[str, Any], style: ArmStyle) -> str:
    """A fitted line over its band."""
    at = curve["points"]
    edges = [(frame.x(point["x"]), frame.y(point["high"])) for point in at]
    edges += [(frame.x(point["x"]), frame.y(point["low"])) for point in reversed(at)]
    band, line = (
        "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        for places in (edges, [(frame.x(point["x"]), frame.y(point["y"])) for point in at])
    )
    dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
    colour = f'class="stroke-{style.key}" stroke="{style.colour}" fill="none"'
    return (
        f'<g data-arm="{style.key}"><path d="M{band}Z" class="fill-{style.key}" fill="{style.colour}" opacity="0.12"/>'
        f'<path d="M{line}" {colour} stroke-width="1.8"{dash}/></g>'
    )


def _series(frame: Frame, series: Mapping[str, Any], style: ArmStyle, joined: bool) -> str:
    shown, places = _shown(frame, series), _places(frame, series)
    colour = f'class="stroke-{style.key}" stroke="{style.colour}" fill="none"'
    parts = []
    if joined and len(places) > 1:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
        parts.append(f'<path d="{path}" {colour} stroke-width="1.8"{dash}/>')
    for point, (x, y) in zip(shown, places, strict=True):
        low, high = point.get("low"), point.get("high")
        if frame.y.holds(low) and frame.y.holds(high) and high > low:
            whisker = f"M{x:.1f} {frame.y(low):.1f}V{frame.y(high):.1f}"
            parts.append(f'<path d="{whisker}" {colour} stroke-width="1.4" opacity="0.75"/>')
        if series.get("markers", True):
            parts.append(
                draw_marker(style, x, y, point["tip"], related=point.get("related", False))
            )
    return f'<g data-arm="{style.key}">{"".join(parts)}</g>'


def _guide(frame: Frame, points: list[tuple[float, float]]) -> str:
    """A thin line through points of several arms."""
    path = "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)
    return f'<path d="{path}" class="axis" stroke="{MUTED}" stroke-width="1" fill="none" opacity="0.7"/>'


def _rules(
    frame: Frame,
    rules: list[Mapping[str, Any]],
    styles: Mapping[str, ArmStyle],
    lines: list[list[Place]],
) -> list[str]:
    """Rules from the lowest to the highest, then their labels,
    moved up where they would touch the one below.

    A label stands at the right end, the left one or in the middle, and the lowest rule's also under
    it where there is room: where least of the lines is in the way.
    """
    parts, labels, free = [], [], math.inf
    for index, rule in enumerate(sorted(rules, key=lambda rule: rule["y"])):
        above, under = min(frame.y(rule["y"]) - 4, free), frame.y(rule["y"]) + 10
        feet = (above, under) if index == 0 and under < frame.y.start else (above,)
        width = 10 * CHARACTER * len(rule["label"])
        starts = (
            frame.x.end - 3 - width,
            frame.x.start + 3,
            (frame.x.start + frame.x.end - width) / 2,
        )
        start, baseline = min(
            itertools.product(starts, feet),
            key=lambda place: _in_the_way(lines, place[0], place[0] + width, place[1]),
        )
        free = min(baseline, frame.y(rule["y"])) - 11
        parts.append(_rule(frame, rule, styles))
        # on a ground of its own, as the bands and lines of other rules run behind it
        anchor, x = ("end", start + width) if start == starts[0] else ("start", start)
        label = text(x, baseline, rule["label"], anchor, 10, "ink halo", HALO)
        labels.append(f"<g{_switch(rule, styles)}>{label}</g>")
    return [*parts, *labels]


def _switch(rule: Mapping[str, Any], styles: Mapping[str, ArmStyle]) -> str:
    """The attribute by which the legend switches the rule of an arm."""
    style = styles.get(rule.get("arm", ""))
    return f' data-arm="{style.key}"' if style else ""


def _rule(frame: Frame, rule: Mapping[str, Any], styles: Mapping[str, ArmStyle]) -> str:
    """A horizontal line across the panel: an arm that the axis does not order,
    or the real pictures.
    """
    style = styles.get(rule.get("arm", ""))
    colour, names = (style.colour, f"stroke-{style.key}") if style else (MUTED, "axis")
    left, right, y = frame.x.start, frame.x.end, frame.y(rule["y"])
    parts = []
    if frame.y.holds(rule.get("low")) and frame.y.holds(rule.get("high")):
        top, bottom = frame.y(rule["high"]), frame.y(rule["low"])
        band = (
            f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
        )
        fill = f"fill-{style.key}" if style else ""
        parts.append(f'<rect {band} class="{fill}" fill="{colour}" opacity="0.12"/>')
    dash = (style.dash if style else "1 3") or "none"
    path = f"M{left:.1f} {y:.1f}H{right:.1f}"
    parts.append(
        f'<path d="{path}" class="{names}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dash}"/>'
    )
    return (
        f"<g{_switch(rule, styles)}><title>{escape(rule['label'])}: "
        f"{number(rule['y'], 4)}</title>{''.join(parts)}</g>"
    )


def _marks(frame: Frame, marks: list[tuple[float, str]]) -> list[str]:
    """Names of places on the x axis (sizes), inside the panel at its upper edge."""
    parts = []
    for value, label in marks:
        if frame.x.holds(value):
            x, y = frame.x(value), frame.y.start
            parts.append(
                f'<path d="M{x:.1f} {frame.y.end:.1f}V{y:.1f}" class="grid" stroke="{GRID}" stroke-dasharray="2 3"/>'
            )
            right = x + 3 + len(label) * 9.5 * CHARACTER > frame.x.end
            parts.append(
                text(
                    x - 3 if right else x + 3,
                    frame.y.end + 4,
                    label,
                    "end" if right else "start",
                    9.5,
                    "muted",
                )
            )
    return parts
