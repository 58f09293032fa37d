"""bench.evaluate: samples as one .npz, resumed, in any number of processes; metrics; bad input."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import ROOT, StandInEncoder, random_backbone, run_cli, run_in_process, tiny_run
from torch import nn

from bench.command_line import guarded
from bench.configuration import build, compose
from bench.core import results
from bench.core.backbone import SiT
from bench.core.checkpoints import load_snapshot, save_snapshot, snapshots
from bench.core.data import Digits, pixels_to_uint8
from bench.core.data_latents import Decoder
from bench.core.distributed import Processes
from bench.core.protocols import sampling_protocol
from bench.core.sampling import generate, velocity_of
from bench.core.sizes import SIZES
from bench.core.tokens import TokenGrid
from bench.evaluate import main
from bench.evaluate_reference import check_reference
from bench.evaluate_words import metrics_of, parse
from bench.exporters import export_checkpoint
from bench.sample_file import SampleFile
from probes import encoder_distance
from probes.features import FeatureGrid, feature_store
from probes.frechet import Moments, distance_of, fit
from probes.knn import knn_accuracy
from reports.commands import measuring_command
from reports.runs import Run

CPU = torch.device("cpu")
QUICK = ("protocol=sde250", "steps=4", "samples=100", "device=cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder."""
    runs = tmp_path_factory.mktemp("runs")
    done = run_cli("bench.run", *tiny_run(runs))
    assert done.returncode == 0, done.stderr
    return next(path for path in runs.iterdir() if (path / "run.json").exists())


def backbone_of(run):
    net = SiT(Digits("digits", 2).grid, SIZES["nano"], 10)
    return load_snapshot(snapshots(run)[2048], net).requires_grad_(False)


def samples_of(folder):
    (path,) = folder.glob("samples/*/samples_100.npz")
    return path


def test_samples_are_those_of_the_protocol_and_a_checkpoint_gives_the_same_bytes(run, tmp_path):
    assert main([f"run={run}", *QUICK]) == 0
    path = samples_of(run)
    found = np.load(path)["arr_0"]
    assert found.dtype == np.uint8 and found.shape == (100, 8, 8, 3)
    protocol = sampling_protocol("sde250", steps=4)
    tokens, _ = generate(velocity_of(backbone_of(run)), protocol, (16, 4), 10, 100, seed=0)
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
            main([f"checkpoint={file}", f"format={fmt}", "size=nano", "data=digits", f"out={tmp_path / fmt}", *QUICK])
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
    return torch.randint(0, 256, (64, 3, 4, 4), generator=draw, dtype=torch.uint8), torch.rand(64, generator=draw) > 0.1


@dataclass(frozen=True)
class Sharing(Processes):
    """One of several processes, told what the main one found."""

    found: list

    def first(self, value):
        return self.found


def keeping(numbers):
    """make_block that keeps the numbers it is asked for."""
    return lambda number: numbers.append(number) or make_block(number)


def test_cut_off_samples_resume_and_the_split_changes_nothing(tmp_path):
    whole = SampleFile(tmp_path / "whole", 200, 64)
    whole.write(make_block, Processes(0, 1, CPU))
    whole.finish()
    made = []

    def failing(number):
        made.append(number)
        if len(made) == 3:
            raise KeyboardInterrupt
        return make_block(number)

    cut = SampleFile(tmp_path / "cut", 200, 64)
    with pytest.raises(KeyboardInterrupt):
        cut.write(failing, Processes(0, 1, CPU))
    assert not cut.done()
    cut.write(failing, Processes(0, 1, CPU))
    cut.finish()
    assert made == [0, 1, 2, 2, 3] and cut.path.read_bytes() == whole.path.read_bytes()
    split = SampleFile(tmp_path / "split", 200, 64)
    todo, shares = split.missing(), []
    for rank in (1, 0, 2):
        split.write(keeping(shares), Sharing(rank, 3, CPU, todo))
    assert shares == [1, 0, 3, 2]
    for number in (1, 2):  # what is lacking is dealt out, wherever it lies
        split._block(number).unlink()
    todo, shares = split.missing(), []
    for rank in (0, 1):
        split.write(keeping(shares), Sharing(rank, 2, CPU, todo))
    assert shares == [1, 2]
    split.finish()
    assert split.path.read_bytes() == whole.path.read_bytes()
    parts = [make_block(number) for number in range(4)]
    pictures = torch.cat([p for p, _ in parts])[:200]
    finite = torch.cat([f for _, f in parts])[:200]
    expected = pictures[finite].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.load(whole.path)["arr_0"], expected) and whole.not_finite() == int((~finite).sum()) > 0


