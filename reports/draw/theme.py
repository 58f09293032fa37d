"""How an arm is called and looks, on every page of every study: name, colour, marker and dash
follow from what the arm is (reports/draw/arms.yaml), never from which other arms are beside it.

    [style] = arm_styles(["selfflow(masking=False)"])
    style.name, style.colour, style.marker        # "Self-Flow, no masking", "#5392c6", "cross"

The method gives the hue, its options or the encoder the shade and the marker. Shades differ in
luminance, so that they stay apart in print and for colour-blind readers; the marker and the dash
tell arms apart without colour. Every colour has a twin for a dark ground.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

INK = "#1c2024"
PAPER = "#ffffff"
MUTED = "#5f6b76"
GRID = "#dfe3e8"
DARK_PAPER = "#14171a"
MARKERS = ("circle", "square", "triangle", "diamond", "down", "cross", "plus", "star", "hexagon")
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
SHADES = {"light": 0.62, "": 1.0, "dark": 1.75}  # of the contrast with the ground
LEAST_CONTRAST = 3.0  # of a line with its ground (WCAG 2.2, 1.4.11)
USUAL_ON_DARK = 6.5  # contrast of a base shade with the dark ground
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
    solid.
    """

    key: str
    arm: str
    name: str
    colour: str
    dark: str
    marker: str
    dash: str


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
    """What an arm is called: "Self-Flow, no masking", "REPA (DINOv2-B)", "Self-Flow, from RUN"; its
    own name, where it is not written as arms are.
    """
    method, options, encoder, recipe = _parts(arm)
    name = method_name(method)
    for option in filter(None, options.split(",")):
        key, value = _OPTION.findall(option)[0]
        name += f", {_option(option).get('name', f'{key} {value}').format(value)}"
    name += f" ({encoder_name(encoder)})" if encoder else ""
    # the run that it began from is told apart by its name as well
    settings = recipe.removeprefix(" [").removesuffix("]").split(", ") if recipe else []
    begun = [one.removeprefix(BEGUN) for one in settings if one.startswith(BEGUN)]
    if begun:
        others = [one for one in settings if not one.startswith(BEGUN)]
        name, recipe = f"{name}, from {begun[0]}", f" [{', '.join(others)}]" if others else ""
    return f"{name}{recipe}"


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
    taken: set[tuple[str, str]] = set()
    for index, arm in enumerate(arms):
        style, number = _style(f"a{index}", arm), _number(arm)
        others = (
            replace(style, marker=marker, colour=hue, dark=_on_dark(hue, ""))
            for hue in (style.colour, *OTHER_HUES[number % len(OTHER_HUES) :], *OTHER_HUES)
            for marker in MARKERS
        )
        if (style.colour, style.marker) in taken:
            free = (one for one in others if (one.colour, one.marker) not in taken)
            style = next(free, style)
        taken.add((style.colour, style.marker))
        styles.append(style)
    return styles


def _number(name: str) -> int:
    """The same number for a name, on every machine."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def _style(key: str, arm: str) -> ArmStyle:
    method, options, encoder, recipe = _parts(arm)
    number, shade = _number(arm), ""
    looks = dict(_table()["methods"].get(method) or _of_letters(method))
    # what an option, an encoder or several of these change
    if recipe or "," in options or (options and encoder):
        shade = ("light", "dark")[number // 16 % 2]
        looks |= {"marker": MARKERS[number % len(MARKERS)], "dash": DASHES[1 + number // 64 % 3]}
    elif options or encoder:
        own = _option(options) if options else _of_encoder(encoder)
        shade = own.get("shade", "")
        looks["marker"] = own.get("marker") or MARKERS[number % len(MARKERS)]
        if options:
            looks["dash"] = {"light": "2 2", "dark": "8 3 2 3"}.get(shade, "6 3")
    hue = looks["hue"]
    return ArmStyle(
        key, arm, arm_label(arm), _on_light(hue, shade), _on_dark(hue, shade),
        looks["marker"], looks.get("dash", ""),
    )  # fmt: skip


def _of_letters(method: str) -> Looks:
    number = _number(method)
    return {
        "hue": OTHER_HUES[number % len(OTHER_HUES)],
        "marker": MARKERS[1 + number // 8 % (len(MARKERS) - 1)],
        "dash": DASHES[number // 64 % len(DASHES)],
    }


def _of_encoder(encoder: str) -> Looks:
    outer, _, inner = encoder.partition("(")
    return _table()["made_of"].get(outer, {}) if inner else _table()["encoders"].get(encoder, {})


# Colours ------------------------------------------------------------------------------------------


def _on_light(hue: str, shade: str) -> str:
    wanted = max(LEAST_CONTRAST, contrast_ratio(hue, PAPER) * SHADES[shade])
    return hue if not shade else _at_contrast(hue, PAPER, wanted)


def _on_dark(hue: str, shade: str) -> str:
    """Light and dark change places: what stands out more on white stands out more here too."""
    usual = 14.0 if hue == INK else USUAL_ON_DARK
    return _at_contrast(hue, DARK_PAPER, max(LEAST_CONTRAST, usual * SHADES[shade] ** 0.6))


def contrast_ratio(colour: str, ground: str) -> float:
    """Ratio of luminances, 1 to 21 (WCAG 2.2)."""
    one, other = sorted((_luminance(colour), _luminance(ground)))
    return (other + 0.05) / (one + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _at_contrast(hue: str, ground: str, wanted: float) -> str:
    """The hue mixed with white or black until it has that contrast, or as near as it comes."""
    dark_ground = _luminance(ground) < 0.2
    towards_white = (contrast_ratio(hue, ground) < wanted) == dark_ground
    end, low, high = (255 if towards_white else 0), 0.0, 1.0
    for _ in range(20):
        share = (low + high) / 2
        mixed = _mixed(hue, end, share)
        more = contrast_ratio(mixed, ground) < wanted
        # mixing raises the contrast where it leads away from the ground
        low, high = (share, high) if more == (towards_white == dark_ground) else (low, share)
    return _mixed(hue, end, high)


def _mixed(hue: str, end: int, share: float) -> str:
    parts = [int(hue[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (end - part) * share):02x}" for part in parts)
