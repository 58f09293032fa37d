"""V-JEPA 2 as an encoder of clips, small and random as transformers saves one: its tokens are the
network's own, in the order of the token grid, whatever the clip's size and length.
"""

import pytest
import torch

from bench.config.compose import compose
from bench.config.groups import build
from bench.core.compat import import_vision
from bench.core.model.tokens import TokenGrid

GRID = TokenGrid((4, 12, 12), (2, 4, 4), 3)  # 2 x 3 x 3 tokens


@pytest.fixture
def encoder(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    transformers = import_vision("transformers")
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, pred_hidden_size=12,
        pred_num_attention_heads=1, pred_num_hidden_layers=1, crop_size=64,
    )  # fmt: skip
    transformers.VJEPA2Model(config).save_pretrained(tmp_path / "hub" / "vjepa2_l")
    option = compose(["data=moving_digits", "method=repa", "encoder=vjepa2_l"]).encoder
    return build(option, token_grid=GRID)


def test_tokens_are_the_networks_own(encoder, tmp_path):
    clips = torch.randint(0, 256, (2, 3, 4, 12, 12), dtype=torch.uint8)
    found = encoder(clips)
    assert found.grid == (2, 3, 3) and found.patches.shape == (2, 18, 24)
    # the whole model, predictor and all, on frames that torchvision resized
    transformers = import_vision("transformers")
    folder = tmp_path / "hub" / "vjepa2_l"
    config = transformers.VJEPA2Config.from_pretrained(folder, crop_size=48)
    whole = transformers.VJEPA2Model.from_pretrained(folder, config=config).eval()
    frames = clips.transpose(1, 2).flatten(0, 1).float() / 255
    resize = import_vision("torchvision.transforms.functional").resize
    frames = resize(frames, [48, 48], antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    frames = (frames - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        expected = whole(frames.unflatten(0, (2, 4))).last_hidden_state
    torch.testing.assert_close(found.patches, expected, atol=1e-5, rtol=1e-4)


def test_a_token_is_of_its_frames(encoder):
    still = torch.zeros(1, 3, 4, 12, 12, dtype=torch.uint8)
    still[:, :, 2:] = 255  # the second half in time
    halves = encoder(still).patches[0].unflatten(0, (2, 9))
    assert (halves[0] - halves[1]).abs().mean() > 0.05
    # twice as many frames, each shown twice, are the same clip
    torch.testing.assert_close(
        encoder(still.repeat_interleave(2, dim=2)).patches, encoder(still).patches
    )


def test_what_it_cannot_read_is_said(encoder, tmp_path):
    option = compose(["data=moving_digits", "method=repa", "encoder=vjepa2_l"]).encoder
    for grid in (TokenGrid((8, 8), 2, 1), TokenGrid((32,), 1, 32), TokenGrid((4, 8, 4), 2, 3)):
        with pytest.raises(ValueError, match="reads videos of square frames"):
            build(option, token_grid=grid)
    weights = tmp_path / "hub" / "vjepa2_l" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"is no V-JEPA 2 .* bench\.prepare encoder=vjepa2_l"):
        build(option, token_grid=GRID)