def test_a_damaged_block_is_removed_and_said(tmp_path):
    samples = SampleFile(tmp_path, 100, 64)
    samples.write(make_block, Processes(0, 1, CPU))
    block = tmp_path / "blocks" / "000001.npy"
    block.write_bytes(block.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"block 1 .* was damaged and is removed"):
        samples.finish()
    samples.write(make_block, Processes(0, 1, CPU))
    samples.finish()
    assert samples.done()


class StandInVAE(nn.Module):
    """A decoder's interface: latents [n, 4, h, w] -> .sample [n, 3, 8 h, 8 w]."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def decode(self, latents):
        enlarged = nn.functional.interpolate(latents[:, :3], scale_factor=8)
        return SimpleNamespace(sample=(0.18215 * self.scale * enlarged).detach())


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
    monkeypatch.setattr("bench.core.data_latents.Decoder.load", lambda self: StandInVAE(1.0))
    net = random_backbone(grid=TokenGrid((8, 8), 2, 4), classes=1000)
    file = export_checkpoint(net, tmp_path / "latents.pt", "repa")
    return [f"checkpoint={file}", "format=repa", "size=nano", "data=imagenet256", f"out={tmp_path / 'out'}"]


def test_a_checkpoint_is_measured_against_the_data_set_that_is_named(tmp_path, monkeypatch):
    words = [*latent_words(tmp_path, monkeypatch), *QUICK, "reference=train", "metrics=fd_efficientnet_lite0"]
    words += ["samples=10", "protocol=ode50", "steps=1"]
    encoder = encoder_distance.Extractor("stand-in", "4" * 16, "", "", "", "", lambda x: x.float().mean((2, 3)))
    monkeypatch.setattr("bench.evaluate_networks._extractor", lambda *_: encoder)
    with pytest.raises(ValueError, match="reference=train needs a data set whose pictures are here"):
        main(words)
    assert main([*words, f"data.root={save_latents(tmp_path / 'latents')}"]) == 0
    (result,) = tmp_path.glob("out/results/*.json")
    row = json.loads(result.read_text())["rows"][0]
    real = [np.load(tmp_path / "latents" / split / "images.npy").mean((2, 3)) for split in ("train", "heldout")]
    assert row["real"] == pytest.approx(distance_of(fit(real[1]), fit(real[0])).value, rel=1e-3)
    assert row["protocol"]["reference"].startswith("imagenet256 train")


def test_samples_of_another_decoder_are_other_samples(tmp_path, monkeypatch):
    grid, draw = TokenGrid((8, 8), 2, 4), torch.Generator().manual_seed(0)
    file = export_checkpoint(SiT(grid, SIZES["nano"], 1000).initialise(draw), tmp_path / "latents.pt", "repa")
    words = [f"checkpoint={file}", "format=repa", "size=nano", "data=imagenet256", f"out={tmp_path}", *QUICK]
    for scale in (1.0, 0.5):
        monkeypatch.setattr("bench.core.data_latents.Decoder.load", lambda self, scale=scale: StandInVAE(scale))
        assert main([*words, "data.decoder=vae/sd-vae-ft-ema"]) == 0
    files = list(tmp_path.glob("samples/*/samples_100.npz"))
    first, second = (np.load(file)["arr_0"] for file in files)
    assert first.shape == second.shape == (100, 64, 64, 3) and not np.array_equal(first, second)
    one, other = (Decoder("vae/sd-vae-ft-ema"), Decoder("vae/sd-vae-ft-mse"))
    assert one.record()["decoder"] == "sd-vae-ft-ema" and other.record()["decoder"] == "sd-vae-ft-mse"
    assert len(one.record()["decoder_weights"]) == 16


def test_decoding_in_bf16_rounds_the_weights_and_leaves_the_float32_ones(monkeypatch):
    vae = StandInVAE(0.12345678)
    monkeypatch.setattr("bench.core.data_latents.Decoder.load", lambda self: vae)
    decoder, latents = Decoder("any"), torch.randn(2, 4, 2, 2)
    plain, weights = decoder.pixels(latents), decoder.record()
    rounded = decoder.pixels(latents, "bf16")
    assert rounded.dtype == torch.float32 and 0 < (rounded - plain).abs().max() < 0.02 * plain.abs().max()
    assert torch.equal(decoder.pixels(latents), plain) and decoder.record() == weights


def test_decoding_in_float32_allows_no_tf32(monkeypatch):
    seen = []

    class Watched(StandInVAE):
        def decode(self, latents):
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
            return super().decode(latents)

    monkeypatch.setattr("bench.core.data_latents.Decoder.load", lambda self: Watched(1.0))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Decoder("any").pixels(torch.randn(2, 4, 2, 2))
    assert seen == [(False, False)] and torch.backends.cudnn.allow_tf32


def test_pictures_that_a_decoder_spoils_are_counted(tmp_path, monkeypatch, capsys):
    class Spoiling(StandInVAE):
        def decode(self, latents):
            decoded = super().decode(latents).sample
            decoded[latents.amax((1, 2, 3)) > latents.amax((1, 2, 3)).median()] = float("nan")
            return SimpleNamespace(sample=decoded)

    monkeypatch.setattr("bench.core.data_latents.Decoder.load", lambda self: Spoiling(1.0))
    file = export_checkpoint(SiT(TokenGrid((8, 8), 2, 4), SIZES["nano"], 1000), tmp_path / "latents.pt", "repa")
    words = [f"checkpoint={file}", "format=repa", "size=nano", "data=imagenet256", f"out={tmp_path}", *QUICK]
    assert main([*words, "data.decoder=any"]) == 0
    pictures = np.load(next(tmp_path.glob("samples/*/samples_100.npz")))["arr_0"]
    left_out = 100 - len(pictures)  # of 16 decoded at a time, 8: of 64 + 36 samples, 32 + 16 and up to 4
    assert 48 <= left_out <= 52 and f"{left_out} samples were not finite" in capsys.readouterr().out


class StandInInception(nn.Module):
    """The interface of Inception on 64 random features: pool, logits and the branch that sFID reads."""

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


def test_features_are_measured_without_samples(run, tmp_path, capsys):
    words = [f"run={run}", "device=cpu", f"cache={tmp_path}"]
    before = set(run.rglob("*"))
    for probe in ("auto", "repa"):
        assert main([*words, "metrics=probes,cknna_local_s", "encoder.steps=2", f"probe={probe}"]) == 0
    files = [path for path in set(run.rglob("*")) - before if path.is_file()]
    assert len(files) == 2 and all(path.parent.name == "results" for path in files), "nothing is sampled"
    rows = [json.loads(file.read_text())["rows"] for file in files]
    assert {row["protocol"]["name"] for row in (*rows[0], *rows[1])} == {
        "linear_probe_fast", "linear_probe_repa", "knn", "cknna",
    }  # fmt: skip
    places = {(row["metric"], row["block"], row["t"]) for row in rows[0]}
    assert len(places) == len(rows[0]) == 3 * 4 * 5
    data, net = Digits("digits", 2), backbone_of(run)
    store = feature_store(net, data, FeatureGrid((3,), (0.5,)), "b" * 16, tmp_path)
    (knn,) = (row for row in rows[0] if (row["metric"], row["block"], row["t"]) == ("knn", 3, 0.5))
    x, z = (torch.from_numpy(store.features(split, 3, 0.5).astype(np.float32)) for split in ("train", "heldout"))
    y, labels = (torch.from_numpy(store.labels(split)) for split in ("train", "heldout"))
    assert knn["value"] == pytest.approx(knn_accuracy(x, y, z, labels), abs=1e-6)
    for file in files:
        file.unlink()


def test_features_of_a_released_checkpoint(tmp_path, monkeypatch):
    words = [*latent_words(tmp_path, monkeypatch), "metrics=probes,cknna_efficientnet_lite0", "device=cpu"]
    encoder = StandInEncoder()
    monkeypatch.setattr("bench.evaluate_features.encoder_of", lambda *_: encoder)
    without = save_latents(tmp_path / "without", pictures=False)
    with pytest.raises(ValueError, match="images.npy is missing"):
        main([*words, f"data.root={without}"])
    assert main([*words, "metrics=probes", f"data.root={without}"]) == 0
    assert not list(tmp_path.glob("out/samples")) and len(list(tmp_path.glob("out/results/evaluate-features-*"))) == 1
    other = export_checkpoint(
        random_backbone(grid=TokenGrid((8, 8), 2, 4), classes=1000, seed=1), tmp_path / "b.pt", "repa"
    )
    with pytest.raises(ValueError, match="holds results of another checkpoint"):
        main([*words, "metrics=probes", f"data.root={without}", f"checkpoint={other}"])


def test_an_arm_without_an_encoder_is_held_against_the_listed_ones(tmp_path):
    words = ["images=256", "measure=full", "snapshots=0", "evaluation.encoders=[local_s]", "evaluation.samples=64"]
    assert run_in_process([*tiny_run(tmp_path), *words, "evaluation.protocol=ode50"]) == 0
    rows = json.loads(next(tmp_path.glob("digits*/results/features-*.json")).read_text())["rows"]
    cknna = [row for row in rows if row["metric"] == "cknna"]
    assert len(cknna) == 4 * 5 and {row["protocol"]["encoder"] for row in cknna} == {"local_s"}
    assert {row["metric"] for row in rows if row.get("encoder") == "local_s"} == {
        "encoder_linear_probe", "encoder_knn", "encoder_structure",
    }  # fmt: skip


def test_a_printed_command_measures_as_the_row_was_measured(run, tmp_path, monkeypatch):
    few_features(monkeypatch)
    monkeypatch.setattr("probes.inception.load_inception", lambda path: StandInInception())
    asked = {
        "fid": ["reference=train", "inception=weights.pth"],
        "fd_local_s": ["reference=train", "encoder.steps=2"],
        "cknna_local_s": ["encoder.steps=2"],
        "probes": ["probe=fast"],
    }
    before = {path: path.read_text() for path in run.glob("results/*.json")}
    other = Run("other", tmp_path / "other", {}, {}, {}, {}, {})
    for metric, words in asked.items():
        sampled = [*QUICK, "samples=70"] if metric.startswith("f") else ["device=cpu"]
        assert main([f"run={run}", f"metrics={metric}", *words, *sampled, f"cache={tmp_path}"]) == 0
        (file,) = set(run.glob("results/*.json")) - set(before)
        frame = results.load(run.parent)
        for like in frame[frame["kind"] == json.loads(file.read_text())["kind"]].to_dict("records"):
            python, _, module, *printed = shlex.split(measuring_command(other, like))
            told = parse(printed)
            expected = {"metrics": metric} | dict(word.split("=") for word in words) | {"run": str(other.folder)}
            assert (python, module) == ("python", "bench.evaluate") and expected.items() <= told.items()
            assert ("samples" in told) == metric.startswith("f") and metrics_of(told) == [metric]
        file.unlink()


def test_metrics_become_rows_with_their_protocol(run, tmp_path, monkeypatch):
    from PIL import Image

    torch.manual_seed(0)
    monkeypatch.setattr("probes.inception.load_inception", lambda path: StandInInception())
    few_features(monkeypatch)
    data = Digits("digits", 2)
    for i, picture in enumerate(data.images("train", slice(0, 150))):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{i:03d}.png")
    for reference in (tmp_path, "train"):
        assert main([f"run={run}", *QUICK, f"reference={reference}", f"cache={tmp_path / 'cache'}"]) == 0
    assert len(list(run.glob("results/evaluate-*.json"))) == 2, "one reference's rows do not replace the other's"
    frame = results.load(run.parent)
    frame = frame[frame["kind"].str.startswith("evaluate")]
    assert set(frame["metric"]) == {"fid", "sfid", "is", "precision", "recall", "kid"}
    row = frame[frame["metric"] == "fid"].iloc[0]
    assert row["value"] > 0 and row["n"] == 100 and row["images"] == 2048
    sampling = row["protocol"]["sampling"]
    assert (
        sampling["steps"] == 4
        and sampling["rounding"] == "truncate"
        and sampling["samples"] == 100
        and sampling["seed"] == 0
    )


def test_another_encoder_or_inception_replaces_no_results(run, tmp_path, monkeypatch):
    words = [f"run={run}", *QUICK, "samples=80", "reference=train", f"cache={tmp_path}"]
    before = set(run.glob("results/*.json"))
    for steps in (2, 3, 3):
        assert main([*words, "metrics=fd_local_s", f"encoder.steps={steps}"]) == 0
    few_features(monkeypatch)
    for name in ("one", "other"):
        network = StandInInception()
        network.fingerprint = name
        monkeypatch.setattr("probes.inception.load_inception", lambda path, network=network: network)
        assert main([*words, f"inception={name}"]) == 0
    files = sorted(set(run.glob("results/*.json")) - before)
    rows = [json.loads(file.read_text())["rows"] for file in files]
    weights = {(of[0]["metric"], of[0]["protocol"]["extractor_weights"]) for of in rows}
    assert len(files) == len(weights) == 4 and {metric for metric, _ in weights} == {"fd_local_s", "fid"}


def test_metrics_related_to_a_released_models_encoder_are_marked(run, tmp_path, monkeypatch):
    class Model(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    monkeypatch.setattr(
        "bench.evaluate_networks._extractor", lambda name, *_: encoder_distance.dgm_dinov2(Model(), "3" * 16)
    )
    monkeypatch.setattr(encoder_distance, "DGM_SIDE", 8)
    marks = {}
    for fmt, aligned in (("repa", ""), ("selfflow", ""), ("repa", "none"), ("selfflow", "dinov2_g"), ("repa", "mae_l")):
        file = export_checkpoint(backbone_of(run), tmp_path / f"{fmt}.pt", fmt)
        out = tmp_path / f"{fmt}-{aligned}"
        words = [f"checkpoint={file}", f"format={fmt}", "size=nano", "data=digits", f"out={out}", "protocol=ode50"]
        words += [f"aligned={aligned}"] if aligned else []
        words += ["steps=1", "samples=64", "device=cpu", "reference=train", "metrics=fd_dinov2"]
        assert main(words) == 0
        (result,) = out.glob("results/*.json")
        marks[fmt, aligned] = json.loads(result.read_text())["rows"][0]["related"]
    marked = "extractor and aligned encoder are both vit trained on LVD-142M"
    assert marks == {
        ("repa", ""): marked, ("selfflow", ""): "", ("repa", "none"): "", ("selfflow", "dinov2_g"): marked,
        ("repa", "mae_l"): "",
    }  # fmt: skip


def few_features(monkeypatch):
    """Gaussians of few features, since sFID's 2,023 are slow and beside the point here."""

    class Few(Moments):
        def add(self, features):
            super().add(features[:, :32])

    monkeypatch.setattr("probes.fid.fit", lambda features: fit(features[:, :32]))
    monkeypatch.setattr("probes.fid_reference.Moments", Few)


