"""DINOv2 through a stand-in of torch.hub's folder,
against timm's architecture with the same weights.
"""

import re
import textwrap
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bench.config.compose import compose
from bench.config.groups import build
from bench.config.schema import Option
from bench.core.compat import import_vision
from bench.core.model.tokens import TokenGrid
from bench.core.store import staging

GRID = TokenGrid((8, 8), 2, 3)  # 4x4 tokens

# A small vision transformer with DINOv2's names and output and 5x5 positions, which refuses to
# interpolate them.
HUBCONF = """
    import torch
    from torch import nn
    dependencies = ["torch"]

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_heads, self.qkv, self.proj = 2, nn.Linear(32, 96), nn.Linear(32, 32)
        def forward(self, x):
            q, k, v = self.qkv(x).unflatten(2, (3, 2, 16)).permute(2, 0, 3, 1, 4)
            seen = (q @ k.transpose(-1, -2) / 4).softmax(-1) @ v
            return self.proj(seen.transpose(1, 2).flatten(2))

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.gamma = nn.Parameter(torch.ones(32))
        def forward(self, x):
            return x * self.gamma

    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(32, 128), nn.Linear(128, 32)
        def forward(self, x):
            return self.fc2(nn.functional.gelu(self.fc1(x)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.attn, self.ls1 = nn.LayerNorm(32, eps=1e-6), Attention(), Scale()
            self.norm2, self.mlp, self.ls2 = nn.LayerNorm(32, eps=1e-6), Mlp(), Scale()
        def forward(self, x):
            x = x + self.ls1(self.attn(self.norm1(x)))
            return x + self.ls2(self.mlp(self.norm2(x)))

    class PatchEmbed(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Conv2d(3, 32, 14, 14)

    class Network(nn.Module):
        def __init__(self, registers):
            super().__init__()
            self.embed_dim = 32
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 32))
            self.pos_embed = nn.Parameter(torch.zeros(1, 26, 32))
            self.register_tokens = None
            if registers:
                self.register_tokens = nn.Parameter(torch.zeros(1, registers, 32))
            self.mask_token = nn.Parameter(torch.zeros(1, 32))
            self.patch_embed, self.norm = PatchEmbed(), nn.LayerNorm(32, eps=1e-6)
            self.blocks = nn.ModuleList(Block() for _ in range(2))
        def forward_features(self, x):
            x = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
            assert x.shape[1] + 1 == self.pos_embed.shape[1], "the hub would interpolate here"
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
            r = 0
            if self.register_tokens is not None:
                r = self.register_tokens.shape[1]
                x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], 1)
            for block in self.blocks:
                x = block(x)
            x = self.norm(x)
            return {"x_norm_clstoken": x[:, 0], "x_norm_patchtokens": x[:, 1 + r:]}

    def dinov2_vits14(pretrained=True):
        assert not pretrained, "weights are read by the harness, without unpickling code"
        return Network(0)

    def dinov2_vits14_reg(pretrained=True):
        return Network(4)
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A torch.hub folder with the stand-in's code and random weights;
    the network is out of bounds.
    """
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(
        staging, "unreachable", lambda url: pytest.fail(f"asked the network for {url}")
    )
    code = tmp_path / "hub" / f"facebookresearch_dinov2_{config('dinov2_s').values['ref']}"
    code.mkdir(parents=True)
    (code / "hubconf.py").write_text(textwrap.dedent(HUBCONF))
    (tmp_path / "hub" / "checkpoints").mkdir()
    for name, file in (
        ("dinov2_vits14", "dinov2_vits14_pretrain.pth"),
        ("dinov2_vits14_reg", "dinov2_vits14_reg4_pretrain.pth"),
    ):
        torch.manual_seed(0)
        network = torch.hub.load(str(code), name, source="local", pretrained=False)
        state = {key: torch.randn_like(value) * 0.1 for key, value in network.state_dict().items()}
        torch.save(state, tmp_path / "hub" / "checkpoints" / file)
    return tmp_path / "hub"


def config(name: str, *words: str) -> Option:
    return compose(["method=repa", f"encoder={name}", *words]).encoder


def images() -> torch.Tensor:
    return torch.randint(
        0, 256, (2, 3, 40, 40), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )


