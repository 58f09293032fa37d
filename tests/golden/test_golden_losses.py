"""The first losses of every method are what they were when losses.json
was captured (see losses.py).
"""

import json

import pytest
from golden.losses import STORED, losses

from bench.config.groups import options

GOLDEN = json.loads(STORED.read_text())


def test_every_method_is_captured():
    assert set(GOLDEN) == set(options("method"))


@pytest.mark.parametrize("name", GOLDEN)
def test_losses(name):
    for step, (expected, found) in enumerate(zip(GOLDEN[name], losses(name), strict=True)):
        # other processors and versions differ in the last digits; a changed stream or formula by
        # far more
        assert found == pytest.approx(expected, rel=2e-4, abs=1e-5), step
