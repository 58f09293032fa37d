"""The pass through torch-fidelity's Inception, with random weights;
what is said when there are no weights.
"""

import pickle
import warnings

import pytest
import torch

from bench.core.compat import import_vision
from bench.core.store import staging
from probes.extractors import inception
from probes.extractors.inception import find_weights, inception_features, load_inception


class Images:
    name, fingerprint = "random", "0" * 16

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def batches(self, size):
        yield from self.pictures.split(size)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights of the right names and shapes."""
    import_vision("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_one_pass_gives_pool_spatial_and_unbiased_logits(weights):
    with pytest.warns(
        UserWarning, match=r"the published weights 6726825d\.\.\.: no FID of it is comparable"
    ):
        network = load_inception(weights)
    assert len(network.fingerprint) == 16
    pictures = torch.randint(
        0, 256, (3, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    allowed = []
    watch = network.Conv2d_1a_3x3.register_forward_hook(
        lambda *_: allowed.append(torch.backends.cudnn.allow_tf32)
    )
    found = inception_features(network, Images(pictures), batch=2)
    watch.remove()
    assert allowed == [False, False] and torch.backends.cudnn.allow_tf32, (
        "float32 proper, here and only here"
    )
    assert (
        found.pool.shape == (3, 2048)
        and found.spatial.shape == (3, 2023)
        and found.logits.shape == (3, 1008)
    )
    expected = torch.from_numpy(found.pool) @ network.fc.weight.T  # no bias
    torch.testing.assert_close(torch.from_numpy(found.logits), expected, rtol=1e-4, atol=1e-4)
    assert found.spatial.min() >= 0 < found.spatial.max()  # after the ReLU
    assert not network.Mixed_6d.branch1x1._forward_hooks


def test_the_published_weights_are_not_warned_of(weights, monkeypatch):
    monkeypatch.setattr(inception, "file_hash", lambda path: "6726825d" + "0" * 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert load_inception(weights).fingerprint == "6726825d00000000"


def test_missing_weights_are_one_clear_message(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(staging, "unreachable", lambda url: "Name or service not known")
    with pytest.raises(ValueError) as caught:
        find_weights()
    message = str(caught.value)
    assert (
        str(tmp_path / "hub" / "checkpoints") in message
        and inception.URL in message
        and "not known" in message
    )
    assert "bench.prepare inception=true" in message and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"no Inception weights at .*mine\.pth; fetch"):
        find_weights(tmp_path / "mine.pth")


def test_files_that_are_not_the_weights_are_refused(tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ("executed",))

    (tmp_path / "code.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(ValueError, match=r"code\.pth is not a file of weights"):
        load_inception(tmp_path / "code.pth")
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit Inception v3"):
        load_inception(tmp_path / "other.pth")
