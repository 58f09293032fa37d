"""Videos, sounds, captioned pictures and FLUX.2's latents through bench.latents and back, against
computations by hand with small autoencoders of random weights that diffusers saved.
"""

import json

import pytest
import torch
from PIL import Image
from scipy.io import wavfile
from support.autoencoders import (
    RATE,
    encoded,
    save_clips,
    save_flux2,
    save_oobleck,
    save_recordings,
    save_wan,
)
from support.evaluations import save_vae

from bench.cli import guarded
from bench.core.compat import import_vision
from bench.core.data.autoencoders import MODULES
from bench.core.data.codecs import SCALE
from bench.core.data.latent_sets import (
    CaptionedFlux2Latents,
    CaptionedLatents,
    ClipLatents,
    SoundLatents,
)
from bench.core.data.latents import LatentData
from bench.core.data.originals import adm_crop
from bench.core.data.shards import read_index
from bench.latents import LATENTS


def network(module, kind, folder):
    return getattr(import_vision(f"{MODULES}.{module}"), kind).from_pretrained(folder).eval()


class Standing:
    """A step's noise that is one number everywhere."""

    def __init__(self, value):
        self.value = value

    def normal(self, *shape):
        return torch.full(shape, self.value)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return encoded(tmp_path_factory.mktemp("clips"), "clips")


def test_clips_are_wans_latents_standardised_and_back(clips, capsys):
    root, folder = clips
    data = ClipLatents("clips", str(root), 1, 2, str(folder))
    assert (data.n_train, data.n_heldout, data.noun) == (11, 5, "video")
    assert data.grid.shape == (2, 2, 2) and data.grid.token_dim == 4

    # by hand, from what diffusers' pipeline does with latents_mean and latents_std
    vae = network("autoencoder_kl_wan", "AutoencoderKLWan", folder)
    shown = data.images("heldout")
    with torch.no_grad():
        posterior = vae.encode(shown.float() / 127.5 - 1).latent_dist
        plain = vae.decode(posterior.mean).sample
    mean = torch.tensor(vae.config.latents_mean).view(1, 4, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, 4, 1, 1, 1)
    expected = ((posterior.mean - mean) / std).permute(0, 2, 3, 4, 1).reshape(len(shown), 8, 4)
    tokens = data.tokens("heldout")
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(data.decode(tokens), plain, rtol=1e-4, atol=1e-4)
    assert plain.shape == (len(shown), 3, 5, 32, 32)

    # what a step draws: the posterior's deviation is divided alike
    stored = data.examples(torch.tensor([3]), with_clean=True)
    with torch.no_grad():
        posterior = vae.encode(stored.clean.float() / 127.5 - 1).latent_dist
    drawn = (posterior.mean + 2 * posterior.std - mean) / std
    wanted = drawn.permute(0, 2, 3, 4, 1).reshape(1, 8, 4)
    torch.testing.assert_close(
        data.draw(stored.stored, Standing(2.0)), wanted, rtol=1e-4, atol=1e-5
    )


