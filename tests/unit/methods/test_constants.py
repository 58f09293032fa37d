"""The methods' published constants by size, written a second time from the papers:
a changed one is another method.
"""

import pytest
from support.arms import method

from bench.core.model.sizes import SIZES
from methods import haste, sra

# What is the same at every size.
EVERYWHERE = {
    "repa": {"weight": 0.5, "head_width": None, "head_init": "xavier"},
    "repa_stop": {
        "weight": 0.5,
        "head_width": None,
        "head_init": "xavier",
        "stop_images": 400_000 * 256,
    },
    "irepa": {"weight": 1.0, "mean_share": 0.6, "kernel": 3},
    "haste": {"weight": 0.5, "attention_weight": 0.5, "head_width": None, "head_init": "xavier"},
    "selfflow": {
        "mask_ratio": 0.25,
        "weight": 0.8,
        "masking": True,
        "near": None,
        "similarity": "cosine",
        "attention": "full",
        "head_init": "xavier",
    },
    "dual_timestep": {"mask_ratio": 0.25},
    "full_masking": {"mask_ratio": 0.25},
    "diffusion_forcing": {},
    "sra": {
        "weight": None,
        "gap": 0.2,
        "similarity": "smooth_l1",
        "beta": 0.05,
        "decay_images": 150 * 1_280_000,
        "head_init": "xavier",
    },
    "layersync": {"weight": 0.2},
    "dispersive": {"weight": 0.25, "tau": 1.0, "block": "last", "group": 32},
    "vanilla": {},
}
# blocks counted from 1; HASTE's attention layers are counted from 0 in its paper, so one lower
# there
BY_SIZE = {
    ("repa_stop", "B"): {"student": 4},
    ("repa_stop", "L"): {"student": 8},
    ("repa_stop", "XL"): {"student": 8},
    ("irepa", "B"): {"student": 4},
    ("irepa", "L"): {"student": 8},
    ("irepa", "XL"): {"student": 8},
    ("haste", "B"): {"student": 5, "attention0": 3, "attention1": 4, "attention2": 5},
    ("haste", "L"): {
        "student": 8,
        "attention0": 5,
        "attention1": 6,
        "attention2": 7,
        "attention3": 8,
    },
    ("haste", "XL"): {
        "student": 8,
        "attention0": 5,
        "attention1": 6,
        "attention2": 7,
        "attention3": 8,
    },
    ("dispersive", "L"): {"student": 24},
    ("dispersive", "XL"): {"student": 28},
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_constants(name):
    m = method(name)
    assert {key: getattr(m, key) for key in EVERYWHERE[name]} == EVERYWHERE[name]


@pytest.mark.parametrize(("name", "size"), BY_SIZE)
def test_blocks_by_size(name, size):
    assert method(name).blocks(SIZES[size]) == BY_SIZE[name, size]


@pytest.mark.parametrize(
    ("size", "pairs", "stop"),
    [
        ("B", [(2, 7), (3, 9), (4, 11)], 25_600_000),
        ("L", [(4, 8), (5, 9), (6, 10), (7, 11)], 64_000_000),
        ("XL", [(4, 8), (5, 9), (6, 10), (7, 11)], 64_000_000),
    ],
)
def test_hastes_layer_pairs_and_stops(size, pairs, stop):
    m = method("haste")
    assert m.pairs(SIZES[size]) == pairs and m.ends(SIZES[size]) == stop and haste.HEADS == 12


def test_sras_weights_and_where_they_decay():
    assert (
        sra.WEIGHTS == {"smooth_l1": 0.2, "cosine": 0.5, "cosine_tokens": 0.5}
        and sra.EPOCH == 1_280_000
    )
    m = method("sra")
    assert m.weight_at(191_999_999) == 0.2 > m.weight_at(192_000_000) == 0.2 * 10 ** (-1 / 1000)
