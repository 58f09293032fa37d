"""bench.evaluate: samples as one .npz, resumed, in any number of processes; bad input."""

import json
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.arms import samples
from support.evaluations import (
    QUICK,
    StandInVAE,
    backbone_of,
    samples_of,
)
from support.runs import ROOT

from bench.cli import guarded
from bench.config.compose import compose
from bench.config.groups import build
from bench.core.data.base import Digits, pixels_to_uint8
from bench.core.data.codecs import StableDiffusion
from bench.core.model.backbone import SiT
from bench.core.model.sampling import velocity_of
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.core.store.checkpoints import save_snapshot
from bench.core.train.distributed import Processes
from bench.evaluate import main
from bench.evaluation.exporters import export_checkpoint
from bench.evaluation.samples import SampleStore

CPU = torch.device("cpu")


def test_samples_are_those_of_the_protocol_and_a_checkpoint_gives_the_same_bytes(run, tmp_path):
    assert main([f"run={run}", *QUICK]) == 0
    path = samples_of(run)
    found = np.load(path)["arr_0"]
    assert found.dtype == np.uint8 and found.shape == (100, 8, 8, 3)
    protocol = sampling_protocol("sde250", steps=4)
    tokens, _ = samples(velocity_of(backbone_of(run)), protocol, (16, 4), 10, 100)
    pixels = Digits("digits", 2).grid.unpatchify(tokens)[:, 0]
    expected = torch.floor(((pixels.clamp(-1, 1) + 1) / 2) * 255)  # sde250 truncates
    assert np.array_equal(found[..., 1], expected.numpy().astype(np.uint8))
    assert not (path.parent / "blocks").exists()
    before = path.stat().st_mtime_ns
    assert main([f"run={run}", *QUICK]) == 0 and path.stat().st_mtime_ns == before, (
        "finished samples are not made again"
    )
    for fmt in ("repa", "selfflow"):
        file = export_checkpoint(backbone_of(run), tmp_path / f"{fmt}.pt", fmt)
        assert (
            main(
                [
                    f"checkpoint={file}",
                    f"format={fmt}",
                    "size=nano",
                    "data=digits",
                    f"out={tmp_path / fmt}",
                    *QUICK,
                ]
            )
            == 0
        )
        assert samples_of(tmp_path / fmt).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(run):
    words, before = [f"run={run}", *QUICK, "seed=3"], set(run.glob("samples/*/samples_100.npz"))
    assert main(words) == 0
    (path,) = set(run.glob("samples/*/samples_100.npz")) - before
    alone = path.read_bytes()
    path.unlink()
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "29613",
        "-m",
        "bench.evaluate",
    ]
    done = subprocess.run([*launch, *words], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert path.read_bytes() == alone


def make_block(number):
    draw = torch.Generator().manual_seed(number)
    return torch.randint(0, 256, (64, 3, 4, 4), generator=draw, dtype=torch.uint8), torch.rand(
        64, generator=draw
    ) > 0.1


@dataclass(frozen=True)
class Sharing(Processes):
    """One of several processes, told what the main one found."""

    found: list

    def first(self, value):
        return self.found


def sampling(make=make_block):
    """What makes a store's pictures: the block's number in place of its tokens."""
    return {"pictures"}, torch.tensor, torch.clone, lambda number: make(int(number))


def keeping(numbers):
    """make_block that keeps the numbers it is asked for."""
    return lambda number: numbers.append(number) or make_block(number)


def new_store(folder, n=200):
    folder.mkdir(exist_ok=True)
    return SampleStore(folder, n, 64)


def test_cut_off_samples_resume_and_the_split_changes_nothing(tmp_path):
    whole = new_store(tmp_path / "whole")
    whole.make(*sampling(), Processes(0, 1, CPU))
    whole.finish()
    made = []

    def failing(number):
        made.append(number)
        if len(made) == 3:
            raise KeyboardInterrupt
        return make_block(number)

    cut = new_store(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        cut.make(*sampling(failing), Processes(0, 1, CPU))
    assert not cut.done()
    cut.make(*sampling(failing), Processes(0, 1, CPU))
    cut.finish()
    assert made == [0, 1, 2, 2, 3] and cut.path.read_bytes() == whole.path.read_bytes()
    split = new_store(tmp_path / "split")
    todo, shares = split.lacking({"pictures"}), []
    for rank in (1, 0, 2):
        split.make(*sampling(keeping(shares)), Sharing(rank, 3, CPU, todo))
    assert shares == [1, 0, 3, 2]
    for number in (1, 2):  # what is lacking is dealt out, wherever it lies
        split._file(number, "pictures").unlink()
    todo, shares = split.lacking({"pictures"}), []
    for rank in (0, 1):
        split.make(*sampling(keeping(shares)), Sharing(rank, 2, CPU, todo))
    assert shares == [1, 2]
    split.finish()
    assert split.path.read_bytes() == whole.path.read_bytes()
    parts = [make_block(number) for number in range(4)]
    pictures = torch.cat([p for p, _ in parts])[:200]
    finite = torch.cat([f for _, f in parts])[:200]
    expected = pictures[finite].permute(0, 2, 3, 1).numpy()
    assert (
        np.array_equal(np.load(whole.path)["arr_0"], expected)
        and whole.not_finite() == int((~finite).sum()) > 0
    )


def test_a_damaged_block_is_removed_and_said(tmp_path):
    samples = new_store(tmp_path, 100)
    samples.make(*sampling(), Processes(0, 1, CPU))
    block = tmp_path / "blocks" / "000001.npy"
    block.write_bytes(block.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"block 1 .* was damaged and is removed"):
        samples.finish()
    samples.make(*sampling(), Processes(0, 1, CPU))
    samples.finish()
    assert samples.done()


def test_samples_of_another_decoder_are_other_samples(tmp_path, monkeypatch):
    grid, draw = TokenGrid((8, 8), 2, 4), torch.Generator().manual_seed(0)
    file = export_checkpoint(
        SiT(grid, SIZES["nano"], 1000).initialise(draw), tmp_path / "latents.pt", "repa"
    )
    words = [
        f"checkpoint={file}",
        "format=repa",
        "size=nano",
        "data=imagenet256",
        f"out={tmp_path}",
        *QUICK,
    ]
    for scale in (1.0, 0.5):
        monkeypatch.setattr(
            "bench.core.data.codecs.StableDiffusion.load",
            lambda self, scale=scale: StandInVAE(scale),
        )
        assert main([*words, "data.decoder=vae/sd-vae-ft-ema"]) == 0
    files = list(tmp_path.glob("samples/*/samples_100.npz"))
    first, second = (np.load(file)["arr_0"] for file in files)
    assert first.shape == second.shape == (100, 64, 64, 3) and not np.array_equal(first, second)
    one, other = (StableDiffusion("vae/sd-vae-ft-ema"), StableDiffusion("vae/sd-vae-ft-mse"))
    assert (
        one.record()["decoder"] == "sd-vae-ft-ema" and other.record()["decoder"] == "sd-vae-ft-mse"
    )
    assert len(one.record()["decoder_weights"]) == 16


def test_decoding_in_bf16_rounds_the_weights_and_leaves_the_float32_ones(monkeypatch):
    vae = StandInVAE(0.12345678)
    monkeypatch.setattr("bench.core.data.codecs.StableDiffusion.load", lambda self: vae)
    decoder, latents = StableDiffusion("any"), torch.randn(2, 4, 2, 2)
    plain, weights = decoder.pixels(latents), decoder.record()
    rounded = decoder.pixels(latents, "bf16")
    assert (
        rounded.dtype == torch.float32
        and 0 < (rounded - plain).abs().max() < 0.02 * plain.abs().max()
    )
    assert torch.equal(decoder.pixels(latents), plain) and decoder.record() == weights


def test_decoding_in_float32_allows_no_tf32(monkeypatch):
    seen = []

    class Watched(StandInVAE):
        def decode(self, latents):
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return super().decode(latents)

    monkeypatch.setattr("bench.core.data.codecs.StableDiffusion.load", lambda self: Watched(1.0))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    StableDiffusion("any").pixels(torch.randn(2, 4, 2, 2))
    assert seen == [(False, False)] and torch.backends.cudnn.allow_tf32


def test_pictures_that_a_decoder_spoils_are_counted(tmp_path, monkeypatch, capsys):
    class Spoiling(StandInVAE):
        def decode(self, latents):
            decoded = super().decode(latents).sample
            decoded[latents.amax((1, 2, 3)) > latents.amax((1, 2, 3)).median()] = float("nan")
            return SimpleNamespace(sample=decoded)

    monkeypatch.setattr("bench.core.data.codecs.StableDiffusion.load", lambda self: Spoiling(1.0))
    file = export_checkpoint(
        SiT(TokenGrid((8, 8), 2, 4), SIZES["nano"], 1000), tmp_path / "latents.pt", "repa"
    )
    words = [
        f"checkpoint={file}",
        "format=repa",
        "size=nano",
        "data=imagenet256",
        f"out={tmp_path}",
        *QUICK,
    ]
    assert main([*words, "data.decoder=any"]) == 0
    pictures = np.load(next(tmp_path.glob("samples/*/samples_100.npz")))["arr_0"]
    left_out = 100 - len(
        pictures
    )  # of 16 decoded at a time, 8: of 64 + 36 samples, 32 + 16 and up to 4
    assert 48 <= left_out <= 52 and f"{left_out} samples were not finite" in capsys.readouterr().out


def test_samples_that_are_not_finite_are_counted(run, tmp_path, capsys):
    net = backbone_of(run)
    with torch.no_grad():
        net.y_embedder.embedding_table.weight[4] = 1e38  # finite, and nothing after it
    file = export_checkpoint(net, tmp_path / "broken.pt", "repa")
    words = [
        f"checkpoint={file}",
        "format=repa",
        "size=nano",
        "data=digits",
        f"out={tmp_path}",
        *QUICK,
        "labels=balanced",
    ]
    assert main(words) == 0 and "10 samples were not finite" in capsys.readouterr().out
    path = samples_of(tmp_path)
    assert (
        len(np.load(path)["arr_0"]) == 90
        and json.loads(path.with_suffix(".json").read_text())["not_finite"] == 10
    )


def test_rounding_is_in_one_place():
    pixels = torch.tensor([-2.0, -1.0, 0.0, 0.003, 1.0, 7.0])
    assert pixels_to_uint8(pixels, "truncate").tolist() == [0, 0, 127, 127, 255, 255]
    assert pixels_to_uint8(pixels, "round_half_up").tolist() == [0, 0, 128, 128, 255, 255]
    with pytest.raises(ValueError, match="rounding=up is unknown"):
        pixels_to_uint8(pixels, "up")


def test_bad_input_is_one_sentence_and_exit_code_2(run, tmp_path, capsys):
    net = SiT(build(compose([]).data).grid, SIZES["nano"], 7)
    few = export_checkpoint(net, tmp_path / "few.pt", "repa")
    latents = export_checkpoint(
        SiT(type(net.grid)((8, 8), 2, 4), SIZES["nano"], 1000), tmp_path / "latents.pt", "repa"
    )
    of_few = [f"checkpoint={few}", "format=repa", "data=digits", f"out={tmp_path}"]
    cases = {
        "say what to evaluate": ["samples=10"],
        "did you mean samples": [f"run={run}", "sample=10"],
        "is no folder of a run": [f"run={tmp_path}"],
        "has snapshots at": [f"run={run}", "images=77"],
        "samples=x is not a count": [f"run={run}", "samples=x"],
        "guided_channels=2: the data has 1 channel": [
            f"run={run}",
            "guided_channels=2",
            "guidance=1.5",
        ],
        "guided_channels=1 says nothing without guidance above 1": [
            f"run={run}",
            "guided_channels=1",
        ],
        "guidance_high=0.7 says nothing": [f"run={run}", "guidance=1", "guidance_high=0.7"],
        "guidance=0.5 guides nothing": [f"run={run}", "guidance=0.5"],
        "inception=x needs metrics=fid": [
            f"run={run}",
            "reference=train",
            "metrics=fd_local_s",
            "inception=x",
        ],
        "has fid twice": [f"run={run}", "reference=train", "metrics=fid,fid"],
        "probe=fast needs metrics=probes": [f"run={run}", "metrics=cknna_local_s", "probe=fast"],
        "probe=slow is unknown": [f"run={run}", "metrics=probes", "probe=slow"],
        "reference=train needs a metric of samples": [
            f"run={run}",
            "metrics=probes",
            "reference=train",
        ],
        "steps=4 needs samples=N: these metrics sample nothing": [
            f"run={run}",
            "metrics=probes",
            "steps=4",
        ],
        "metrics=probes reads the data set, which is not here": [
            f"checkpoint={latents}",
            "format=repa",
            "size=nano",
            "data=imagenet256",
            "metrics=probes",
        ],
        "steps=0 is too few": [f"run={run}", "steps=0"],
        "shift=nan is outside (0, inf)": [f"run={run}", "shift=nan"],
        "data.patch=4 would be another data set": [f"run={run}", "data.patch=4"],
        "data.rot is no key of data=digits": [f"run={run}", "data.rot=x"],
        "protocol=ode is unknown": [f"run={run}", "protocol=ode"],
        "rounding=up is unknown": [f"run={run}", "rounding=up"],
        "needs format=..., size=..., data=...": [f"checkpoint={few}"],
        "there is no checkpoint": ["checkpoint=none.pt", "format=sit", "size=XL", "data=digits"],
        "format=dit is unknown": ["checkpoint=none.pt", "format=dit", "size=XL", "data=digits"],
        "size=XXL is unknown": [*of_few, "size=XXL"],
        "has 4 blocks of width 32 (size=nano), but size=micro has 6": [*of_few, "size=micro"],
        "encoder dinov2_x is unknown; did you mean dinov2": [
            *of_few,
            "size=nano",
            "aligned=dinov2_x",
        ],
        "aligned=timm does not say": [*of_few, "size=nano", "aligned=timm"],
        "aligned=none does not go with run": [f"run={run}", "aligned=none"],
        "was trained on 7 classes": [*of_few, "size=nano"],
        "does not exist": [f"run={run}", "reference=none.npz"],
        "needs reference=": [f"run={run}", "metrics=fid"],
        "encoder.name=x needs metrics=": [f"run={run}", "encoder.name=x"],
        "encoder.name=x needs one encoder": [
            f"run={run}",
            "reference=train",
            "metrics=fid",
            "encoder.name=x",
        ],
        "encoder=timm needs a model": [f"run={run}", "reference=train", "metrics=fd_timm"],
        "did you mean fd_local_s": [f"run={run}", "reference=train", "metrics=fd_local_z"],
        "diffusers" if not installed("diffusers") else "is not staged here": [
            f"checkpoint={latents}",
            "format=repa",
            "size=nano",
            "data=imagenet256",
            "data.decoder=nowhere",
        ],
    }
    for message, words in cases.items():
        code = guarded(main, words)
        said = capsys.readouterr().err
        assert code == 2 and message in said and said.count("\n") == 1, (words, said)


def installed(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_help_has_examples_and_imports_no_torch():
    code = (
        "import sys, bench.evaluate as e; assert e.main(['--help']) == 0; "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Examples:" in done.stdout, done.stderr


def test_a_snapshot_can_be_chosen(run):
    save_snapshot(run, 1984, backbone_of(run).state_dict())
    assert main([f"run={run}", *QUICK, "images=1984"]) == 0
    assert list(run.glob("samples/sde250-000000001984-*/samples_100.npz"))
    (run / "snapshots" / "000000001984.safetensors").unlink()
