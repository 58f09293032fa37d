"""bench.export: what it writes gives the samples that the run gives, read by diffusers itself and
by our own reader of released formats.
"""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.arms import random_backbone
from support.evaluations import save_latents, save_vae
from support.runs import only_run, run_in_process, tiny_run

from bench.core.compat import import_vision
from bench.core.data.base import Digits, pixels_to_uint8
from bench.core.data.latents import LatentData
from bench.core.model.sampling import sample_block, velocity_of
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.sizes import SIZES
from bench.core.model.streams import generator
from bench.core.store import checkpoints, weight_files
from bench.evaluation.exporters import to_theirs
from bench.evaluation.released import import_checkpoint
from bench.evaluation.sharing import share
from bench.evaluation.subject import Subject
from bench.export import EXPORT


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = ["method=selfflow", "measure=full", "evaluation.metrics=[heldout_loss]"]
    assert run_in_process(tiny_run(runs, *words)) == 0
    return only_run(runs)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads a shared folder with diffusers, its code kept with the test."""
    pipelines = import_vision("diffusers.pipelines.pipeline_utils")
    cached = "diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE"
    monkeypatch.setattr(cached, str(tmp_path / "modules"))

    def load(folder, **told):
        pipe = pipelines.DiffusionPipeline.from_pretrained(folder, **told)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return load


def random_weights(run):
    """In the place of the run's last snapshot: after few steps a model's output is all but zero."""
    backbone = random_backbone(SIZES["nano"], Digits("digits", 2).grid, 10)
    checkpoints.save_snapshot(run, max(weight_files.snapshots(run)), backbone.state_dict())
    return backbone


def test_a_pipeline_of_diffusers_gives_our_samples(run, tmp_path, loaded, capsys):
    backbone = random_weights(run)
    out = tmp_path / "shared"
    assert EXPORT.main([f"run={run}", "format=diffusers", f"out={out}"]) == 0
    assert "CC BY 4.0" in capsys.readouterr().out
    with pytest.raises(ValueError, match="trust_remote_code"):
        loaded(out)
    pipe = loaded(out, trust_remote_code=True)

    grid = backbone.grid
    for guidance in (1.0, 2.0):
        protocol = sampling_protocol("ode50", state="float32", labels="balanced", guidance=guidance)
        shape = (grid.tokens, grid.token_dim)
        tokens, labels = sample_block(velocity_of(backbone), protocol, shape, 10, 0, 0, "cpu")
        noise = torch.randn(64, *shape, generator=generator(0, "sample_noise", 0))
        made = pipe(
            class_labels=labels,
            latents=grid.unpatchify(noise),
            guidance_scale=guidance,
            output_type="latent",
        ).images
        torch.testing.assert_close(made, grid.unpatchify(tokens), rtol=1e-4, atol=1e-4)
    pictures = pipe(class_labels=[3, 5], num_inference_steps=2).images
    assert [picture.size for picture in pictures] == [(8, 8), (8, 8)]
    with pytest.raises(ValueError, match="class_labels: give a list of numbers from 0 to 9"):
        pipe(class_labels=[11])


def test_latents_are_decoded_by_the_autoencoder_that_the_run_names(tmp_path, loaded):
    save_vae(tmp_path / "vae")
    data = LatentData("latents", str(save_latents(tmp_path / "data")), 2, 1000, f"{tmp_path}/vae")
    backbone = random_backbone(SIZES["nano"], data.grid, 1000)
    subject = Subject(
        backbone=backbone,
        weights="ema",
        sha256="",
        decode=data.decode,
        decoded_by=data.decoded_by,
        data=data,
        data_name="latents",
        prompts=data.prompts,
        folder=tmp_path / "run",
        images=64,
        aligned=None,
    )
    share(subject, tmp_path / "shared", "none", data.decoder)
    pipe = loaded(tmp_path / "shared", trust_remote_code=True)
    told = {"class_labels": [7, 999], "num_inference_steps": 2}
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latents = pipe(**told, latents=noise, output_type="latent").images
    pictures = pipe(**told, latents=noise, output_type="np").images
    expected = pixels_to_uint8(data.decode(data.grid.patchify(latents)), "round_half_up")
    assert pictures.shape == (2, 64, 64, 3)
    found = torch.from_numpy((pictures * 255).round()).permute(0, 3, 1, 2)
    assert (found - expected).abs().max() <= 1  # a half may fall to either side


def test_a_card_says_what_the_model_is_and_what_was_measured(run, tmp_path):
    out = tmp_path / "shared"
    EXPORT.main([f"run={run}", "format=diffusers", f"out={out}", "licence=mine | all of it"])
    card = (out / "README.md").read_text()
    assert "| licence of the data | mine \\| all of it |" in card
    assert "| heldout_loss |" in card and "method=selfflow" in card
    assert str(run.parent) not in card  # nothing of this machine
    index = json.loads((out / "model_index.json").read_text())
    assert index["autoencoder"] is None and index["latent_scale"] == 1.0
    state = load_file(out / "transformer" / "diffusion_pytorch_model.safetensors")
    there = weight_files.snapshots(run)
    expected = load_file(there[max(there)])
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)


@pytest.mark.parametrize("fmt", ["sit", "repa", "selfflow"])
def test_a_file_of_a_released_format_is_read_back(run, fmt, tmp_path, capsys):
    backbone, file = random_weights(run), tmp_path / "model.pt"
    EXPORT.main([f"run={run}", f"format={fmt}", f"out={file}"])
    printed = capsys.readouterr().out
    assert ("without a projection head" in printed) == (fmt == "repa")  # it is Self-Flow's
    imported = import_checkpoint(file, fmt, SIZES["nano"], patch=2, channels=1)
    for key, value in backbone.state_dict().items():
        assert torch.equal(imported.backbone.state_dict()[key], value), key


def test_sit_has_no_head():
    backbone = random_backbone(SIZES["nano"], Digits("digits", 2).grid, 10)
    assert to_theirs(backbone, "sit", {}).keys() == to_theirs(backbone, "sit").keys()
    with pytest.raises(ValueError, match="format=sit has no head"):
        to_theirs(backbone, "sit", {"projector.0.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["format=diffusers", "images=3"], "has snapshots at"),
        (["format=gguf"], "format=gguf is unknown"),
        (["format=sit", "ema=nowhere.safetensors"], "is not of this run"),
        ([], "format"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(run, words, said):
    with pytest.raises(ValueError, match=said):
        EXPORT.main([f"run={run}", *words])


def test_no_run(tmp_path):
    with pytest.raises(ValueError, match="is no folder of a run"):
        EXPORT.main([f"run={tmp_path}", "format=sit"])
