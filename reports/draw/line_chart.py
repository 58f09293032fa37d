"""Lines with spread over a numeric axis: the figure that most questions are answered with.

    svg = line_chart(panel, styles)      # a LinePanel of reports.draw.panels

From the ground up: grid and axes, named places, rules with their bands, guides, fitted curves, and
the series of the arms. Names of points and labels of rules stand where they are least in the way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reports.draw.axes import CHARACTER, Frame, Scale, number, svg_text, titled_svg
from reports.draw.labels import Box, Spot, Wanted, placed
from reports.draw.markers import draw_marker
from reports.draw.panels import Axis, LinePanel, Point, Rule, Series
from reports.draw.theme import GRID, MUTED, PAPER, ArmStyle

WIDTH, HEIGHT = 400, 290
ROOMY = 440  # where points have names
TICK_ROOM = 42  # across, of a tick's label
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 40, 46
WORD_SIZE = 10  # size of names and labels
AWAY = 15  # from a marker, farther than which a thin line leads to its name
HALO = f'stroke="{PAPER}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'


def has_names(panel: LinePanel) -> bool:
    """Whether points have names beside them, which take room."""
    return any(point.name for series in panel.series for point in series.points)


def line_chart(panel: LinePanel, styles: Mapping[str, ArmStyle], most: float = math.inf) -> str:
    """The panel as SVG, at most so wide. Points that an axis cannot show (zero on a log axis) are
    left out, the table has them. A narrower picture is lower by half of what it is narrower.
    """
    width = min(ROOMY if has_names(panel) else WIDTH, most)
    height = HEIGHT - (WIDTH - width) / 2
    # scales: everything that has a height, and room on the left for the labels of the ticks
    points = [point for series in (*panel.series, *panel.curves) for point in series.points]
    points += panel.floor
    heights = [
        value
        for one in (*points, *panel.rules)
        for value in (one.y, one.low, one.high)
        if value is not None
    ]
    y = Scale.around(heights, height - BOTTOM, TOP, panel.y.log, most=_most(panel.y))
    left = max(LEFT, 32 + 10 * CHARACTER * max((len(label) for _, label in y.ticks()), default=0))
    places = [point.x for point in points]
    x = Scale.around(places, left, width - RIGHT, panel.x.log, most=_most(panel.x))
    frame = Frame(x, y)
    aside = _aside(panel, x)

    # the ground
    most = max(2, int((x.end - x.start) / TICK_ROOM))
    x_ticks = [(value, f"{value:g}") for value in _thin(panel.x.values, 12)] or x.ticks(most)
    body = frame.draw(panel.x.label, panel.y.label, x_ticks)
    body += _marks(frame, panel.x.marks)
    body += _floor(frame, panel.floor)
    body += [_start(frame, styles[arm], at) for arm, at in panel.starts if frame.x.holds(at)]

    # rules, under everything that has a place of its own
    guides = [[(frame.x(at), frame.y(height)) for at, height in guide] for guide in panel.guides]
    rules = sorted((one for one in panel.rules if frame.y.holds(one.y)), key=lambda rule: rule.y)
    body += [_rule(frame, rule, styles) for rule in rules]

    # guides, fits and the arms
    body += [_guide(guide) for guide in guides]
    body += [_curve(frame, curve, styles[curve.arm]) for curve in panel.curves]
    joined = not panel.curves
    body += [
        _series(frame, series, styles[series.arm], joined, aside.get(series.arm, 0.0))
        for series in panel.series
    ]

    # words over all of it
    body += _words(frame, panel.series, rules, guides, styles)
    return titled_svg(width, height, panel.title, 22, body, panel.note)


def _most(axis: Axis) -> float:
    """Where an axis ends whatever its margin: there is no accuracy over 1."""
    return 1.0 if "(accuracy)" in axis.label else math.inf


def _thin(values: Sequence[float], most: int) -> Sequence[float]:
    return values[:: math.ceil(len(values) / most)] if values else []


def _shown(frame: Frame, series: Series) -> list[Point]:
    """The points that the axes can show."""
    return [one for one in series.points if frame.x.holds(one.x) and frame.y.holds(one.y)]


def _spots(frame: Frame, series: Series) -> list[Spot]:
    """Where they are in the picture."""
    return [(frame.x(point.x), frame.y(point.y)) for point in _shown(frame, series)]


def _whiskers(frame: Frame, lines: Iterable[Series]) -> list[list[Spot]]:
    """Where the whiskers of the series are."""
    return [
        [(frame.x(point.x), frame.y(point.low)), (frame.x(point.x), frame.y(point.high))]
        for series in lines
        for point in _shown(frame, series)
        if frame.y.holds(point.low) and frame.y.holds(point.high)
    ]


def _path(spots: Iterable[Spot]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)


def _dash(style: ArmStyle) -> str:
    return f' stroke-dasharray="{style.dash}"' if style.dash else ""


def _curve(frame: Frame, curve: Series, style: ArmStyle) -> str:
    """A fitted line over its band."""
    band = [(frame.x(one.x), frame.y(one.high)) for one in curve.points if one.high is not None]
    band += [
        (frame.x(one.x), frame.y(one.low)) for one in reversed(curve.points) if one.low is not None
    ]
    line = [(frame.x(one.x), frame.y(one.y)) for one in curve.points]
    fill = f'class="fill-{style.key}" fill="{style.colour}" opacity="0.12"'
    colour = f'class="stroke-{style.key}" stroke="{style.colour}" fill="none"'
    return (
        f'<g data-arm="{style.key}"><path d="{_path(band)}Z" {fill}/>'
        f'<path d="{_path(line)}" {colour} stroke-width="1.8"{_dash(style)}/></g>'
    )


def _aside(panel: LinePanel, x: Scale) -> dict[str, float]:
    """How far to the right each arm's points stand, where arms stand side by side: all of a place
    within less than half of what lies between two places.
    """
    arms = [series.arm for series in panel.series] if panel.beside else []
    at = sorted({x(one.x) for line in panel.series for one in line.points if x.holds(one.x)})
    room = 0.4 * min((right - left for left, right in itertools.pairwise(at)), default=math.inf)
    step = min(9.0, min(44.0, room) / max(1, len(arms)))
    return {arm: (index - (len(arms) - 1) / 2) * step for index, arm in enumerate(arms)}


def _floor(frame: Frame, points: Sequence[Point]) -> list[str]:
    """The grey band by how much one run scatters; of a single place a short stretch."""
    known = [
        (frame.x(one.x), frame.y(one.low), frame.y(one.high))
        for one in points
        if frame.x.holds(one.x) and frame.y.holds(one.low) and frame.y.holds(one.high)
    ]
    if not known:
        return []
    if len(known) == 1:
        ((x, low, high),) = known
        known = [(max(frame.x.start, x - 40), low, high), (min(frame.x.end, x + 40), low, high)]
    spots = [(x, high) for x, _, high in known] + [(x, low) for x, low, _ in reversed(known)]
    tip = "<title>by how much one run scatters</title>"
    return [f'<path d="{_path(spots)}Z" class="band" fill="{MUTED}" opacity="0.16">{tip}</path>']


def _start(frame: Frame, style: ArmStyle, at: float) -> str:
    """Where what was spent on an arm's encoder ends and its own training begins."""
    x, y = frame.x(at), frame.y.start
    look = f'class="fill-{style.key}" fill="{style.colour}"'
    tip = f"<title>{escape(style.name)}: its encoder's own training ends here</title>"
    drawn = f'<path d="M{x - 4:.1f} {y:.1f}l4 -8l4 8Z" {look}>{tip}</path>'
    return f'<g data-arm="{style.key}">{drawn}</g>'