def test_patch_tokens_are_those_of_timms_dinov2_with_the_same_weights(hub):
    encoder = build(config("dinov2_s"), token_grid=GRID)
    timm = import_vision("timm.models.vision_transformer")
    theirs = timm.VisionTransformer(
        img_size=56,
        patch_size=14,
        embed_dim=32,
        depth=2,
        num_heads=2,
        init_values=1.0,
        num_classes=0,
    ).eval()
    state = torch.load(hub / "checkpoints" / "dinov2_vits14_pretrain.pth")
    state = timm.checkpoint_filter_fn(state, theirs, interpolation="bicubic", antialias=True)
    theirs.load_state_dict(state)
    mean, std = (
        torch.tensor([0.485, 0.456, 0.406])[:, None, None],
        torch.tensor([0.229, 0.224, 0.225])[:, None, None],
    )
    x = F.interpolate((images() / 255 - mean) / std, size=(56, 56), mode="bicubic", antialias=False)
    with torch.no_grad():
        expected = theirs.forward_features(x)
    found = encoder(images())
    assert found.grid == encoder.grid == (4, 4) and encoder.width == 32
    torch.testing.assert_close(found.patches, expected[:, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.cls, expected[:, 0], rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in encoder.parameters()) and not encoder.train().training


@pytest.mark.parametrize("name", ["dinov2_s", "dinov2_s_reg"])
def test_attention_logits_leave_out_class_and_registers(hub, name):
    encoder = build(config(name), token_grid=GRID)
    (logits,) = encoder(images(), attention_of=[0]).attention
    network = encoder.network
    first = (
        network.patch_embed.proj(encoder._input(images())).flatten(2).transpose(1, 2)
        + network.pos_embed[:, 1:]
    )
    qkv = network.blocks[0].attn.qkv(network.blocks[0].norm1(first))
    q, k = (qkv[..., i * 32 : (i + 1) * 32].reshape(2, 16, 2, 16).transpose(1, 2) for i in (0, 1))
    torch.testing.assert_close(logits, q @ k.mT / 4, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="layers 0 to 1"):
        encoder(images(), attention_of=[2])


def test_other_grids_are_refused_or_resized_as_stated(hub):
    with pytest.raises(ValueError, match="resize=features"):
        build(config("dinov2_s", "encoder.patch_grid=5"), token_grid=GRID)
    encoder = build(
        config("dinov2_s", "encoder.patch_grid=5", "encoder.resize=features"), token_grid=GRID
    )
    assert encoder(images()).patches.shape == (2, 16, 32)
    with pytest.raises(ValueError, match="square"):
        build(config("dinov2_s"), token_grid=TokenGrid((8, 4), 2, 3))


def test_a_staged_main_and_a_local_folder_serve_as_well(hub, tmp_path):
    code = next(hub.glob("facebookresearch_dinov2_*"))
    reference = build(config("dinov2_s"), token_grid=GRID).fingerprint
    code.rename(hub / "facebookresearch_dinov2_main")
    assert build(config("dinov2_s"), token_grid=GRID).fingerprint == reference
    local = (hub / "facebookresearch_dinov2_main").rename(tmp_path / "checkout")
    (hub / "checkpoints" / "dinov2_vits14_pretrain.pth").rename(
        local / "dinov2_vits14_pretrain.pth"
    )
    encoder = build(
        config("dinov2_s", "encoder.source=local", f"encoder.path={local}"), token_grid=GRID
    )
    assert encoder.fingerprint == reference


def test_missing_files_end_in_one_message_with_places_and_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(staging, "unreachable", lambda url: "no route")
    with pytest.raises(ValueError) as error:
        build(config("dinov2_g"), token_grid=GRID)
    message = str(error.value)
    assert str(tmp_path / "hub/checkpoints/dinov2_vitg14_pretrain.pth") in message
    assert (
        "python -m bench.prepare encoder=dinov2_g" in message
        and len(re.findall("curl -fL", message)) == 2
    )
    assert not list(tmp_path.rglob("*"))


def test_damaged_weights_and_pickled_code_are_refused(hub):
    weights = hub / "checkpoints" / "dinov2_vits14_pretrain.pth"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="not a file of weights"):
        build(config("dinov2_s"), token_grid=GRID)
    torch.save({"evil": Path}, weights)
    with pytest.raises(ValueError, match="not a file of weights"):
        build(config("dinov2_s"), token_grid=GRID)
    torch.save({"norm.weight": torch.ones(32)}, weights)
    with pytest.raises(ValueError, match="do not make a dinov2_vits14"):
        build(config("dinov2_s"), token_grid=GRID)
