"""The pass through torch-fidelity's Inception, with random weights; what is said when there are no weights."""

import pickle
import urllib.error

import pytest
import torch

from bench.core.vision_imports import import_vision
from probes import inception
from probes.inception import find_weights, inception_features, load_inception


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
    network = load_inception(weights)
    assert len(network.fingerprint) == 16
    pictures = torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = inception_features(network, Images(pictures), batch=2)
    assert found.pool.shape == (3, 2048) and found.spatial.shape == (3, 2023) and found.logits.shape == (3, 1008)
    expected = torch.from_numpy(found.pool) @ network.fc.weight.T  # no bias
    torch.testing.assert_close(torch.from_numpy(found.logits), expected, rtol=1e-4, atol=1e-4)
    assert found.spatial.min() >= 0 < found.spatial.max()  # after the ReLU
    assert not network.Mixed_6d.branch1x1._forward_hooks


def test_missing_weights_are_one_clear_message(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError) as caught:
        find_weights()
    message = str(caught.value)
    assert str(tmp_path / "checkpoints") in message and inception.URL in message and "not known" in message
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
