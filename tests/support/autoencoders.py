"""Small autoencoders of random weights as diffusers saves them, small folders of what they encode,
and folders of latents that bench.latents makes of these.
"""

import numpy as np
import torch
from PIL import Image
from scipy.io import wavfile
from support.evaluations import save_vae

from bench.cli import guarded
from bench.core.compat import import_vision
from bench.core.data.autoencoders import MODULES
from bench.latents import LATENTS

RATE = 8000  # samples a second of `save_oobleck`'s waves
SMALL_IMAGES = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (4, 4, 4, 4),
    "norm_num_groups": 2,
    "layers_per_block": 1,
}


def save_flux2(folder):
    """16 numbers for each 16 x 16 pixels, standardised by something."""
    torch.manual_seed(0)
    made = import_vision(f"{MODULES}.autoencoder_kl_flux2").AutoencoderKLFlux2
    vae = made(latent_channels=4, **SMALL_IMAGES)
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    vae.save_pretrained(folder)
    return folder


def save_wan(folder):
    """4 numbers for each 4 frames of 16 x 16 pixels, built as Wan2.2's is."""
    torch.manual_seed(0)
    import_vision(f"{MODULES}.autoencoder_kl_wan").AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.5, -0.5, 0.25, 0.0],
        latents_std=[0.5, 1.5, 2.0, 1.0],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=16,
    ).save_pretrained(folder)
    return folder


def save_oobleck(folder):
    """4 numbers for each 256 samples of two channels."""
    torch.manual_seed(0)
    import_vision(f"{MODULES}.autoencoder_oobleck").AutoencoderOobleck(
        encoder_hidden_size=8,
        downsampling_ratios=[4, 8, 8],
        channel_multiples=[1, 1, 1],
        decoder_channels=8,
        decoder_input_channels=4,
        audio_channels=2,
        sampling_rate=RATE,
    ).save_pretrained(folder)
    return folder


def save_clips(root, frames=5):
    """Eight films of 40 x 36 pixels a class, folders of frames."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        for i in range(8):
            (root / name / str(i)).mkdir(parents=True)
            for t in range(frames):
                pixels = draw.integers(0, 256, size=(40, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / str(i) / f"{t}.png")
    return root


def save_recordings(root, rate=RATE, seconds=0.5):
    """Eight noises in stereo a class."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(8):
            samples = draw.integers(-9999, 9999, (round(seconds * rate), 2), dtype=np.int16)
            wavfile.write(root / name / f"{i}.wav", rate, samples)
    return root


def save_captioned(root):
    """Sixteen pictures of 40 x 36 pixels with captions."""
    draw = np.random.default_rng(0)
    root.mkdir(parents=True)
    for i in range(16):
        pixels = draw.integers(0, 256, size=(40, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        text = f"a {('red', 'blue')[i % 2]} square, number {i}"
        (root / f"{i}.txt").write_text(text, encoding="utf-8")
    return root


def save_pictures(root):
    """Ten pictures of 40 x 36 pixels a class."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(10):
            pixels = draw.integers(0, 256, size=(40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


# What each kind is encoded by, its folder of examples, and the words of bench.latents.
KINDS = {
    "pictures": (save_flux2, save_pictures, ["size=32"]),
    "clips": (save_wan, save_clips, ["size=32", "frames=5"]),
    "sounds": (save_oobleck, save_recordings, ["seconds=0.4"]),
    "captions": (save_vae, save_captioned, ["size=32"]),
}


def encoded(root, key, *words, vae=None):
    """A folder of latents of one of `KINDS`, and its autoencoder's."""
    save, make, own = KINDS[key]
    root.mkdir(parents=True, exist_ok=True)
    made = (vae or save)(root / "vae")
    source, out = make(root / key), root / "latents"
    given = [f"{key}={source}", f"out={out}", f"vae={made}", "heldout=0.3", "workers=0"]
    assert guarded(LATENTS.main, [*given, *own, *words]) == 0
    return out, made
