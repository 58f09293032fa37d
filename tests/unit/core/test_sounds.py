"""Sounds: spectrograms and back, WAV files of every kind, folders of them, and notes."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile
from scipy.signal import stft

from bench.core.data.base import Digits, described, shown
from bench.core.data.notes import INSTRUMENTS, Notes, Score
from bench.core.data.sounds import Recordings, SpokenDigits, as_bytes
from bench.core.data.spectrogram import Spectrogram, mel
from bench.core.data.translate import translated
from bench.core.data.wav import PAUSE, read_wav, wav_bytes

RATE = 8000
VIEW = Spectrogram(RATE, 160, 400, 32, 32)
TIME = np.arange(VIEW.samples) / RATE


def tone(hertz, samples=None, rate=RATE):
    return np.sin(2 * np.pi * hertz * np.arange(samples or VIEW.samples) / rate)


def sounds(root, **changes):
    settings = {"rate": RATE, "hop": 160, "window": 400, "bands": 32, "frames": 32, "patch": 1}
    settings |= {"heldout": 0.25, "skip_damaged": False}
    kind = changes.pop("kind", Recordings)
    return kind("sounds", str(root) if root else None, **(settings | changes))


def write_folder(root: Path, classes=("a", "b"), each=4) -> Path:
    draw = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(each):
            noise = draw.integers(-9999, 9999, 3000, dtype=np.int16)
            wavfile.write(root / name / f"{i}.wav", RATE, noise)
    return root


# Spectrograms -----------------------------------------------------------------------------------


def test_bands_are_equally_wide_in_mel():
    assert mel(1000) == pytest.approx(1000, abs=0.1)
    middles = VIEW.filters.argmax(dim=1) * RATE / 400
    wanted = 700 * (10 ** (np.linspace(0, mel(RATE / 2), 34)[1:-1] / 2595) - 1)
    assert np.abs(middles.numpy() - wanted).max() <= RATE / 400 / 2 + 1e-9


def test_powers_are_those_of_another_implementation():
    noise = torch.randn(2, VIEW.samples, generator=torch.Generator().manual_seed(0))
    ours = VIEW._transform(noise)
    window = torch.hann_window(400).numpy()
    theirs = (
        stft(noise.numpy(), RATE, window, 400, 240, 400, boundary="zeros", padded=True)[2][..., :32]
        * window.sum()
    )  # SciPy divides by the window's sum
    np.testing.assert_allclose(ours.abs().numpy(), np.abs(theirs), rtol=1e-3, atol=1e-3)


def test_levels_are_decibels_below_the_loudest_band():
    loud = torch.tensor(tone(440) + 0.01 * tone(2500)).float()[None]  # 40 decibels below
    levels = VIEW.levels(torch.cat([loud, 0.1 * loud, torch.zeros_like(loud)]))
    torch.testing.assert_close(levels[0], levels[1], atol=1e-4, rtol=0)  # loudness is no part
    assert levels[0].max() == 1 and levels[2].abs().max() == 0
    bands = VIEW.filters.argmax(dim=1) * RATE / 400
    low, high = (int((bands - hertz).abs().argmin()) for hertz in (440, 2500))
    found = levels[0, :, 8:24].mean(dim=1)
    assert found.argmax() == low
    assert 60 * (found[low] - found[high]) == pytest.approx(40, abs=4)


def test_waves_are_added_up_from_their_frames():
    noise = torch.randn(2, VIEW.samples, generator=torch.Generator().manual_seed(1))
    back = VIEW._overlapped(VIEW._transform(noise))
    torch.testing.assert_close(back[:, :-400], noise[:, :-400], atol=1e-4, rtol=0)


def test_what_is_heard_has_the_levels_and_the_pitch():
    waves = torch.tensor(np.stack([tone(440), tone(1200) * np.exp(-TIME / 0.1)])).float()
    levels = (VIEW.levels(waves) * 255).round() / 255
    back = VIEW.waves(levels)
    assert back.shape == waves.shape and back.abs().amax(dim=1).tolist() == [1, 1]
    assert (VIEW.levels(back) - levels).abs().mean() < 0.05
    peaks = np.abs(np.fft.rfft(back.numpy())).argmax(axis=1) * RATE / VIEW.samples
    assert np.abs(peaks / [440, 1200] - 1).max() < 0.05
    torch.testing.assert_close(VIEW.waves(levels), back)
    assert VIEW.waves(torch.zeros(1, 32, 32)).abs().max() == 0
    assert torch.isfinite(VIEW.waves(torch.full((1, 32, 32), 7.0))).all()


def test_a_spectrogram_that_would_lose_something_is_refused():
    with pytest.raises(ValueError, match=r"data.window=200 is less than twice data.hop"):
        Spectrogram(RATE, 160, 200, 32, 32)
    with pytest.raises(ValueError, match=r"data.bands=256 are too narrow.*fewer bands"):
        Spectrogram(RATE, 160, 400, 256, 32)


# WAV files --------------------------------------------------------------------------------------


def write_24_bits(path, wave_of):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 3, RATE, 0, "NONE", ""))
        numbers = (round(float(v) * (2**23 - 1)) for v in wave_of)
        file.writeframes(b"".join(n.to_bytes(3, "little", signed=True) for n in numbers))


def test_every_kind_of_number_channel_and_rate_is_read_as_the_same_sound(tmp_path):
    wanted = torch.tensor(tone(440)).float()
    wavfile.write(tmp_path / "16.wav", RATE, (tone(440) * 32767).astype(np.int16))
    wavfile.write(tmp_path / "32.wav", RATE, (tone(440) * (2**31 - 1)).astype(np.int32))
    wavfile.write(tmp_path / "8.wav", RATE, np.rint(tone(440) * 127 + 128).astype(np.uint8))
    wavfile.write(tmp_path / "float.wav", RATE, tone(440).astype(np.float32))
    write_24_bits(tmp_path / "24.wav", tone(440))
    both = np.stack([2 * tone(440), np.zeros(VIEW.samples)], axis=1) / 2
    wavfile.write(tmp_path / "stereo.wav", RATE, both.astype(np.float32))
    for rate in (4000, 16000, 44100):
        samples = VIEW.samples * rate // RATE
        wavfile.write(tmp_path / f"at {rate}.wav", rate, tone(440, samples, rate))
    paths = sorted(tmp_path.glob("*.wav"))
    assert len(paths) == 9
    for path in paths:
        found = read_wav(path, RATE, VIEW.samples)
        assert found.shape == wanted.shape and found.abs().max() == 1
        assert (found - wanted)[100:-100].abs().max() < 0.06, path.name


def test_a_long_sound_is_cut_from_where_it_is_heard_and_a_short_one_filled(tmp_path):
    quiet = np.zeros(20_000)
    wavfile.write(tmp_path / "late.wav", RATE, np.concatenate([quiet, tone(440)]))
    late = read_wav(tmp_path / "late.wav", RATE, VIEW.samples)
    assert (late.abs() > 0.5).float().mean() > 0.5
    wavfile.write(tmp_path / "short.wav", RATE, tone(440, 800))
    short = read_wav(tmp_path / "short.wav", RATE, VIEW.samples)
    assert short[:800].abs().max() == 1 and short[800:].abs().max() == 0


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "x.wav"
    wavfile.write(path, RATE, (tone(440) * 32767).astype(np.int16))
    whole = path.read_bytes()
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    cases = {
        whole[:3000]: "cut off: 3000 of 10284 bytes",
        whole[:20]: "cut off: 20 of",
        b"": "no WAV file",
        (tmp_path / "x.png").read_bytes(): "no WAV file",
        whole[:20] + b"\7\0" + whole[22:]: "MULAW",
    }
    for content, why in cases.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"x\.wav cannot be read.*{why}.*mend or remove"):
            read_wav(path, RATE, VIEW.samples)
    wavfile.write(path, RATE, np.zeros(0, np.int16))
    with pytest.raises(ValueError, match=r"x\.wav holds no sound \(0 samples\)"):
        read_wav(path, RATE, VIEW.samples)
    wavfile.write(path, RATE, np.full(9, np.nan, np.float32))
    with pytest.raises(ValueError, match="no numbers"):
        read_wav(path, RATE, VIEW.samples)


def test_sounds_are_written_one_after_another(tmp_path):
    path = tmp_path / "two.wav"
    path.write_bytes(wav_bytes(torch.tensor(np.stack([tone(440), tone(880)])).float(), RATE))
    rate, found = wavfile.read(path)
    assert rate == RATE and len(found) == 2 * (VIEW.samples + round(PAUSE * RATE))
    np.testing.assert_allclose(found[: VIEW.samples] / 32767, tone(440), atol=1e-4)


# Folders ----------------------------------------------------------------------------------------


def test_sounds_become_tokens_and_back(tmp_path):
    data = sounds(write_folder(tmp_path))
    assert (data.n_train, data.n_heldout, data.classes) == (6, 2, 2)
    assert described(data).startswith("8 sounds of 2 classes: a, b (6 training, 2 held out)")
    images = data.images("train")
    assert images.dtype == torch.uint8 and images.shape == (6, 32, 32)
    assert data.tokens("train").shape == (6, 32, 32)  # a frame a token, its bands the numbers
    torch.testing.assert_close(data.tokens("train")[0, 5], images[0, :, 5] / 127.5 - 1)
    torch.testing.assert_close(data.decode(data.tokens("train")), images / 127.5 - 1)
    heard = data.heard(data.tokens("train")[:2])
    assert heard.waves.shape == (2, VIEW.samples) and heard.rate == RATE
    picture = shown(images)
    assert picture.shape == (6, 3, 32, 32)
    assert torch.equal(picture[:, 1, -1], images[:, 0])  # the lowest band at the bottom


def test_encoders_hear_what_the_levels_are_of(tmp_path):
    recordings, played = sounds(write_folder(tmp_path), patch=4), notes()
    for data in (recordings, played):
        for split in ("train", "heldout"):
            found = data.waves(split, torch.tensor([1, 0]))
            assert found.rate == RATE and found.samples.shape == (2, VIEW.samples)
            assert torch.equal(as_bytes(VIEW.levels(found.samples)), data.images(split)[[1, 0]])
    # the middle of a token: the mean of its frames' times, 20 ms apart
    assert played.waves("train", slice(0, 1)).times[:3].tolist() == pytest.approx([0, 0.02, 0.04])
    assert recordings.waves("train", slice(0, 1)).times[:2].tolist() == pytest.approx([0.03, 0.11])
    with pytest.raises(ValueError, match=r"digits are pictures, and there is nothing to hear"):
        Digits("digits", 2).waves("train")


def test_silent_sounds_and_other_files_are_left_out_by_name(tmp_path):
    root = write_folder(tmp_path / "data", each=8)
    wavfile.write(root / "a" / "nothing.wav", RATE, np.zeros(999, np.int16))
    Image.new("RGB", (8, 8)).save(root / "a" / "picture.png")
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        data = sounds(root, cache=cache)
        assert data.n_train + data.n_heldout == 16
        assert "other files: 1 .png" in data.remarks
        assert "left out as silent: a/nothing.wav" in data.remarks


def test_folders_that_are_no_sounds_end_in_one_sentence(tmp_path):
    with pytest.raises(
        ValueError, match=r"needs a folder: data.root=DIR with one folder of sounds"
    ):
        sounds(None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no sounds in class folders.*<class>/<sound>.wav"):
        sounds(tmp_path / "empty")
    root = write_folder(tmp_path / "data")
    (root / "c").mkdir()
    Image.new("RGB", (8, 8)).save(root / "c" / "picture.png")
    with pytest.raises(ValueError, match=r"class folder\(s\) c hold no sounds.*1 .png"):
        sounds(root)
    for i in range(4):
        wavfile.write(root / "c" / f"{i}.wav", RATE, np.zeros(99, np.int16))
    with pytest.raises(ValueError, match="nothing but silence of c"):
        sounds(root)
    path = root / "c" / "0.wav"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"c/0.wav cannot be read.*cut off"):
        sounds(root)


def test_a_damaged_sound_may_be_left_out(tmp_path, capsys):
    root = write_folder(tmp_path)
    (root / "a" / "0.wav").write_bytes(b"RIFF")
    data = sounds(root, skip_damaged=True, heldout=0.3)
    assert data.n_train + data.n_heldout == 7
    assert "a/0.wav is damaged and left out" in capsys.readouterr().out


def test_spoken_digits_are_read_as_they_are_cloned(tmp_path):
    flat = tmp_path / "clone" / "recordings"
    flat.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for digit in (0, 1):
        for number in (0, 4, 5, 17):
            noise = draw.integers(-9999, 9999, 1000, dtype=np.int16)
            wavfile.write(flat / f"{digit}_jackson_{number}.wav", RATE, noise)
    wavfile.write(flat / "other.wav", RATE, noise)
    for root in (flat, flat.parent):
        data = sounds(root, kind=SpokenDigits)
        assert data.class_names == ["0", "1"] and (data.n_train, data.n_heldout) == (4, 4)
        assert {path.name[-6:] for path in data.files["heldout"]} == {"_0.wav", "_4.wav"}
        assert "1 sound(s) of another name are left out" in data.remarks
    for path in flat.glob("1_*_1*.wav"):
        path.unlink()
    (flat / "1_jackson_5.wav").unlink()
    with pytest.raises(ValueError, match=r"no train sound of 1 .*clone the whole data set"):
        sounds(flat, kind=SpokenDigits)
    in_folders = sounds(write_folder(tmp_path / "folders"), kind=SpokenDigits)
    assert in_folders.classes == 2


# Notes ------------------------------------------------------------------------------------------


def notes(**changes):
    settings = {"rate": RATE, "hop": 160, "window": 400, "bands": 32, "frames": 32, "patch": 1}
    return Notes("notes", **(settings | {"count": 200, "heldout_count": 100} | changes))


def test_notes_are_the_same_from_the_seed_and_told_apart_by_their_instrument(tmp_path):
    data = notes()
    assert tuple(data.class_names) == tuple(INSTRUMENTS)
    for cache in (None, tmp_path, tmp_path):
        assert notes(cache=cache).fingerprint == data.fingerprint
    # held-out notes are none of the training's, and their nearest ones are of their instrument
    train, held = (data.tokens(split).flatten(1) for split in ("train", "heldout"))
    nearest = torch.cdist(held, train)
    assert nearest.min() > 0.5
    right = data.labels("train")[nearest.argmin(dim=1)] == data.labels("heldout")
    assert right.float().mean() > 0.7


@pytest.mark.parametrize("name", ["clarinet", "flute", "marimba", "pluck", "strings", "voice"])
def test_notes_have_their_pitch(name):
    pitch = np.array([220.0, 313.0, 440.0, 777.0])[:, None]
    half = np.full_like(pitch, 0.5)
    noise = np.random.default_rng(0).normal(size=(4, VIEW.samples))
    waves = INSTRUMENTS[name](Score(pitch, half, half, half, TIME[None], noise, RATE))
    assert np.isfinite(waves).all() and (np.abs(waves).max(axis=1) > 0.1).all()
    first = waves[:, :2048] * np.hanning(2048)  # before what is struck or plucked has died away
    peaks = np.abs(np.fft.rfft(first, 32768)).argmax(axis=1) * RATE / 32768
    multiple = peaks / pitch[:, 0]
    assert (np.rint(multiple) >= 1).all()
    assert np.abs(multiple / np.rint(multiple) - 1).max() < 0.015, peaks


def test_notes_that_cannot_be_played_are_refused():
    with pytest.raises(ValueError, match="must be 20 or more each"):
        notes(count=19)
    with pytest.raises(ValueError, match=r"data.rate=2000 has no room"):
        notes(rate=2000, hop=40, window=100, bands=8)


# Translations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 2, 9), (5, 2, 9, 7), (5, 1, 4, 6, 5)])
def test_each_example_is_moved_along_each_axis(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = translated(x, 2, torch.Generator().manual_seed(1))
    axes = len(shape) - 2
    offsets = torch.randint(0, 5, (axes, 5), generator=torch.Generator().manual_seed(1))
    for i, example in enumerate(x.numpy()):
        padded = np.pad(example, [(0, 0)] + [(2, 2)] * axes, mode="edge")
        for axis in range(axes):
            start = int(offsets[axis, i])
            rows = range(start, start + shape[2 + axis])
            padded = padded.take(rows, axis=1 + axis)
        np.testing.assert_array_equal(found[i], padded)
    # as pictures always lay: what is trained on them has other weights in another order of sums
    assert axes != 2 or found.is_contiguous(memory_format=torch.channels_last)
    assert translated(x, 0, torch.Generator()) is x
