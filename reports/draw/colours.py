"""Shades of a hue that stand out from the ground by a chosen contrast.

    shaded("#c2410c", PAPER, contrast=4.6)            # the hue, lighter or darker
    shaded("#c2410c", PAPER, 4.6, chroma=0.4)         # and duller

Lightness, chroma and hue are those of Oklab (https://bottosson.github.io/posts/oklab/), in which a
colour keeps its hue when it gets lighter; contrast is WCAG 2.2's ratio of luminances.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

PAPER = "#ffffff"
DARK_PAPER = "#14171a"
HALVINGS = 24  # of a bisection

# rows: long, middle and short cones of linear red, green, blue; then lightness and two differences
_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_FROM_LAB = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_FROM_CONES = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
_LUMINANCE = (0.2126, 0.7152, 0.0722)

Triple = tuple[float, float, float]


def contrast_ratio(colour: str, ground: str) -> float:
    """Ratio of luminances, 1 to 21 (WCAG 2.2)."""
    one, other = sorted((_luminance(_linear(colour)), _luminance(_linear(ground))))
    return (other + 0.05) / (one + 0.05)


def shaded(hue: str, ground: str, contrast: float, chroma: float = 1.0, turn: float = 0.0) -> str:
    """The hue at that contrast with the ground, or as near as the screen comes; chroma: times its
    own, less where the screen has no such colour; turn: degrees by which the hue is turned.
    """
    _, a, b = oklab(hue)
    angle, own = math.atan2(b, a) + math.radians(turn), chroma * math.hypot(a, b)
    on_dark = _luminance(_linear(ground)) < 0.2
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        lightness = (low + high) / 2
        more = contrast_ratio(_hex(_inside(lightness, own, angle)), ground) < contrast
        # more contrast is lighter on a dark ground, and darker on a light one
        low, high = (lightness, high) if more == on_dark else (low, lightness)
    return _hex(_inside((low + high) / 2, own, angle))


def oklab(colour: str) -> Triple:
    """Lightness 0..1, and how red (not green) and yellow (not blue) a colour is."""
    return _times(_LAB, _each(math.cbrt, _times(_CONES, _linear(colour))))


def _inside(lightness: float, chroma: float, angle: float) -> Triple:
    """Linear red, green, blue, of the most chroma up to that one which all three can show."""
    low, high = 0.0, chroma
    if _shown(rgb := _of_lab(lightness, chroma, angle)):
        return rgb
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = _shown(_of_lab(lightness, middle, angle))
        low, high = (middle, high) if inside else (low, middle)
    return _of_lab(lightness, low, angle)


def _of_lab(lightness: float, chroma: float, angle: float) -> Triple:
    lab = (lightness, chroma * math.cos(angle), chroma * math.sin(angle))
    return _times(_FROM_CONES, _each(lambda cone: cone**3, _times(_FROM_LAB, lab)))


def _shown(rgb: Triple) -> bool:
    return all(-1e-4 <= part <= 1 + 1e-4 for part in rgb)


def _luminance(rgb: Triple) -> float:
    return sum(weight * part for weight, part in zip(_LUMINANCE, rgb, strict=True))


def _linear(colour: str) -> Triple:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return _each(lambda x: x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4,
                 (red, green, blue))  # fmt: skip


def _hex(rgb: Triple) -> str:
    parts = _each(lambda x: 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055,
                  _each(lambda x: min(max(x, 0.0), 1.0), rgb))  # fmt: skip
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _times(rows: Sequence[Triple], column: Triple) -> Triple:
    one, two, three = (sum(a * b for a, b in zip(row, column, strict=True)) for row in rows)
    return one, two, three


def _each(function: Callable[[float], float], parts: Triple) -> Triple:
    one, two, three = map(function, parts)
    return one, two, three
