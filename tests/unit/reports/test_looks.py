"""Arms that stand on one page are told apart by marker, and those of one method by shade as well:
on both grounds, in print and by readers without one kind of cones.
"""

import itertools
import math
import re
from dataclasses import replace

import pytest

from reports.draw.colours import DARK_PAPER, PAPER, contrast_ratio, oklab, shaded
from reports.draw.markers import draw_marker
from reports.draw.theme import BARS, arm_label, arm_styles
from reports.study.groups import sorted_arms

# what of linear red, green and blue is seen without long, middle or short cones (Machado, Oliveira
# and Fernandes 2009, table 1)
SEEN = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long cones": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no middle cones": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no short cones": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
LEAST = {"all": 0.045}  # of a difference in Oklab, in which 0.02 can just be seen
LEAST_WITHOUT = 0.025


def wrong(encoder, *others):
    made = [f"{kind}({encoder})" for kind in ("averaged", "permuted", "untrained", "noise")]
    heavy = [encoder, made[0], made[3]]
    plain = [f"repa/{one}" for one in (encoder, *made, "digits_l", *others)]
    return ["vanilla", "selfflow", *plain, *(f"repa(weight=2)/{one}" for one in heavy)]


def family(encoder):
    aligned = [f"{method}/{encoder}" for method in ("repa", "repa_stop", "irepa", "haste")]
    own = ["selfflow", "dual_timestep", "sra", "layersync", "dispersive"]
    return ["vanilla", *aligned, *own, "full_masking", "diffusion_forcing"]


SWITCHES = ("masking=False", "near=0.2", "similarity=l1", "attention=separated")
PAGES = {
    "wrong encoders, small": wrong("efficientnet_lite0", "efficientnet_lite2"),
    "wrong encoders": wrong("dinov2_b", "dinov2_l", "dinov3_b", "averaged(dinov3_b)", "dinov3_l"),
    "bottleneck": [f"repa/dinov2_{size}" for size in "sblg"],
    "bottleneck, digits": [f"repa/local_{size}" for size in "sml"],
    "bottleneck, pictures": [f"repa/efficientnet_lite{k}" for k in range(3)],
    "text": ["sra", "repa/efficientnet_lite0", "repa/local_m", "repa/noise(local_m)"],
    "sound": ["sra", "repa/local_m", "repa/noise(local_m)", "repa/digits_l"],
    "video": ["sra", "repa/local_m", "repa/frames(local_m)", "repa/frames(digits_l)"],
    "family, digits": family("local_m"),
    "family, pictures": family("efficientnet_lite0"),
    "family": family("dinov2_b"),
    "ablation": [
        *("vanilla", "selfflow", "dual_timestep", "full_masking", "diffusion_forcing"),
        *(f"selfflow({switch})" for switch in SWITCHES),
    ],
}


def seen(colour, cones):
    """Oklab of what is left of a colour."""
    eight_bit = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in eight_bit]
    mixed = [sum(a * b for a, b in zip(row, linear, strict=True)) for row in SEEN[cones]]
    kept = [min(max(x, 0.0), 1.0) for x in mixed]
    back = [12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055 for x in kept]
    return oklab("#" + "".join(f"{round(255 * x):02x}" for x in back))


@pytest.mark.parametrize("page", PAGES)
def test_arms_of_a_page_differ_in_marker_and_those_of_a_method_in_shade(page):
    styles = arm_styles(PAGES[page])
    markers = [(style.marker, style.bar) for style in styles]
    assert len(set(markers)) == len(markers)
    for one, other in itertools.combinations(styles, 2):
        if one.arm.split("/")[0].split("(")[0] != other.arm.split("/")[0].split("(")[0]:
            continue
        for cones in SEEN:
            for ground in ("colour", "dark"):
                a, b = (seen(getattr(style, ground), cones) for style in (one, other))
                apart = math.dist(a, b)
                assert apart > LEAST.get(cones, LEAST_WITHOUT), (one.arm, other.arm, cones, ground)


def test_every_arm_of_a_page_of_wrong_encoders_looks_the_same_beside_any_others():
    arms = PAGES["wrong encoders"]

    def looks(style):
        return style.colour, style.dark, style.marker, style.bar, style.dash

    alone = {arm: looks(arm_styles([arm])[0]) for arm in arms}
    assert {style.arm: looks(style) for style in arm_styles(arms[::-1])} == alone


