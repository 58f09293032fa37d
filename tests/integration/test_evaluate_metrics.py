"""bench.evaluate: metrics of samples and of features, their references, networks,
result files and printed commands.
"""

import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.arms import StandInEncoder, random_backbone
from support.evaluations import (
    QUICK,
    StandInInception,
    backbone_of,
    evaluated,
    few_features,
    latent_words,
    save_latents,
)
from support.runs import run_in_process, tiny_run
from torch import nn

from bench.cli import guarded
from bench.core.data.base import Digits
from bench.core.model.tokens import TokenGrid
from bench.core.store.row_table import row_table
from bench.core.store.runs import read_run, read_runs
from bench.evaluate import EVALUATE
from bench.evaluation.exporters import export_checkpoint
from bench.evaluation.measure import Evaluator
from probes.distances import encoder as encoder_distance
from probes.distances.frechet import distance_of, fit
from probes.distances.reference import adm_parts
from probes.features.knn import knn_predict
from probes.features.store import FeatureGrid, feature_store
from reports.page.commands import measuring_command


def test_a_checkpoint_is_measured_against_the_data_set_that_is_named(tmp_path, monkeypatch):
    words = [
        *latent_words(tmp_path, monkeypatch),
        *QUICK,
        "reference=train",
        "metrics=fd_efficientnet_lite0",
    ]
    words += ["samples=10", "protocol=ode50", "steps=1"]
    encoder = encoder_distance.Extractor(
        "stand-in", "4" * 16, "", "", "", "", lambda x: x.float().mean((2, 3))
    )
    monkeypatch.setattr(Evaluator, "network", lambda *_: None)
    monkeypatch.setattr(encoder_distance.EncoderDistance, "extract_with", lambda *_: encoder)
    with pytest.raises(
        ValueError, match="reference=train needs a data set whose pictures are here"
    ):
        evaluated(words)
    assert evaluated([*words, f"data.root={save_latents(tmp_path / 'latents')}"]) == 0
    (result,) = tmp_path.glob("out/results/*.json")
    row = json.loads(result.read_text())["rows"][0]
    real = [
        np.load(tmp_path / "latents" / split / "images.npy").mean((2, 3))
        for split in ("train", "heldout")
    ]
    assert row["real"] == pytest.approx(distance_of(fit(real[1]), fit(real[0])).value, rel=1e-3)
    assert row["protocol"]["reference"].startswith("imagenet256 train")


def test_features_are_measured_without_samples(run, tmp_path, capsys):
    words = [f"run={run}", "device=cpu", f"cache={tmp_path}"]
    before = set(run.rglob("*"))
    for probe in ("auto", "repa"):
        assert (
            evaluated([*words, "metrics=probes,cknna_local_s", "encoder.steps=2", f"probe={probe}"])
            == 0
        )
    files = [path for path in set(run.rglob("*")) - before if path.is_file()]
    assert {path.parent.name for path in files} == {"results"}, "nothing is sampled"
    rows = sorted((json.loads(file.read_text())["rows"] for file in files), key=len, reverse=True)
    assert {row["protocol"]["name"] for of_file in rows for row in of_file} == {
        "linear_probe_fast", "linear_probe_repa", "knn", "cknna",
    }  # fmt: skip
    assert [len(of_file) for of_file in rows] == [2 * 4 * 5, 2 * 4 * 5, 4 * 5], "CKNNA once"
    places = {(row["metric"], row["block"], row["t"]) for row in rows[0]}
    assert len(places) == len(rows[0])
    data, net = Digits("digits", 2), backbone_of(run)
    store = feature_store(net, data, FeatureGrid((3,), (0.5,)), "b" * 16, tmp_path)
    (knn,) = (row for row in rows[0] if (row["metric"], row["block"], row["t"]) == ("knn", 3, 0.5))
    x, z = (
        torch.from_numpy(store.features(split, 3, 0.5).astype(np.float32))
        for split in ("train", "heldout")
    )
    y, labels = (torch.from_numpy(store.labels(split)) for split in ("train", "heldout"))
    right = knn_predict(x, y, z, classes=10) == labels
    assert knn["value"] == pytest.approx(float(right.double().mean()), abs=1e-6)
    for file in files:
        file.unlink()