def _words(
    frame: Frame,
    lines: Sequence[Series],
    rules: Sequence[Rule],
    guides: Iterable[Sequence[Spot]],
    styles: Mapping[str, ArmStyle],
) -> list[str]:
    """The names of points and the labels of rules, on a ground of their own. A name that finds no
    place is left to the legend and the tooltip.
    """
    named = [
        (frame.x(one.x), frame.y(one.y), one.name, series.arm)
        for series in lines
        for one in _shown(frame, series)
        if one.name
    ]
    wanted = [_of_rule(frame, rule, index == 0) for index, rule in enumerate(rules)]
    wanted += [_of_point(x, y, name) for x, y, name, _ in named]
    if not wanted:
        return []
    across = [[(frame.x.start, frame.y(one.y)), (frame.x.end, frame.y(one.y))] for one in rules]
    drawn = [*(_spots(frame, series) for series in lines), *_whiskers(frame, lines), *guides]
    spots = [spot for series in lines if series.markers for spot in _spots(frame, series)]
    markers = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in spots]  # with what is around a word
    inside = Box(frame.x.start, frame.y.end - 6, frame.x.end + RIGHT, frame.y.start)
    feet = placed(wanted, markers, [*drawn, *(across if named else [])], inside)

    parts = []
    for rule, foot in zip(rules, feet, strict=False):
        text = svg_text(*foot, rule.label, "start", WORD_SIZE, "ink halo", HALO) if foot else ""
        parts.append(f"<g{_switch(rule.arm, styles)}>{text}</g>")
    for (x, y, name, arm), foot in zip(named, feet[len(rules) :], strict=True):
        if foot is not None:
            # words are narrower than they are reckoned: those on the left end at their marker
            left = foot[0] + _wide(name) < x
            start, anchor = (foot[0] + _wide(name), "end") if left else (foot[0], "start")
            text = svg_text(start, foot[1], name, anchor, WORD_SIZE, "ink halo", HALO)
            lead = _lead(x, y, foot, _wide(name))
            parts.append(f"<g{_switch(arm, styles)}>{lead}{text}</g>")
    return parts


def _wide(text: str) -> float:
    return WORD_SIZE * CHARACTER * len(text)