def test_flux2_is_two_by_two_cells_of_its_normalisation_and_back(tmp_path):
    root, folder = encoded(tmp_path, "captions", vae=save_flux2)
    data = CaptionedFlux2Latents("flux2", str(root), 1, 64, str(folder))
    assert data.grid.shape == (2, 2) and data.grid.token_dim == 16
    vae = network("autoencoder_kl_flux2", "AutoencoderKLFlux2", folder)
    shown = data.images("train")
    with torch.no_grad():
        x = vae.encode(shown.float() / 127.5 - 1).latent_dist.mean
        plain = vae.decode(x).sample
    # as diffusers' pipeline puts cells together and normalises them
    n = len(x)
    cells = x.view(n, 4, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 16, 2, 2)
    deviation = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).view(1, 16, 1, 1)
    expected = (cells - vae.bn.running_mean.view(1, 16, 1, 1)) / deviation
    tokens = data.tokens("train")
    torch.testing.assert_close(tokens, expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(data.decode(tokens), plain, rtol=1e-4, atol=1e-4)


def test_sounds_are_oobles_latents_and_are_heard_again(tmp_path):
    root, folder = encoded(tmp_path, "sounds")
    data = SoundLatents("sounds", str(root), 1, 2, str(folder))
    assert data.grid.shape == (12,) and data.grid.token_dim == 4 and data.noun == "sound"
    vae = network("autoencoder_oobleck", "AutoencoderOobleck", folder)
    # a file by hand: its first 12 x 256 samples of both channels, 1 the most 16 bits hold
    files = sorted((tmp_path / "sounds").rglob("*.wav"))
    waves = torch.stack(
        [torch.from_numpy(wavfile.read(file)[1][:3072].T / 32768).float() for file in files]
    )
    with torch.no_grad():
        latents = vae.encode(waves).latent_dist.mean
        plain = vae.decode(latents).sample
    found = torch.cat([data.tokens("train"), data.tokens("heldout")])
    every = latents.transpose(1, 2)
    place = torch.cdist(found.flatten(1), every.flatten(1)).argmin(dim=1)
    assert sorted(place.tolist()) == list(range(len(files)))
    torch.testing.assert_close(found, every[place], rtol=1e-4, atol=1e-5)
    heard = data.heard(found)
    assert heard.rate == RATE
    torch.testing.assert_close(
        heard.waves, plain.mean(dim=1).clamp(-1, 1)[place], rtol=1e-3, atol=1e-4
    )
    # encoders that hear are given the same, a token the middle of its 256 samples
    given = data.waves("train", slice(0, 2))
    torch.testing.assert_close(given.samples, heard.waves[:2])
    assert given.times.tolist() == pytest.approx([(256 * i + 128) / RATE for i in range(12)])
    # what others and distances read are spectrograms, kept and of what is decoded
    assert data.images("train").shape == (11, 64, 12) and data.images("train").max() == 255
    levels = data.spectrogram.levels(plain.mean(dim=1)[place])
    torch.testing.assert_close(data.decode(found), 2 * levels - 1, rtol=1e-3, atol=1e-3)


def test_captions_are_kept_beside_latents_and_cut_at_the_bytes_told(tmp_path):
    root, folder = encoded(tmp_path, "captions")
    data = CaptionedLatents("captions", str(root), 1, 12, str(folder))
    said = {
        path.with_suffix(".png"): path.read_text() for path in (tmp_path / "captions").glob("*.txt")
    }
    of_picture = {adm_crop(Image.open(p), 32).tobytes(): text for p, text in said.items()}
    for split in ("train", "heldout"):
        for row, picture in enumerate(data.images(split)):
            text = of_picture[picture.permute(1, 2, 0).contiguous().numpy().tobytes()]
            told = data.conditions(split, torch.tensor([row]))[0]
            assert bytes(told.tolist()).decode() == text[:12] and data.texts[split][row] == text
    assert not set(data.texts["train"]) & set(data.texts["heldout"])
    assert data.prompts.texts == tuple(data.texts["heldout"])
    assert "16 are longer" in data.remarks[0]
    vae = network("autoencoder_kl", "AutoencoderKL", folder)
    with torch.no_grad():
        x = vae.encode(data.images("heldout").float() / 127.5 - 1).latent_dist.mean
    expected = (SCALE * x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(data.tokens("heldout"), expected, rtol=1e-4, atol=1e-5)
    # texts are of what is verified
    assert guarded(LATENTS.main, ["verify", f"out={root}"]) == 0
    path = root / "train" / "texts.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert guarded(LATENTS.main, ["verify", f"out={root}"]) == 1


def test_the_index_says_by_what_and_from_what(clips):
    index = read_index(clips[0])
    assert index.vae["kind"] == "AutoencoderKLWan" and index.vae["scale"] == 1.0
    assert index.made_from["frames"] == 5 and "crop" not in index.made_from
    assert index.splits["train"].shapes["moments"] == (8, 2, 2, 2)
    assert "texts" not in json.dumps(index.made_from)


def test_another_normalisation_is_another_encoder(clips, tmp_path):
    root, _ = clips
    other = save_wan(tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"latents_std": [1.0] * 4}))
    data = ClipLatents("clips", str(root), 1, 2, str(other))
    with pytest.raises(ValueError, match=r"were made by vae .* is of another one"):
        data.decode(data.tokens("heldout"))


