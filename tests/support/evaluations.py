"""What tests of bench.evaluate share: stand-ins for Inception and the VAE, latents,
a run's backbone.
"""

from types import SimpleNamespace

import numpy as np
import torch
from support.arms import random_backbone
from torch import nn

from bench.config.words import last_of_each
from bench.core.compat import import_vision
from bench.core.data.autoencoders import MODULES
from bench.core.data.base import Digits
from bench.core.model.backbone import SiT
from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.core.store.checkpoints import load_snapshot
from bench.core.store.weight_files import snapshots
from bench.evaluate import main
from bench.evaluation.exporters import export_checkpoint
from probes.distances.frechet import Moments, fit


def evaluated(words):
    """bench.evaluate in this process, of a word given twice the last: its exit code."""
    return main(last_of_each(words))


QUICK = ("protocol=sde250", "steps=4", "samples=100", "device=cpu")


def backbone_of(run):
    net = SiT(Digits("digits", 2).grid, SIZES["nano"], 10)
    return load_snapshot(snapshots(run)[2048], net).requires_grad_(False)


def samples_of(folder):
    (path,) = folder.glob("samples/*/samples_100.npz")
    return path


class StandInVAE(nn.Module):
    """A decoder's interface: latents [n, 4, h, w] -> .sample [n, 3, 8 h, 8 w]."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def decode(self, latents):
        enlarged = nn.functional.interpolate(latents[:, :3], scale_factor=8)
        return SimpleNamespace(sample=(0.18215 * self.scale * enlarged).detach())


def save_vae(folder):
    """A small AutoencoderKL as diffusers saves one: random weights, latents a side of an eighth."""
    torch.manual_seed(0)
    import_vision(f"{MODULES}.autoencoder_kl").AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        norm_num_groups=2,
        latent_channels=4,
    ).save_pretrained(folder)
    return folder


def save_rae(folder):
    """A small AutoencoderRAE as diffusers saves one: random weights, pictures of 32 pixels as 2 x 2
    tokens of 64 numbers, which were standardised by something.
    """
    torch.manual_seed(0)
    vae = import_vision(f"{MODULES}.autoencoder_rae").AutoencoderRAE(
        encoder_hidden_size=64,
        encoder_num_hidden_layers=1,
        encoder_input_size=28,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        latents_mean=torch.randn(64, 2, 2),
        latents_std=torch.rand(64, 2, 2) + 0.5,
    )
    vae.save_pretrained(folder)
    return folder


def save_latents(root, pictures=True):
    """30 training and 20 held-out latents 8 x 8 of 1,000 classes."""
    draw = np.random.default_rng(0)
    for split, n in (("train", 30), ("heldout", 20)):
        (root / split).mkdir(parents=True)
        np.save(root / split / "moments.npy", draw.random((n, 8, 8, 8), np.float32))
        np.save(root / split / "labels.npy", np.arange(n) % 3)
        if pictures:
            np.save(root / split / "images.npy", draw.integers(0, 256, (n, 3, 64, 64), np.uint8))
    return root


def latent_words(tmp_path, monkeypatch):
    """A checkpoint on latents, its decoder a stand-in."""
    monkeypatch.setattr("bench.core.data.codecs.StableDiffusion.load", lambda self: StandInVAE(1.0))
    net = random_backbone(grid=TokenGrid((8, 8), 2, 4), classes=1000)
    file = export_checkpoint(net, tmp_path / "latents.pt", "repa")
    return [
        f"checkpoint={file}",
        "format=repa",
        "size=nano",
        "data=imagenet256",
        f"out={tmp_path / 'out'}",
    ]


class StandInInception(nn.Module):
    """The interface of Inception on 64 random features: pool,
    logits and the branch that sFID reads.
    """

    fingerprint = "stand-in"

    def __init__(self):
        super().__init__()
        self.Mixed_6d = nn.Module()
        self.Mixed_6d.branch1x1 = nn.Conv2d(3, 192, 1)

    def forward(self, images):
        x = images.float() / 255
        self.Mixed_6d.branch1x1(nn.functional.interpolate(x, size=(17, 17)))
        flat = x[:, 0].flatten(1)
        return flat, flat[:, :8]


class StandInListener(nn.Module):
    """The interface of CLAP: loudness in eight bands."""

    fingerprint, family, trained_on, labels = "6" * 16, "htsat", "nothing", ""

    def __init__(self, metric):
        super().__init__()

    def embeddings(self, waves, rate):
        bands = torch.fft.rfft(waves).abs().chunk(8, dim=1)
        return torch.stack([band.mean(dim=1).log1p() for band in bands], dim=1).numpy()


class StandInViewer(nn.Module):
    """The interface of VideoMAE: colours of the quarters of both halves, and how much they move."""

    fingerprint, family, trained_on, labels = "7" * 16, "vit", "nothing", ""

    def __init__(self, metric):
        super().__init__()

    def features(self, clips):
        x = clips.float() / 255
        still = nn.functional.adaptive_avg_pool3d(x, 2).flatten(1)
        moved = (x[:, :, 1:] - x[:, :, :-1]).abs().flatten(1).mean(dim=1, keepdim=True)
        return torch.cat([still, moved], dim=1).numpy()


def few_features(monkeypatch):
    """Gaussians of few features, since sFID's 2,023 are slow and beside the point here."""

    class Few(Moments):
        def add(self, features):
            super().add(features[:, :32])

    monkeypatch.setattr("probes.distances.fid.fit", lambda features: fit(features[:, :32]))
    monkeypatch.setattr("probes.distances.reference.Moments", Few)