def test_features_of_a_released_checkpoint(tmp_path, monkeypatch):
    words = [
        *latent_words(tmp_path, monkeypatch),
        "metrics=probes,cknna_efficientnet_lite0",
        "device=cpu",
    ]
    encoder = StandInEncoder()
    monkeypatch.setattr(Evaluator, "network", lambda *_: encoder)
    without = save_latents(tmp_path / "without", pictures=False)
    with pytest.raises(ValueError, match=r"images\.npy is missing"):
        evaluated([*words, f"data.root={without}"])
    assert evaluated([*words, "metrics=probes", f"data.root={without}"]) == 0
    assert (
        not list(tmp_path.glob("out/samples"))
        and len(list(tmp_path.glob("out/results/evaluate-features-*"))) == 1
    )
    other = export_checkpoint(
        random_backbone(grid=TokenGrid((8, 8), 2, 4), classes=1000, seed=1),
        tmp_path / "b.pt",
        "repa",
    )
    with pytest.raises(ValueError, match="holds results of another checkpoint"):
        evaluated([*words, "metrics=probes", f"data.root={without}", f"checkpoint={other}"])


@pytest.mark.slow
def test_an_arm_without_an_encoder_is_held_against_the_listed_ones(tmp_path):
    words = [
        "images=256",
        "measure=full",
        "snapshots=0",
        "evaluation.encoders=[local_s]",
        "evaluation.samples=64",
    ]
    assert run_in_process([*tiny_run(tmp_path), *words, "evaluation.protocol=ode50"]) == 0
    rows = json.loads(next(tmp_path.glob("digits*/results/features-*.json")).read_text())["rows"]
    cknna = [row for row in rows if row["metric"] == "cknna"]
    assert len(cknna) == 4 * 5 and {row["protocol"]["encoder"] for row in cknna} == {"local_s"}
    assert {row["metric"] for row in rows if row.get("encoder") == "local_s"} == {
        "encoder_linear_probe", "encoder_knn", "encoder_structure",
    }  # fmt: skip


def test_a_printed_command_measures_as_the_row_was_measured(run, tmp_path, monkeypatch):
    few_features(monkeypatch)
    monkeypatch.setattr("probes.distances.fid.load_inception", lambda path: StandInInception())
    asked = {
        "fid": ["reference=train", "inception=weights.pth"],
        "fd_local_s": ["reference=train", "encoder.steps=2"],
        "cknna_local_s": ["encoder.steps=2"],
        "probes": ["probe=fast"],
    }
    before = {path: path.read_text() for path in run.glob("results/*.json")}
    other = replace(read_run(run), folder=tmp_path / "other")
    for metric, words in asked.items():
        sampled = [*QUICK, "samples=70"] if metric.startswith("f") else ["device=cpu"]
        assert (
            evaluated([f"run={run}", f"metrics={metric}", *words, *sampled, f"cache={tmp_path}"])
            == 0
        )
        (file,) = set(run.glob("results/*.json")) - set(before)
        frame = row_table(*read_runs(run.parent))
        of_kind = frame[frame["kind"] == json.loads(file.read_text())["kind"]]
        assert len(of_kind)
        for like in of_kind.to_dict("records"):
            python, _, module, *printed = shlex.split(measuring_command(other, like))
            assert (python, module) == ("python", "bench.evaluate")
            expected = {f"metrics={metric}", *words, f"run={other.folder}"}
            assert expected <= set(printed)
            assert any(word.startswith("samples=") for word in printed) == metric.startswith("f")
            assert EVALUATE.parse(printed)["metrics"] == (metric,)
        file.unlink()