def test_samples_that_are_not_finite_are_counted(run, tmp_path):
    net = backbone_of(run)
    with torch.no_grad():
        net.y_embedder.embedding_table.weight[4] = float("nan")
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
    done = run_cli("bench.evaluate", *words)
    assert done.returncode == 0 and "10 samples were not finite" in done.stdout, done.stderr
    path = samples_of(tmp_path)
    assert len(np.load(path)["arr_0"]) == 90 and json.loads(path.with_suffix(".json").read_text())["not_finite"] == 10


def test_rounding_is_in_one_place():
    pixels = torch.tensor([-2.0, -1.0, 0.0, 0.003, 1.0, 7.0])
    assert pixels_to_uint8(pixels, "truncate").tolist() == [0, 0, 127, 127, 255, 255]
    assert pixels_to_uint8(pixels, "round_half_up").tolist() == [0, 0, 128, 128, 255, 255]
    with pytest.raises(ValueError, match="rounding=up is unknown"):
        pixels_to_uint8(pixels, "up")


def test_bad_input_is_one_sentence_and_exit_code_2(run, tmp_path, capsys):
    net = SiT(build(compose([])["data"]).grid, SIZES["nano"], 7)
    few = export_checkpoint(net, tmp_path / "few.pt", "repa")
    latents = export_checkpoint(SiT(type(net.grid)((8, 8), 2, 4), SIZES["nano"], 1000), tmp_path / "latents.pt", "repa")
    of_few = [f"checkpoint={few}", "format=repa", "data=digits", f"out={tmp_path}"]
    cases = {
        "say what to evaluate": ["samples=10"],
        "did you mean samples": [f"run={run}", "sample=10"],
        "is no folder of a run": [f"run={tmp_path}"],
        "has snapshots at": [f"run={run}", "images=77"],
        "samples=x is not a count": [f"run={run}", "samples=x"],
        "guided_channels=2: the data has 1 channel": [f"run={run}", "guided_channels=2", "guidance=1.5"],
        "guided_channels=1 says nothing without guidance above 1": [f"run={run}", "guided_channels=1"],
        "guidance_high=0.7 says nothing": [f"run={run}", "guidance=1", "guidance_high=0.7"],
        "guidance=0.5 guides nothing": [f"run={run}", "guidance=0.5"],
        "inception=x needs metrics=fid": [f"run={run}", "reference=train", "metrics=fd_local_s", "inception=x"],
        "has fid twice": [f"run={run}", "reference=train", "metrics=fid,fid"],
        "probe=fast needs metrics=probes": [f"run={run}", "metrics=cknna_local_s", "probe=fast"],
        "probe=slow is unknown": [f"run={run}", "metrics=probes", "probe=slow"],
        "reference=train needs a metric of samples": [f"run={run}", "metrics=probes", "reference=train"],
        "steps=4 needs samples=N: these metrics sample nothing": [f"run={run}", "metrics=probes", "steps=4"],
        "metrics=probes reads the data set, which is not here": [
            f"checkpoint={latents}", "format=repa", "size=nano", "data=imagenet256", "metrics=probes",
        ],
        "steps=0 is too few": [f"run={run}", "steps=0"],
        "shift=nan of the times": [f"run={run}", "shift=nan"],
        "data.patch=4 would be another data set": [f"run={run}", "data.patch=4"],
        "data.rot is no key of data=digits": [f"run={run}", "data.rot=x"],
        "protocol=ode is unknown": [f"run={run}", "protocol=ode"],
        "rounding=up is unknown": [f"run={run}", "rounding=up"],
        "needs format=..., size=..., data=...": [f"checkpoint={few}"],
        "there is no checkpoint": ["checkpoint=none.pt", "format=sit", "size=XL", "data=digits"],
        "format=dit is unknown": ["checkpoint=none.pt", "format=dit", "size=XL", "data=digits"],
        "size=XXL is unknown": [*of_few, "size=XXL"],
        "has 4 blocks of width 32 (size=nano), but size=micro has 6": [*of_few, "size=micro"],
        "encoder dinov2_x is unknown; did you mean dinov2": [*of_few, "size=nano", "aligned=dinov2_x"],
        "aligned=timm does not say": [*of_few, "size=nano", "aligned=timm"],
        "aligned=none does not go with run": [f"run={run}", "aligned=none"],
        "was trained on 7 classes": [*of_few, "size=nano"],
        "does not exist": [f"run={run}", "reference=none.npz"],
        "needs reference=": [f"run={run}", "metrics=fid"],
        "encoder.name=x needs metrics=": [f"run={run}", "encoder.name=x"],
        "encoder.name=x needs one encoder": [f"run={run}", "reference=train", "metrics=fid", "encoder.name=x"],
        "encoder=timm needs a model": [f"run={run}", "reference=train", "metrics=fd_timm"],
        "did you mean fd_local_s": [f"run={run}", "reference=train", "metrics=fd_local_z"],
        "diffusers" if not installed("diffusers") else "is not staged here": [
            f"checkpoint={latents}", "format=repa", "size=nano", "data=imagenet256", "data.decoder=nowhere",
        ],
    }  # fmt: skip
    for message, words in cases.items():
        code = guarded(main, words)
        said = capsys.readouterr().err
        assert code == 2 and message in said and said.count("\n") == 1, (words, said)