def _of_rule(frame: Frame, rule: Rule, lowest: bool) -> Wanted:
    """The label of a rule: over it at its right end, its left one or in the middle, or under it."""
    wide, y = _wide(rule.label), frame.y(rule.y)
    starts = (frame.x.end - 3 - wide, frame.x.start + 3, (frame.x.start + frame.x.end - wide) / 2)
    under = y + 10
    feet = [y - 4, under] if under < frame.y.start else [y - 4]
    # the lowest one has room under it; under others stands what belongs to the next rule
    return Wanted(wide, WORD_SIZE, [
        ((x, foot), index + (0 if foot < y else 1 if lowest else 12))
        for foot in feet
        for index, x in enumerate(starts)
    ])  # fmt: skip


def _of_point(x: float, y: float, name: str) -> Wanted:
    """The name of a point: beside its marker, over or under it, or farther up and down beside."""
    wide = _wide(name)
    right, left, middle = x + 9, x - 9 - wide, x - wide / 2
    near = [((right, y + 3), 0.0), ((left, y + 3), 1.0), ((middle, y - 9), 4.0),
            ((middle, y + 15), 4.0)]  # fmt: skip
    far = [
        ((start, y + 3 + away), abs(away) + (1.0 if start == left else 0.0))
        for away in range(-56, 57, 4)
        if away
        for start in (right, left)
    ]
    return Wanted(wide, WORD_SIZE, [*near, *far], may_go=True)


def _lead(x: float, y: float, foot: Spot, wide: float) -> str:
    """A dotted line from a marker to a name that is not beside it."""
    middle = foot[1] - 3
    if abs(middle - y) < AWAY:
        return ""
    end = foot[0] - 2 if foot[0] > x else foot[0] + wide + 2
    look = f'class="axis" stroke="{MUTED}" stroke-width="0.8" stroke-dasharray="1 2"'
    return f'<path d="M{x:.1f} {y:.1f}L{end:.1f} {middle:.1f}" {look}/>'


def _series(frame: Frame, series: Series, style: ArmStyle, joined: bool, aside: float = 0.0) -> str:
    shown = _shown(frame, series)
    spots = [(x + aside, y) for x, y in _spots(frame, series)]
    colour = f'class="stroke-{style.key}" stroke="{style.colour}" fill="none"'
    parts = []
    if joined and len(spots) > 1:
        parts.append(f'<path d="{_path(spots)}" {colour} stroke-width="1.8"{_dash(style)}/>')
    for point, (x, y) in zip(shown, spots, strict=True):
        low, high = point.low, point.high
        if frame.y.holds(low) and frame.y.holds(high) and high > low:
            whisker = f"M{x:.1f} {frame.y(low):.1f}V{frame.y(high):.1f}"
            parts.append(f'<path d="{whisker}" {colour} stroke-width="1.4" opacity="0.75"/>')
        if series.markers or len(spots) == 1:  # one point is no line
            parts.append(draw_marker(style, x, y, point.tip, related=bool(point.related)))
    return f'<g data-arm="{style.key}">{"".join(parts)}</g>'


def _guide(spots: Iterable[Spot]) -> str:
    """A thin line through points of several arms."""
    look = f'class="axis" stroke="{MUTED}" stroke-width="1" fill="none" opacity="0.7"'
    return f'<path d="{_path(spots)}" {look}/>'


def _switch(arm: str, styles: Mapping[str, ArmStyle]) -> str:
    """The attribute by which the legend switches what belongs to an arm."""
    style = styles.get(arm)
    return f' data-arm="{style.key}"' if style else ""


def _rule(frame: Frame, rule: Rule, styles: Mapping[str, ArmStyle]) -> str:
    """A horizontal line across the panel, over its band."""
    style = styles.get(rule.arm)
    colour, names = (style.colour, f"stroke-{style.key}") if style else (MUTED, "axis")
    left, right, y = frame.x.start, frame.x.end, frame.y(rule.y)
    parts = []
    if frame.y.holds(rule.low) and frame.y.holds(rule.high):
        top, bottom = frame.y(rule.high), frame.y(rule.low)
        band = (
            f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
        )
        fill = f"fill-{style.key}" if style else ""
        parts.append(f'<rect {band} class="{fill}" fill="{colour}" opacity="0.12"/>')
    dash = (style.dash if style else "1 3") or "none"
    look = f'class="{names}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dash}"'
    parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" {look}/>')
    tip = f"<title>{escape(rule.label)}: {number(rule.y, 4)}</title>"
    return f"<g{_switch(rule.arm, styles)}>{tip}{''.join(parts)}</g>"


def _marks(frame: Frame, marks: Iterable[tuple[float, str]]) -> list[str]:
    """Names of places on the x axis (sizes), inside the panel at its upper edge."""
    parts = []
    for value, label in marks:
        if frame.x.holds(value):
            x, y = frame.x(value), frame.y.start
            look = f'class="grid" stroke="{GRID}" stroke-dasharray="2 3"'
            parts.append(f'<path d="M{x:.1f} {frame.y.end:.1f}V{y:.1f}" {look}/>')
            right = x + 3 + len(label) * 9.5 * CHARACTER > frame.x.end
            at, anchor = (x - 3, "end") if right else (x + 3, "start")
            parts.append(svg_text(at, frame.y.end + 4, label, anchor, 9.5, "muted"))
    return parts
