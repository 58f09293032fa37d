"""Released checkpoint formats against a forward pass written here from their
documented convention, and bad files.
"""

import argparse
import math
import re

import pytest
import torch
from support.arms import random_backbone

from bench.core.model.conditions import Classes
from bench.core.model.noise import NoiseLevels
from bench.core.model.sizes import SIZES, Size
from bench.core.model.tokens import TokenGrid
from bench.evaluation.checkpoint_files import read_weights
from bench.evaluation.exporters import export_checkpoint, to_theirs
from bench.evaluation.released import import_checkpoint

SIZE = Size("small", 3, 16, 2)
LATENT, CHANNELS, P, CLASSES = 8, 4, 2, 5
GRID = TokenGrid((LATENT, LATENT), P, CHANNELS)


def checkpoint(
    fmt: str, learn_sigma: bool | None = None, size: Size = SIZE
) -> dict[str, torch.Tensor]:
    """A random state dict with the documented names and shapes of a format."""
    draw = torch.Generator().manual_seed(3)
    w, n = size.width, (LATENT // P) ** 2
    sigma = fmt != "repa" if learn_sigma is None else learn_sigma
    out = P * P * CHANNELS * (2 if sigma else 1)
    shapes: dict[str, tuple[int, ...]] = {"pos_embed": (1, n, w)}
    linears = {
        "t_embedder.mlp.0": (w, 256),
        "t_embedder.mlp.2": (w, w),
        "final_layer.linear": (out, w),
    }
    linears["final_layer.adaLN_modulation.1"] = (2 * w, w)
    linears["x_embedder.proj"] = (w, CHANNELS * P * P) if fmt == "selfflow" else (w, CHANNELS, P, P)
    for i in range(size.depth):
        linears |= {
            f"blocks.{i}.attn.qkv": (3 * w, w),
            f"blocks.{i}.attn.proj": (w, w),
            f"blocks.{i}.mlp.fc1": (4 * w, w),
            f"blocks.{i}.mlp.fc2": (w, 4 * w),
            f"blocks.{i}.adaLN_modulation.1": (6 * w, w),
        }
    if fmt == "repa":
        linears |= {
            "projectors.0.0": (32, w),
            "projectors.0.2": (32, 32),
            "projectors.0.4": (12, 32),
        }
    if fmt == "selfflow":
        linears |= {"projector.linear1": (32, w), "projector.linear2": (w, 32)}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes["y_embedder.embedding_table.weight"] = (CLASSES + 1, w)
    return {key: torch.randn(shape, generator=draw) * 0.3 for key, shape in shapes.items()}


def inner_network(s, x, t, label, out_channels):
    """SiT's own forward for one latent x [c, H, W] at the levels t [N] of its
    tokens -> [out_channels, H, W].

    As published: a convolution (or a linear map of (c p1 p2)), blocks, rows (p1 p2 c) folded back
    by einsum.
    """

    def linear(name, value):
        return value @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    def norm(value):
        return (value - value.mean(-1, keepdim=True)) / (
            value.var(-1, unbiased=False, keepdim=True) + 1e-6
        ).sqrt()

    def silu(value):
        return value / (1 + torch.exp(-value))

    side = LATENT // P
    weight = s["x_embedder.proj.weight"]
    if weight.dim() == 4:
        h = (
            torch.nn.functional.conv2d(x[None], weight, s["x_embedder.proj.bias"], stride=P)[0]
            .flatten(1)
            .T
        )
    else:
        patches = [
            x[:, P * i : P * i + P, P * j : P * j + P].reshape(-1)
            for i in range(side)
            for j in range(side)
        ]
        h = linear("x_embedder.proj", torch.stack(patches))
    h = h + s["pos_embed"][0]
    w = torch.exp(-math.log(10000) * torch.arange(128) / 128)
    angles = t[:, None] * w
    c = linear(
        "t_embedder.mlp.2",
        silu(linear("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()], 1))),
    )
    c = silu(c + s["y_embedder.embedding_table.weight"][label])
    width = h.shape[1]
    for i in range(SIZE.depth):
        p = f"blocks.{i}"
        a1, b1, g1, a2, b2, g2 = linear(f"{p}.adaLN_modulation.1", c).chunk(6, dim=1)
        q, k, v = linear(f"{p}.attn.qkv", norm(h) * (1 + b1) + a1).chunk(3, dim=1)
        heads = []
        for part in range(SIZE.heads):
            of = slice(part * width // SIZE.heads, (part + 1) * width // SIZE.heads)
            heads.append(
                torch.softmax(q[:, of] @ k[:, of].T / math.sqrt(width // SIZE.heads), 1) @ v[:, of]
            )
        h = h + g1 * linear(f"{p}.attn.proj", torch.cat(heads, 1))
        m = linear(f"{p}.mlp.fc1", norm(h) * (1 + b2) + a2)
        gelu = 0.5 * m * (1 + torch.tanh(math.sqrt(2 / math.pi) * (m + 0.044715 * m**3)))
        h = h + g2 * linear(f"{p}.mlp.fc2", gelu)
    shift, scale = linear("final_layer.adaLN_modulation.1", c).chunk(2, dim=1)
    out = linear("final_layer.linear", norm(h) * (1 + scale) + shift).reshape(
        side, side, P, P, out_channels
    )
    return torch.einsum("hwpqc->chpwq", out).reshape(out_channels, LATENT, LATENT)


def published_velocity(fmt, s, x, levels, label):
    """noise - data at levels with 1 = noise, from the published network: [c, H, W]."""
    out = len(s["final_layer.linear.bias"]) // P**2
    if fmt == "repa":
        return inner_network(s, x, levels, label, out)[:CHANNELS]
    return -inner_network(s, x, 1 - levels, label, out)[:CHANNELS]  # 0 = noise, data - noise


def saved(folder, content, name="model.pt"):
    torch.save(content, folder / name)
    return folder / name


@pytest.mark.parametrize("fmt", ["sit", "repa", "selfflow"])
def test_imported_backbone_gives_what_the_published_network_gives(fmt, tmp_path):
    state = checkpoint(fmt)
    imported = import_checkpoint(
        saved(tmp_path, {"ema": state, "args": argparse.Namespace(lr=1)}), fmt, SIZE
    )
    assert (
        imported.weights == "ema"
        and imported.backbone.condition == Classes(CLASSES)
        and imported.backbone.grid == GRID
    )
    assert sorted(imported.dropped) == sorted(key for key in state if key.startswith("projector"))
    x = torch.randn(2, CHANNELS, LATENT, LATENT, generator=torch.Generator().manual_seed(5))
    label = torch.tensor([2, CLASSES])
    for t in (0.3, 0.9):
        v, _ = imported.backbone(GRID.patchify(x), torch.full((2,), t), label)
        for b in range(2):
            expected = published_velocity(
                fmt, state, x[b], torch.full((GRID.tokens,), t), int(label[b])
            )
            torch.testing.assert_close(GRID.unpatchify(v)[b], expected, atol=2e-5, rtol=1e-4)
    reversed_time = published_velocity(fmt, state, x[0], torch.full((GRID.tokens,), 0.7), 2)
    at, _ = imported.backbone(GRID.patchify(x), torch.full((2,), 0.3), label)
    assert (GRID.unpatchify(at)[0] - reversed_time).abs().max() > 1e-2, (
        "t = 0.3 tells a reversed time from ours"
    )


def test_two_levels_of_a_self_flow_checkpoint(tmp_path):
    state = checkpoint("selfflow")
    backbone = import_checkpoint(saved(tmp_path, state), "selfflow", SIZE).backbone
    x = torch.randn(1, CHANNELS, LATENT, LATENT, generator=torch.Generator().manual_seed(6))
    index = (torch.arange(GRID.tokens) % 4 == 0)[None]
    outputs = []
    for levels in ([0.3, 0.8], [0.8, 0.3]):
        v, _ = backbone(
            GRID.patchify(x), NoiseLevels(torch.tensor([levels]), index), torch.tensor([1])
        )
        per_token = torch.where(index[0], torch.tensor(levels[1]), torch.tensor(levels[0]))
        expected = published_velocity("selfflow", state, x[0], per_token, 1)
        torch.testing.assert_close(GRID.unpatchify(v)[0], expected, atol=2e-5, rtol=1e-4)
        outputs.append(v)
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2


@pytest.mark.parametrize("fmt", ["sit", "selfflow"])
def test_learn_sigma_is_told_by_the_rows(fmt, tmp_path):
    state = checkpoint(fmt, learn_sigma=False)
    backbone = import_checkpoint(saved(tmp_path, state), fmt, SIZE).backbone
    x = torch.randn(1, CHANNELS, LATENT, LATENT)
    v, _ = backbone(GRID.patchify(x), torch.tensor([0.3]), torch.tensor([0]))
    expected = published_velocity(fmt, state, x[0], torch.full((GRID.tokens,), 0.3), 0)
    torch.testing.assert_close(GRID.unpatchify(v)[0], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("fmt", ["repa", "selfflow"])
def test_round_trip_is_exact(fmt, tmp_path):
    ours = random_backbone(SIZE, GRID, CLASSES)
    back = import_checkpoint(export_checkpoint(ours, tmp_path / "out.pt", fmt), fmt, SIZE).backbone
    for key, value in ours.state_dict().items():
        assert torch.equal(back.state_dict()[key], value), key
    names = {key for key in checkpoint(fmt) if not key.startswith("projector")}
    assert set(to_theirs(ours, fmt)) == names
    x, levels = torch.randn(1, CHANNELS, LATENT, LATENT), torch.full((GRID.tokens,), 0.3)
    v, _ = ours(GRID.patchify(x), levels[:1], torch.tensor([1]))
    theirs = {
        key: value.float() for key, value in to_theirs(ours, fmt).items()
    }  # as their load_state_dict casts
    torch.testing.assert_close(
        GRID.unpatchify(v)[0],
        published_velocity(fmt, theirs, x[0], levels, 1),
        atol=1e-5,
        rtol=1e-4,
    )


def test_wrappers_prefixes_and_legacy_names(tmp_path):
    state = checkpoint("repa")
    legacy = {
        re.sub(r"^blocks\.2\.", "decoder_blocks.0.", key): value for key, value in state.items()
    }
    files = [
        ({"model": state, "ema": {k: v + 1 for k, v in state.items()}}, "ema"),
        ({"model": state, "opt": {}}, "model"),
        ({"state_dict": {f"module.{k}": v for k, v in state.items()}}, "model"),
        (legacy, "as published"),
    ]
    for content, weights in files:
        found = import_checkpoint(saved(tmp_path, content), "repa", SIZE)
        assert found.weights == weights
        shift = 1 if weights == "ema" else 0
        assert torch.equal(
            found.backbone.state_dict()["blocks.2.mlp.fc1.bias"],
            state["blocks.2.mlp.fc1.bias"] + shift,
        )
    from safetensors.torch import save_file

    save_file(state, tmp_path / "model.safetensors")
    assert read_weights(tmp_path / "model.safetensors").state.keys() == state.keys()


def refused(path, fmt="sit", size=SIZE):
    with pytest.raises(ValueError) as error:
        import_checkpoint(path, fmt, size)
    return str(error.value)


def test_missing_and_surplus_keys_are_all_named(tmp_path):
    state = checkpoint("sit")
    gone = ["blocks.1.attn.qkv.bias", "t_embedder.mlp.2.weight", "final_layer.linear.bias"]
    for key in gone:
        del state[key]
    state |= {"projectors.0.weight": torch.zeros(1), "blocks.0.norm1.weight": torch.zeros(16)}
    message = refused(saved(tmp_path, state))
    assert "5 key(s)" in message and all(f"missing {key}" in message for key in gone)
    assert "surplus projectors.0.weight" in message and "surplus blocks.0.norm1.weight" in message
    state = checkpoint("sit") | {"blocks.0.attn.qkv.weight": torch.zeros(7, 16)}
    assert "blocks.0.attn.qkv.weight is [7, 16], not [48, 16]" in refused(saved(tmp_path, state))


def test_a_file_of_another_format_is_told_by_its_shapes(tmp_path):
    """Without their projectors the formats share all names,
    and a wrong one would load and give nonsense.
    """
    files = {
        fmt: saved(
            tmp_path,
            {k: v for k, v in checkpoint(fmt).items() if not k.startswith("projector")},
            f"{fmt}.pt",
        )
        for fmt in ("sit", "repa", "selfflow")
    }
    for fmt in ("sit", "repa"):
        assert "those of this format by a linear map: choose format=sit or repa" in refused(
            files[fmt], "selfflow"
        )
        assert "by a linear map, those of this format by a convolution" in refused(
            files["selfflow"], fmt
        )
    assert "choose format=selfflow" in refused(files["selfflow"], "sit")
    assert "has 32 rows (learn_sigma)" in refused(
        files["sit"], "repa"
    ) and "format=sit?" in refused(files["sit"], "repa")


def test_old_files_of_torch_are_read(tmp_path):
    """Written before torch's zip format, which alone can be mapped."""
    state = checkpoint("repa")
    torch.save({"ema": state}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    found = import_checkpoint(tmp_path / "old.pt", "repa", SIZE).backbone
    assert torch.equal(found.state_dict()["blocks.2.mlp.fc1.bias"], state["blocks.2.mlp.fc1.bias"])


def test_wrong_size_names_both(tmp_path):
    message = refused(saved(tmp_path, checkpoint("sit")), size=SIZES["XL"])
    assert "3 blocks of width 16" in message and "size=XL has 28 of width 1152" in message
    nano = saved(tmp_path, checkpoint("sit", size=SIZES["nano"]))
    assert "(size=nano)" in refused(nano)


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch pwned",)


def test_pickled_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(saved(tmp_path, {"ema": checkpoint("sit"), "extra": Evil()}))
    assert "holds pickled code" in message and "system" in message
    assert not (tmp_path / "pwned").exists()


def test_other_bad_files(tmp_path):
    assert "there is no checkpoint" in refused(tmp_path / "none.pt")
    assert "format=dit is unknown (choices: sit, repa, selfflow)" in refused(
        tmp_path / "none.pt", "dit"
    )
    whole = saved(tmp_path, checkpoint("sit")).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    assert "fetch it again" in refused(tmp_path / "cut.pt")
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    assert "fetch it again" in refused(tmp_path / "page.pt")
    assert "holds no state dict" in refused(saved(tmp_path, {"step": 3}))
    assert "holds a list" in refused(saved(tmp_path, [torch.zeros(1)]))
    assert "pos_embed is missing" in refused(
        saved(tmp_path, {k: v for k, v in checkpoint("sit").items() if k != "pos_embed"})
    )
    with pytest.raises(ValueError, match="its tokens have 16 numbers, the data's 12"):
        import_checkpoint(saved(tmp_path, checkpoint("sit")), "sit", SIZE, channels=3)
    odd = checkpoint("sit") | {
        "final_layer.linear.bias": torch.zeros(12),
        "final_layer.linear.weight": torch.zeros(12, 16),
    }
    assert "final layer has 12 rows" in refused(saved(tmp_path, odd))
    for key in (
        "x_embedder.proj.weight",
        "pos_embed",
        "y_embedder.embedding_table.weight",
        "t_embedder.mlp.0.weight",
    ):
        for value in (torch.tensor(1.0), torch.zeros(3), torch.zeros(0, 3)):
            message = refused(saved(tmp_path, checkpoint("sit") | {key: value}))
            assert f"{key} has shape {list(value.shape)}, so this is no SiT" in message
    for key, value in (
        ("final_layer.linear.bias", torch.tensor(1.0)),
        ("final_layer.linear.weight", torch.zeros(32)),
    ):
        assert f"{key} has shape" in refused(saved(tmp_path, checkpoint("sit") | {key: value}))
