"""Exports hold what the released codes ask for, name by name and shape by shape, so that they load
strictly. The lists are written here from the public code of REPA and Self-Flow.
"""

import pytest
import torch
from support.arms import arm_of, method, random_backbone

from bench.core.model.sizes import Size
from bench.core.model.tokens import TokenGrid
from bench.core.store import checkpoints
from bench.evaluation.checkpoint_files import read_weights
from bench.evaluation.exporters import export_checkpoint, to_theirs, trained_heads
from bench.evaluation.released import import_checkpoint

W, DEPTH, CLASSES, W_ENC = 384, 2, 5, 12  # from 384 on REPA's head is 2048 wide, as published
SIZE, GRID = Size("short", DEPTH, W, 6), TokenGrid((8, 8), 2, 4)


def official(fmt):
    """{name: shape} of the released model's state dict: REPA's `SiT(..., z_dims=[12])` with its
    projector_dim=2048, Self-Flow's with learn_sigma.
    """
    linears = {
        "t_embedder.mlp.0": (W, 256),
        "t_embedder.mlp.2": (W, W),
        "final_layer.adaLN_modulation.1": (2 * W, W),
    }
    for block in range(DEPTH):
        linears[f"blocks.{block}.attn.qkv"] = (3 * W, W)
        linears[f"blocks.{block}.attn.proj"] = (W, W)
        linears[f"blocks.{block}.mlp.fc1"] = (4 * W, W)
        linears[f"blocks.{block}.mlp.fc2"] = (W, 4 * W)
        linears[f"blocks.{block}.adaLN_modulation.1"] = (6 * W, W)
    if fmt == "repa":
        linears["x_embedder.proj"] = (W, 4, 2, 2)
        linears["final_layer.linear"] = (2 * 2 * 4, W)
        linears["projectors.0.0"] = (2048, W)
        linears["projectors.0.2"] = (2048, 2048)
        linears["projectors.0.4"] = (W_ENC, 2048)
    else:
        linears["x_embedder.proj"] = (W, 4 * 2 * 2)
        linears["final_layer.linear"] = (2 * 2 * 8, W)
        linears["projector.linear1"] = (2 * W, W)
        linears["projector.linear2"] = (W, 2 * W)
    shapes = {"pos_embed": (1, 16, W), "y_embedder.embedding_table.weight": (CLASSES + 1, W)}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def arm_of_method(name):
    """An arm of random weights; haste's layer pairs are of sizes that this is none of."""
    layers = {"student_layers": [0], "teacher_layers": [1], "stop_images": 8}
    changes = layers if name == "haste" else {}
    return arm_of(method(name, **changes), random_backbone(SIZE, GRID, CLASSES))[0]


PAIRS = [
    ("repa", "repa"),
    ("repa", "repa_stop"),
    ("repa", "haste"),
    ("selfflow", "selfflow"),
    ("selfflow", "sra"),
]


@pytest.mark.parametrize(("fmt", "name"), PAIRS)
def test_an_export_has_every_name_and_shape_that_the_released_code_has(fmt, name):
    arm = arm_of_method(name)
    state = to_theirs(arm.backbone, fmt, arm.heads.state_dict())
    assert {key: tuple(value.shape) for key, value in state.items()} == official(fmt)


@pytest.mark.parametrize(("fmt", "name"), [("repa", "repa"), ("selfflow", "selfflow")])
def test_an_export_with_heads_is_read_back(fmt, name, tmp_path):
    arm = arm_of_method(name)
    file = export_checkpoint(arm.backbone, tmp_path / "out.pt", fmt, arm.heads.state_dict())
    stored, weights, _ = read_weights(file)
    assert stored.keys() == official(fmt).keys()
    assert weights == ("ema" if fmt == "repa" else "as published")

    imported = import_checkpoint(file, fmt, SIZE)
    assert set(imported.dropped) == {key for key in official(fmt) if key.startswith("projector")}
    for key, value in arm.backbone.state_dict().items():
        assert torch.equal(imported.backbone.state_dict()[key], value), key


@pytest.mark.parametrize("fmt", ["repa", "selfflow"])
def test_exported_heads_compute_what_ours_do(fmt):
    arm = arm_of_method(fmt)
    state = to_theirs(arm.backbone, fmt, arm.heads.state_dict())
    repa = ("projectors.0.0", "projectors.0.2", "projectors.0.4")
    layers = repa if fmt == "repa" else ("projector.linear1", "projector.linear2")
    x = h = torch.randn(3, W, generator=torch.Generator().manual_seed(1))
    for number, layer in enumerate(layers):
        h = h * torch.sigmoid(h) if number else h
        h = h @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
    torch.testing.assert_close(arm.heads["projector"](x), h)


def test_heads_come_from_the_newest_checkpoint_of_a_run(tmp_path):
    heads = {"projector.0.weight": torch.ones(2, 2)}
    with pytest.raises(ValueError, match="has no checkpoint, and snapshots hold no heads"):
        trained_heads(tmp_path)
    for images in (64, 128):
        state = {"images": images}
        state["heads"] = {key: value * images for key, value in heads.items()}
        checkpoints.save_checkpoint(tmp_path / "checkpoints", images, state)
    assert torch.equal(trained_heads(tmp_path)["projector.0.weight"], 128 * torch.ones(2, 2))


@pytest.mark.parametrize(
    ("fmt", "name"), [("repa", "irepa"), ("repa", "sra"), ("selfflow", "repa")]
)
def test_heads_of_another_form_are_refused(fmt, name):
    arm = arm_of_method(name)
    layers = {"repa": 3, "selfflow": 2}[fmt]
    with pytest.raises(ValueError, match=f"format={fmt} has one head of {layers} linear layers"):
        to_theirs(arm.backbone, fmt, arm.heads.state_dict())
    with pytest.raises(ValueError, match="these have no parameters: leave heads out"):
        to_theirs(arm.backbone, fmt, {})
