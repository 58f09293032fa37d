"""A checkpoint may hold anything though its hash is right: training goes back to the one before."""

import pickle
import shutil

import pytest
import torch

from bench.core.store.checkpoints import load_checkpoint, save_checkpoint
from bench.core.store.files import file_hash
from bench.core.store.weight_files import checkpoints


class Harmful:
    def __reduce__(self):
        return print, ("run while it was read",)


def put(folder, images, content: bytes):
    """A checkpoint of any bytes, under the name that their hash gives it."""
    path = folder / "new"
    path.write_bytes(content)
    return path.rename(folder / f"ckpt-{images:012d}-{file_hash(path)[:16]}.pt")


def saved(tmp_path, state) -> bytes:
    torch.save(state, tmp_path / "state")
    return (tmp_path / "state").read_bytes()


@pytest.fixture
def folder(tmp_path):
    """One good checkpoint."""
    save_checkpoint(tmp_path / "checkpoints", 64, {"images": 64, "w": torch.ones(2)})
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle at all",
        pickle.dumps({"images": 128}, protocol=4),
        pickle.dumps(Harmful()),
        b"PK\x03\x04" + b"\x00" * 100,
        [1, 2],
        {"images": 64},
        {"w": torch.zeros(2)},
        {"images": 128, "code": Harmful()},
    ],
    ids=lambda content: str(content)[:30],
)
def test_a_right_hash_with_wrong_content_falls_back(folder, tmp_path, capsys, content):
    path = put(folder, 128, content if isinstance(content, bytes) else saved(tmp_path, content))
    with pytest.warns(UserWarning, match="going back to the checkpoint before it") as told:
        state = load_checkpoint(folder)
    assert state is not None and state["images"] == 64
    assert (folder / f"damaged-{path.name}").exists() and len(checkpoints(folder)) == 1
    words = " ".join(str(one.message) for one in told)
    assert path.name in words and "trust" not in words
    assert "run while" not in capsys.readouterr().out


def test_a_state_that_the_run_cannot_go_on_from_falls_back(folder):
    save_checkpoint(folder, 128, {"images": 128, "w": torch.ones(3)})
    fault = lambda state: "" if state["w"].shape == (2,) else "w has another shape"  # noqa: E731
    with pytest.warns(UserWarning, match=r"w has another shape.*going back"):
        state = load_checkpoint(folder, fault=fault)
    assert state is not None and state["images"] == 64


def test_where_no_state_fits_nothing_is_thrown_away(folder):
    save_checkpoint(folder, 128, {"images": 128, "w": torch.ones(2)})
    with pytest.raises(ValueError, match=r"000128-.* is no checkpoint of this run \(other heads\)"):
        load_checkpoint(folder, fault=lambda state: "other heads")
    assert len(checkpoints(folder)) == 2


def test_memory_that_does_not_suffice_is_no_damage(folder, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(torch.OutOfMemoryError):
        load_checkpoint(folder)
    assert len(checkpoints(folder)) == 1


def test_no_folder_is_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "absent") is None
    shutil.rmtree(tmp_path)