def test_a_shade_keeps_its_hue_and_has_the_contrast_that_was_asked_for():
    for ground, contrast in itertools.product((PAPER, DARK_PAPER), (3.0, 5.0, 9.0)):
        shade = shaded("#0062ad", ground, contrast)
        assert contrast_ratio(shade, ground) == pytest.approx(contrast, rel=0.03)
        (_, a, b), (_, own_a, own_b) = oklab(shade), oklab("#0062ad")
        assert math.atan2(b, a) == pytest.approx(math.atan2(own_b, own_a), abs=0.05)
    assert oklab("#ffffff") == pytest.approx((1, 0, 0), abs=1e-3)
    assert oklab("#ff0000") == pytest.approx((0.62796, 0.22486, 0.12585), abs=1e-4)  # of the page


def test_an_option_beside_an_encoder_is_a_bar_within_the_room_of_the_marker():
    plain, heavy = arm_styles(["repa/digits_l", "repa(weight=2)/digits_l"])
    assert (plain.marker, plain.bar) == (heavy.marker, "") and heavy.bar in BARS
    for bar in BARS:
        path = draw_marker(replace(heavy, bar=bar), 7, 7, "").split('d="')[1].split('"')[0]
        found = re.match(r"M7.0 7.0m-([\d.]+) -?([\d.]+)", path)
        assert found and max(map(float, found.groups())) + 0.8 < 7.1  # of a picture 14 wide


def test_styles_are_stable_and_told_apart_without_colour():
    arms = [f"arm{index}" for index in range(24)]
    styles = arm_styles(sorted_arms(arms))
    assert styles == arm_styles(sorted_arms(reversed(arms)))
    assert len({(style.colour, style.marker) for style in styles}) == len(arms)
    assert len({style.key for style in styles}) == len(arms)
    assert sorted_arms(["repa/b", "selfflow(x=1)", "selfflow", "vanilla"])[:2] == [
        "vanilla",
        "selfflow",
    ]


ARMS = (
    *("vanilla", "selfflow", "selfflow(masking=False)", "selfflow(near=0.2)"),
    *("selfflow(similarity=l1)", "selfflow(attention=separated)", "dual_timestep"),
    *("repa/local_s", "repa/local_m", "repa/local_l", "irepa/local_m", "haste/dinov2_b", "sra"),
    *("layersync", "dispersive", "full_masking", "diffusion_forcing", "repa/averaged(dinov2_b)"),
)


def test_an_arm_looks_the_same_on_every_page():
    def looks(style):
        return style.name, style.colour, style.dark, style.marker, style.dash

    alone = {arm: looks(arm_styles([arm])[0]) for arm in ARMS}
    for page in (ARMS, ARMS[::-1], ARMS[::3], ARMS[1::2]):
        assert {style.arm: looks(style) for style in arm_styles(page)} == {
            arm: alone[arm] for arm in page
        }
    assert len({(look[1], look[3]) for look in alone.values()}) == len(ARMS)


def test_every_arm_can_be_seen_on_both_grounds_and_shades_differ_in_print():
    for style in arm_styles([*ARMS, "new_method", "new_method(x=1)/new_encoder", "a [b=1]"]):
        assert contrast_ratio(style.colour, PAPER) >= 2.95, style
        assert contrast_ratio(style.dark, DARK_PAPER) >= 2.95, style
    small, middle, large = arm_styles(["repa/local_s", "repa/local_m", "repa/local_l"])
    for one, other in ((small, middle), (middle, large)):
        assert contrast_ratio(one.colour, other.colour) > 1.4
        assert contrast_ratio(one.dark, other.dark) > 1.2


@pytest.mark.parametrize(
    ("arm", "name"),
    [
        ("selfflow(masking=False)", "Self-Flow without masking"),
        ("repa/dinov2_b", "REPA (DINOv2-B)"),
        ("repa(weight=2)/averaged(local_m)", "REPA at weight 2 (averaged local M)"),
        ("vanilla [optimizer.lr=0.001]", "Vanilla [optimizer.lr=0.001]"),
        ("new(x=1)/enc", "new with x 1 (enc)"),
        ("weird)(", "weird)("),
        ("", ""),
    ],
)
def test_arms_are_called_as_papers_call_them(arm, name):
    assert arm_label(arm) == name