def test_what_cannot_be_encoded_is_one_sentence(clips, tmp_path, capsys):
    root, wan = clips
    films = root.parent / "clips"
    vae, oobleck = save_vae(tmp_path / "vae"), save_oobleck(tmp_path / "oobleck")
    sounds = save_recordings(tmp_path / "sounds", rate=4000)
    short = save_clips(tmp_path / "short", frames=3)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"_class_name": "AutoencoderDC"}')
    cases = {
        f"encodes videos, and pictures={films} is not of them: fetch one that does, "
        "python -m bench.prepare vae=ema or vae=flux2": [f"pictures={films}", f"vae={wan}"],
        "encodes pictures, and clips=": [f"clips={films}", f"vae={vae}"],
        "encodes pictures, and sounds=": [f"sounds={sounds}", f"vae={vae}"],
        "frames=3 is shorter than the stride of": [f"clips={films}", f"vae={wan}", "frames=3"],
        "encodes 1 + 4 k frames and would drop the last ones: frames=5 or 9": [
            f"clips={films}", f"vae={wan}", "frames=8"],
        "has 3 frames, and frames=5: choose fewer, or leave out what is shorter with skip": [
            f"clips={short}", f"vae={wan}", "frames=5", "size=32"],
        "size=40: 40x40 pixels are no multiple of the autoencoder's stride of 16: size=32": [
            f"clips={films}", f"vae={wan}", "frames=5", "size=40"],
        "has 4000 samples a second and the autoencoder reads 8000: resample=true": [
            f"sounds={sounds}", f"vae={oobleck}", "seconds=0.4"],
        "seconds=0.01 is shorter than one latent": [
            f"sounds={sounds}", f"vae={oobleck}", "seconds=0.01"],
        "nothing to encode said: give one of pictures=DIR": [f"vae={wan}"],
        "clips= and sounds= said: give one": [f"clips={films}", f"sounds={sounds}", f"vae={wan}"],
        "is diffusers' AutoencoderDC, whose latents are not read here": [
            f"pictures={films}", f"vae={tmp_path / 'odd'}"],
    }  # fmt: skip
    for i, (said, given) in enumerate(cases.items()):
        out = f"out={tmp_path / str(i)}"
        assert guarded(LATENTS.main, [*given, out, "workers=0", "heldout=0.3"]) == 2, said
        assert said in (error := capsys.readouterr().err), (said, error)
    (films / "a" / "0" / "4.png").unlink()
    given = [f"clips={films}", f"vae={wan}", "frames=5", "size=32", "skip_damaged=true"]
    given += [f"out={tmp_path / 'left'}", "workers=0", "heldout=0.3"]
    assert guarded(LATENTS.main, given) == 0
    said = capsys.readouterr().out
    assert "0 is damaged and left out" in said and "15 of 15 videos in" in said
    given = [f"sounds={sounds}", f"vae={oobleck}", "seconds=0.4", "resample=true", "heldout=0.3"]
    assert guarded(LATENTS.main, [*given, f"out={tmp_path / 'resampled'}", "workers=0"]) == 0
    assert guarded(LATENTS.main, [*given, f"out={tmp_path / 'm'}", "workers=0", "flips=true"]) == 2
    assert "a sound has no mirror image" in capsys.readouterr().err


def test_a_folder_of_another_autoencoder_is_named(clips, tmp_path):
    root, folder = clips
    with pytest.raises(
        ValueError, match=r"holds latents of vae \(AutoencoderKLWan\), and data=imag"
    ):
        LatentData("imagenet256", str(root), 2, 1000, str(folder))
    with pytest.raises(
        ValueError, match=r"data=sounds reads those of AutoencoderOobleck: .*vae=oob"
    ):
        SoundLatents("sounds", str(root), 1, 2, str(folder))
    captioned, vae = encoded(tmp_path / "captioned", "captions")
    (captioned / "train" / "texts.npy").unlink()
    with pytest.raises(ValueError, match=r"has no captions .* captions=DIR makes"):
        CaptionedLatents("captions", str(captioned), 1, 12, str(vae))
