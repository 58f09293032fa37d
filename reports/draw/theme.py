"""How an arm is called and looks, on every page of every study: name, colour, marker and dash
follow from what the arm is (reports/draw/arms.yaml), never from which other arms are beside it.

    [style] = arm_styles(["selfflow(masking=False)"])
    style.name, style.colour, style.marker        # "Self-Flow without masking", "#5392c6", "down"

The method gives the hue, its options or the encoder the shade and the marker. Shades differ in
luminance, so that they stay apart in print and for colour-blind readers; the marker and the dash
tell arms apart without colour. Every colour has a twin for a dark ground.

An encoder that is made of another one is duller than those, its shade and marker turned on by the
other's shade. An option of an arm with an encoder turns its shade on and sets a bar to its marker.
Methods with one encoder turn its marker on, each by its own number of places.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from reports.draw.colours import DARK_PAPER, PAPER, shaded

INK = "#1c2024"
MUTED = "#5f6b76"
GRID = "#dfe3e8"
# of encoders and options, and of what is made of an encoder; each is turned on among its own
OF_ENCODERS = ("down", "dome", "left", "hourglass", "right", "bowl", "bowtie", "asterisk")
OF_MADE = ("diamond", "hexagon", "star", "plus", "cross", "triangle")
MARKERS = ("circle", "square", *OF_MADE, *OF_ENCODERS)
BARS = ("under", "over", "below and above")
DASHES = ("", "6 3", "2 2", "8 3 2 3")
# of arms that the table does not know, in an order in which neighbours differ
OTHER_HUES = (
    "#3c6e9e",
    "#a8562a",
    "#2f7d4f",
    "#9c4a7d",
    "#7c6a14",
    "#5a5ba8",
    "#8d3f3f",
    "#3f7f7f",
)
# contrast with the ground of shade 1 (the faintest) to 7; a line needs 3 (WCAG 2.2, 1.4.11)
SHADES = tuple(3.0 * (10 / 3) ** (step / 6) for step in range(7))
TURNED = 8.0  # degrees of hue by which odd shades and even ones go apart
OPTION_TURN = 3  # shades by which an option turns that of an encoder on
DULL = 0.3  # of the chroma, of what is made of an encoder
USUAL_ON_DARK = 6.5  # contrast of a hue with the dark ground
_ARM = re.compile(
    r"(?P<method>[^(/\[]*)(?:\((?P<options>[^()]*)\))?(?:/(?P<encoder>.*?))?(?P<recipe> \[.*\])?"
)
BEGUN = "init="  # of a recipe's settings: which run's weights
_OPTION = re.compile(r"([^=]*)=?(.*)")

Looks = Mapping[str, str]


@dataclass(frozen=True)
class ArmStyle:
    """key: class name in SVG and HTML, safe whatever the arm is called; arm: as the code calls it;
    name: as a reader does; dark: the colour on a dark ground; dash: SVG's stroke-dasharray, "" is
    solid; bar: where the marker has one, "" for none.
    """

    key: str
    arm: str
    name: str
    colour: str
    dark: str
    marker: str
    dash: str
    bar: str = ""


@functools.cache
def _table() -> Mapping[str, Mapping[str, Looks]]:
    return yaml.safe_load(Path(__file__).with_name("arms.yaml").read_text(encoding="utf-8"))


def method_name(method: str) -> str:
    """What a method is called: "Self-Flow"."""
    return _table()["methods"].get(method, {}).get("name", method)


def encoder_name(encoder: str) -> str:
    """What an encoder is called: "DINOv2-B", "averaged local M"."""
    outer, _, inner = encoder.removesuffix(")").partition("(")
    if inner and outer in _table()["made_of"]:
        return _table()["made_of"][outer]["name"].format(encoder_name(inner))
    return _table()["encoders"].get(encoder, {}).get("name", encoder)


def arm_label(arm: str) -> str:
    """What an arm is called: "Self-Flow without masking", "REPA (DINOv2-B)", "Self-Flow from RUN";
    its own name, where it is not written as arms are. No comma, as sentences list arms.
    """
    method, options, encoder, recipe = _parts(arm)
    name = " ".join(filter(None, (method_name(method), options_label(options))))
    name += f" ({encoder_name(encoder)})" if encoder else ""
    # the run that it began from is told apart by its name as well
    settings = recipe.removeprefix(" [").removesuffix("]").split(", ") if recipe else []
    begun = [one.removeprefix(BEGUN) for one in settings if one.startswith(BEGUN)]
    if begun:
        others = [one for one in settings if not one.startswith(BEGUN)]
        name, recipe = f"{name} from {begun[0]}", f" [{', '.join(others)}]" if others else ""
    return f"{name}{recipe}"


def options_label(options: str) -> str:
    """What a method's options, KEY=VALUE with commas between them, are called after its name:
    "without masking", "with x 1 and at weight 2".
    """
    words = []
    for option in filter(None, options.split(",")):
        key, value = _OPTION.findall(option)[0]
        words.append(_option(option).get("name", f"with {key} {value}").format(value))
    return " and ".join(words)


def _parts(arm: str) -> tuple[str, str, str, str]:
    """Method, options, encoder and recipe; all of it as the method, where it is written unlike an
    arm.
    """
    found = _ARM.fullmatch(arm)
    if found is None:
        return arm, "", "", ""
    method, options, encoder, recipe = (part or "" for part in found.groups())
    return method, options, encoder, recipe


def _option(option: str) -> Looks:
    known = _table()["options"]
    return known.get(option.lower()) or known.get(_OPTION.findall(option)[0][0], {})


# Looks --------------------------------------------------------------------------------------------


def arm_styles(arms: Iterable[str]) -> list[ArmStyle]:
    """The looks of arms in the order of the legend. Of two that would look the same, which only
    arms can that the table does not know, the later one takes the next free hue or marker.
    """
    styles: list[ArmStyle] = []
    taken: set[tuple[str, str, str]] = set()
    for index, arm in enumerate(arms):
        style, number = _style(f"a{index}", arm), _number(arm)
        others = (
            replace(style, marker=marker, bar="", colour=hue, dark=_on_dark(hue, 0, 1.0))
            for hue in (style.colour, *OTHER_HUES[number % len(OTHER_HUES) :], *OTHER_HUES)
            for marker in MARKERS
        )
        if _seen(style) in taken:
            style = next((one for one in others if _seen(one) not in taken), style)
        taken.add(_seen(style))
        styles.append(style)
    return styles


def _seen(style: ArmStyle) -> tuple[str, str, str]:
    return style.colour, style.marker, style.bar


def _number(name: str) -> int:
    """The same number for a name, on every machine."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def _style(key: str, arm: str) -> ArmStyle:
    method, options, encoder, recipe = _parts(arm)
    number = _number(arm)
    looks = _table()["methods"].get(method) or _of_letters(method)
    hue, marker, dash = looks["hue"], looks["marker"], looks.get("dash", "")
    shade, chroma, bar = 0, 1.0, ""
    # what an option, an encoder or several of these change
    if recipe or "," in options:
        shade, marker = 1 + number // 16 % len(SHADES), MARKERS[number % len(MARKERS)]
        dash = DASHES[1 + number // 128 % 3]
    elif encoder:
        shade, marker, chroma = _of_encoder(encoder)
        marker = _turned(marker, int(looks.get("turn", 0)))
        if options:
            shade, bar = _further(shade, OPTION_TURN), BARS[_number(options) % len(BARS)]
            dash = DASHES[1 + shade % 3]
    elif options:
        own = _option(options)
        shade = int(own.get("shade", 1 + number % len(SHADES)))
        marker = own.get("marker") or MARKERS[number % len(MARKERS)]
        dash = DASHES[1 + shade % 3]
    return ArmStyle(
        key, arm, arm_label(arm), _on_light(hue, shade, chroma), _on_dark(hue, shade, chroma),
        marker, dash, bar,
    )  # fmt: skip


def _of_letters(method: str) -> Looks:
    number = _number(method)
    return {
        "hue": OTHER_HUES[number % len(OTHER_HUES)],
        "marker": MARKERS[1 + number // 8 % (len(MARKERS) - 1)],
        "dash": DASHES[number // 64 % len(DASHES)],
    }


def _of_encoder(encoder: str) -> tuple[int, str, float]:
    """Shade, marker and chroma."""
    outer, _, inner = encoder.removesuffix(")").partition("(")
    if inner and outer in _table()["made_of"]:
        own, by = _table()["made_of"][outer], _of_encoder(inner)[0]
        return _further(int(own["shade"]), by), _turned(own["marker"], by), DULL
    number, own = _number(encoder), _table()["encoders"].get(encoder, {})
    shade = int(own.get("shade", 1 + number % len(SHADES)))
    return shade, own.get("marker") or OF_ENCODERS[number // 8 % len(OF_ENCODERS)], 1.0


def _further(shade: int, by: int) -> int:
    """So many shades on, the first after the last."""
    return 1 + (shade - 1 + by) % len(SHADES)


def _turned(marker: str, by: int) -> str:
    """So many markers on, among those of its kind."""
    ring = next((one for one in (OF_ENCODERS, OF_MADE) if marker in one), (marker,))
    return ring[(ring.index(marker) + by) % len(ring)]


def _on_light(hue: str, shade: int, chroma: float) -> str:
    return _shade(hue, PAPER, shade, chroma) if shade else hue


def _on_dark(hue: str, shade: int, chroma: float) -> str:
    """What stands out more on white stands out more here too."""
    if shade:
        return _shade(hue, DARK_PAPER, shade, chroma)
    return shaded(hue, DARK_PAPER, 14.0 if hue == INK else USUAL_ON_DARK)


def _shade(hue: str, ground: str, shade: int, chroma: float) -> str:
    return shaded(hue, ground, SHADES[shade - 1], chroma, TURNED if shade % 2 else -TURNED)