def test_metrics_become_rows_with_their_protocol(run, tmp_path, monkeypatch):
    from PIL import Image

    torch.manual_seed(0)
    monkeypatch.setattr("probes.distances.fid.load_inception", lambda path: StandInInception())
    few_features(monkeypatch)
    data = Digits("digits", 2)
    for i, picture in enumerate(data.images("train", slice(0, 150))):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{i:03d}.png")
    for reference in (tmp_path, "train"):
        assert (
            evaluated(
                [f"run={run}", *QUICK, f"reference={reference}", f"cache={tmp_path / 'cache'}"]
            )
            == 0
        )
    assert len(list(run.glob("results/evaluate-*.json"))) == 2, (
        "one reference's rows do not replace the other's"
    )
    frame = row_table(*read_runs(run.parent))
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
        assert evaluated([*words, "metrics=fd_local_s", f"encoder.steps={steps}"]) == 0
    few_features(monkeypatch)
    for name in ("one", "other"):
        network = StandInInception()
        network.fingerprint = name
        monkeypatch.setattr(
            "probes.distances.fid.load_inception", lambda path, network=network: network
        )
        assert evaluated([*words, f"inception={name}"]) == 0
    files = sorted(set(run.glob("results/*.json")) - before)
    rows = [json.loads(file.read_text())["rows"] for file in files]
    weights = {(of[0]["metric"], of[0]["protocol"]["extractor_weights"]) for of in rows}
    assert len(files) == len(weights) == 4 and {metric for metric, _ in weights} == {
        "fd_local_s",
        "fid",
    }


def test_metrics_related_to_a_released_models_encoder_are_marked(run, tmp_path, monkeypatch):
    class Model(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    network = Model()
    network.fingerprint = "3" * 16
    monkeypatch.setattr(Evaluator, "network", lambda *_: network)
    monkeypatch.setattr(encoder_distance, "DGM_SIDE", 8)
    marks = {}
    for fmt, aligned in (
        ("repa", ""),
        ("selfflow", ""),
        ("repa", "none"),
        ("selfflow", "dinov2_g"),
        ("repa", "mae_l"),
    ):
        file = export_checkpoint(backbone_of(run), tmp_path / f"{fmt}.pt", fmt)
        out = tmp_path / f"{fmt}-{aligned}"
        words = [
            f"checkpoint={file}",
            f"format={fmt}",
            "size=nano",
            "data=digits",
            f"out={out}",
            "protocol=ode50",
        ]
        words += [f"aligned={aligned}"] if aligned else []
        words += ["steps=1", "samples=64", "device=cpu", "reference=train", "metrics=fd_dinov2"]
        assert evaluated(words) == 0
        (result,) = out.glob("results/*.json")
        marks[fmt, aligned] = json.loads(result.read_text())["rows"][0]["related"]
    marked = "extractor and aligned encoder are both vit trained on LVD-142M"
    assert marks == {
        ("repa", ""): marked,
        ("selfflow", ""): "",
        ("repa", "none"): "",
        ("selfflow", "dinov2_g"): marked,
        ("repa", "mae_l"): "",
    }


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
    assert guarded(evaluated, words) == 2
    assert "there are no Inception weights at" in capsys.readouterr().err
    assert list(run.glob("samples/*/samples_100.npz")) == before, "told before anything is sampled"


def test_a_bad_reference_is_told_before_anything_is_sampled(run, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.setattr("probes.distances.fid.load_inception", lambda path: StandInInception())
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
    monkeypatch.setattr(
        "bench.evaluation.samples.SampleStore.make", lambda *_, **__: pytest.fail("sampled")
    )
    for (name, metrics), message in cases.items():
        words = [
            f"run={run}",
            *QUICK,
            "seed=9",
            f"reference={tmp_path / name}",
            f"metrics={metrics}",
        ]
        assert guarded(evaluated, [*words, f"cache={tmp_path / 'cache'}"]) == 2
        assert message in capsys.readouterr().err
    assert (
        "missing: mu_s and sigma_s of spatial.npz are (5,)"
        in adm_parts(tmp_path / "spatial.npz")[2]["sfid"]
    )
