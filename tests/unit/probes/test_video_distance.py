"""Frechet video distance in VideoMAE's features, on a small random network in a file of the
published form: the network beside its blocks written out, pixels and distance beside cd-fvd's.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm
from support.arms import random_backbone

from bench.core.data.base import Digits
from bench.core.data.frames import shuffled
from bench.core.data.moving_digits import MovingDigits
from bench.core.model.sizes import SIZES
from bench.core.store import staging
from bench.core.store.rows import CONTROL_OF_MOTION
from probes.distances.videos import VideoMaeDistance
from probes.extractors import videomae
from probes.extractors.videomae import load_videomae
from probes.metric import Inputs, Sampled

NAME, WIDTH, HEADS, SIDE, PATCH = "fvd_videomae", 12, 2, 12, 6


@pytest.fixture
def weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(staging, "unreachable", lambda url, seconds=0: "no network in tests")
    small = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    small |= {"intermediate_size": 20, "patch_size": PATCH, "image_size": SIDE}
    monkeypatch.setattr(videomae, "_SIZE", small)
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return 0.4 * torch.randn(*shape, generator=draw)

    found = {"patch_embed.proj.weight": drawn(WIDTH, 3, 2, PATCH, PATCH)}
    found |= {"patch_embed.proj.bias": drawn(WIDTH), "head.weight": drawn(174, WIDTH)}
    found |= {"head.bias": drawn(174), "fc_norm.weight": drawn(WIDTH), "fc_norm.bias": drawn(WIDTH)}
    for i in range(2):
        of_block = {"norm1.weight": (WIDTH,), "norm1.bias": (WIDTH,), "norm2.weight": (WIDTH,)}
        of_block |= {"norm2.bias": (WIDTH,), "attn.q_bias": (WIDTH,), "attn.v_bias": (WIDTH,)}
        of_block |= {"attn.qkv.weight": (3 * WIDTH, WIDTH), "attn.proj.weight": (WIDTH, WIDTH)}
        of_block |= {"attn.proj.bias": (WIDTH,), "mlp.fc1.weight": (20, WIDTH)}
        of_block |= {"mlp.fc1.bias": (20,), "mlp.fc2.weight": (WIDTH, 20), "mlp.fc2.bias": (WIDTH,)}
        found |= {f"blocks.{i}.{name}": drawn(*shape) for name, shape in of_block.items()}
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    file = videomae.videomae_files(NAME)[0].path
    torch.save({"module": found}, file)
    return found


@pytest.fixture(scope="module")
def clips():
    return MovingDigits("moving_digits", 4, 12, (2, 4, 4), 60, 40)


def norm(x, weights, name):
    return F.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)


def by_hand(videos, w):
    """Clips uint8 [n, 3, 16, H, W] -> features: cd-fvd's preprocessing, VideoMAE v2's blocks."""
    resized = [
        F.interpolate(clip.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
        for clip in videos
    ]
    x = F.conv3d(
        torch.stack(resized), w["patch_embed.proj.weight"], w["patch_embed.proj.bias"],
        stride=(2, PATCH, PATCH),
    )  # fmt: skip
    x = x.flatten(2).transpose(1, 2)
    at, column = torch.arange(x.shape[1])[:, None], torch.arange(WIDTH)
    angle = at / 10000 ** (2 * (column // 2) / WIDTH)
    x = x + torch.where(column % 2 == 0, angle.sin(), angle.cos())
    for i in range(2):
        block = f"blocks.{i}"
        bias = torch.cat([w[f"{block}.attn.q_bias"], torch.zeros(WIDTH), w[f"{block}.attn.v_bias"]])
        qkv = F.linear(norm(x, w, f"{block}.norm1"), w[f"{block}.attn.qkv.weight"], bias)
        q, k, v = qkv.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        read = (q @ k.transpose(2, 3) / math.sqrt(WIDTH / HEADS)).softmax(dim=3) @ v
        read = read.transpose(1, 2).flatten(2)
        x = x + F.linear(read, w[f"{block}.attn.proj.weight"], w[f"{block}.attn.proj.bias"])
        hidden = F.linear(
            norm(x, w, f"{block}.norm2"), w[f"{block}.mlp.fc1.weight"], w[f"{block}.mlp.fc1.bias"]
        )
        x = x + F.linear(F.gelu(hidden), w[f"{block}.mlp.fc2.weight"], w[f"{block}.mlp.fc2.bias"])
    return norm(x.mean(dim=1), w, "fc_norm").double().numpy()


def cdfvd(a, b):
    """From raw sums, as its FeatureStats has them."""
    means = [x.sum(axis=0) / len(x) for x in (a, b)]
    covariances = [
        x.T @ x / len(x) - np.outer(mean, mean) for x, mean in zip((a, b), means, strict=True)
    ]
    root = sqrtm(covariances[0] @ covariances[1])
    gap = ((means[0] - means[1]) ** 2).sum()
    return gap + np.trace(covariances[0] + covariances[1] - 2 * np.real(root))


def inputs(data, tokens, tmp_path):
    return Inputs(
        backbone=random_backbone(SIZES["nano"], data.grid, 10),
        weights="ema",
        sha256="0" * 64,
        data=data,
        data_name=data.fingerprint,
        aligned=None,
        device=torch.device("cpu"),
        cache=tmp_path / "cache",
        samples=Sampled(
            sampling={"rounding": "round_half_up", "decoder_precision": "float32"}, tokens=tokens
        ),
    )


def longer(images):
    """Four frames as the sixteen that are read of them."""
    return images.repeat_interleave(4, dim=2)


def test_features_are_the_networks_on_cdfvds_pixels(weights):
    draw = torch.Generator().manual_seed(1)
    videos = torch.randint(0, 256, (3, 3, 16, 20, 30), dtype=torch.uint8, generator=draw)
    read = load_videomae(NAME)
    np.testing.assert_allclose(read.features(videos), by_hand(videos, weights), atol=1e-4)
    # of another length, the nearest to sixteen evenly spaced times
    short = videos[:, :, ::4]
    np.testing.assert_allclose(read.features(short), by_hand(longer(short), weights), atol=1e-4)


def test_the_distance_is_cdfvds_beside_shuffled_frames(weights, clips, tmp_path):
    metric, draw = VideoMaeDistance(NAME), torch.Generator().manual_seed(2)
    tokens = 0.5 * torch.randn(clips.tokens("heldout").shape, generator=draw)
    tokens[0] = float("nan")
    given = inputs(clips, tokens, tmp_path)
    assert metric.check(given) == {}
    (row,) = metric.measure(given)
    pixels = clips.decode(tokens[1:])
    drawn = (127.5 * pixels + 128).clamp(0, 255).byte().expand(-1, 3, -1, -1, -1)
    of = {split: clips.images(split) for split in ("train", "heldout")}
    read = {name: by_hand(longer(images), weights) for name, images in of.items()}
    assert row.value == pytest.approx(
        cdfvd(by_hand(longer(drawn), weights), read["train"]), rel=1e-3
    )
    assert row.real == pytest.approx(cdfvd(read["heldout"], read["train"]), rel=1e-3)
    assert row.n == 39 and row.details["not_finite"] == 1 and row.real < row.value
    mixed = [shuffled(part, seed=i * 32) for i, part in enumerate(of["heldout"].split(32))]
    control = cdfvd(by_hand(longer(torch.cat(mixed)), weights), read["train"])
    assert row.details[CONTROL_OF_MOTION] == pytest.approx(control, rel=1e-3)
    assert row.protocol["reference"] == "moving_digits train, 60 of 60 videos"


def test_what_is_missing_is_said_before_sampling(weights, tmp_path):
    digits = Digits("digits", 2)
    with pytest.raises(ValueError, match=r"metrics=fvd_videomae reads videos, .* are pictures"):
        VideoMaeDistance(NAME).check(inputs(digits, digits.tokens("heldout"), tmp_path))
    file = videomae.videomae_files(NAME)[0].path
    torch.save({"module": {k: v for k, v in weights.items() if "fc1" not in k}}, file)
    with pytest.raises(
        ValueError, match=r"does not hold VideoMAE's weights .*metrics=fvd_videomae"
    ):
        load_videomae(NAME)
    file.unlink()
    with pytest.raises(ValueError, match=r"lacks 1 file[\s\S]*bench\.prepare metrics=fvd_videomae"):
        load_videomae(NAME)