def installed(name):
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_a_missing_inception_is_one_message(run, tmp_path, capsys):
    words = [
        f"run={run}",
        *QUICK,
        "reference=train",
        f"inception={tmp_path / 'none.pth'}",
        f"cache={tmp_path}",
        "seed=8",
    ]
    before = list(run.glob("samples/*/samples_100.npz"))
    assert guarded(main, words) == 2
    assert "there are no Inception weights at" in capsys.readouterr().err
    assert list(run.glob("samples/*/samples_100.npz")) == before, "told before anything is sampled"


def test_a_bad_reference_is_told_before_anything_is_sampled(run, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.setattr("probes.inception.load_inception", lambda path: StandInInception())
    arrays = {"mu": np.zeros(2048), "sigma": np.eye(2048)}
    for name, changes in {
        "narrow": {"mu": np.zeros(20)}, "nan": {"mu": np.full(2048, np.nan)}, "without": {},
        "spatial": {"mu_s": np.zeros(5), "sigma_s": np.eye(5)},
    }.items():  # fmt: skip
        np.savez(tmp_path / f"{name}.npz", **(arrays | changes))
    for folder, sides in (("unlike", (8, 4)), ("one", (8,))):
        (tmp_path / folder).mkdir()
        for i, side in enumerate(sides):
            Image.fromarray(np.zeros((8, side, 3), np.uint8)).save(tmp_path / folder / f"{i}.png")
    (tmp_path / "empty").mkdir()
    cases = {
        ("narrow.npz", "fid"): "those of Inception's features (2048,)",
        ("nan.npz", "fid"): "not finite",
        ("without.npz", "fd_local_s"): "has no array `arr_0`",
        ("unlike", "fid"): "pictures are of unlike sizes",
        ("one", "fid"): "has 1 picture(s): a distance needs at least two",
        ("empty", "fd_local_s"): "there is no picture",
    }
    monkeypatch.setattr("bench.sample_file.SampleFile.write", lambda *_, **__: pytest.fail("sampled"))
    for (name, metrics), message in cases.items():
        words = [f"run={run}", *QUICK, "seed=9", f"reference={tmp_path / name}", f"metrics={metrics}"]
        assert guarded(main, [*words, f"cache={tmp_path / 'cache'}"]) == 2
        assert message in capsys.readouterr().err
    assert (
        "missing: mu_s and sigma_s of spatial.npz are (5,)"
        in check_reference(tmp_path / "spatial.npz", ["fid"])["sfid"]
    )


def test_help_has_examples_and_imports_no_torch():
    code = "import sys, bench.evaluate as e; assert e.main(['--help']) == 0; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Examples:" in done.stdout, done.stderr


def test_a_snapshot_can_be_chosen(run):
    save_snapshot(run, 1984, backbone_of(run).state_dict())
    assert main([f"run={run}", *QUICK, "images=1984"]) == 0
    assert list(run.glob("samples/sde250-000000001984-*/samples_100.npz"))
    (run / "snapshots" / "000000001984.safetensors").unlink()
