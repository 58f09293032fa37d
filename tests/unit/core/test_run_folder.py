"""A run's folder that is deleted under its process, made anew by another one, or withdrawn."""

import shutil

import pytest

from bench.core.store.folder import RunFolder


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_deleted_folder_is_noticed_even_when_another_has_its_name(tmp_path, made_anew):
    folder = RunFolder(tmp_path / "run")
    folder.claim()
    folder.status(now=True, state="running")
    shutil.rmtree(folder.path)
    if made_anew:
        other = RunFolder(folder.path)
        other.claim()
    with pytest.raises(OSError, match="was deleted while"):
        folder.status(now=True, state="complete")
    assert not (folder.path / "status.json").exists()


def test_a_withdrawn_folder_leaves_nothing_and_can_be_claimed(tmp_path):
    folder, again = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    folder.claim()
    folder.withdraw()
    assert not folder.path.exists()
    again.claim()
    again.check_exists()


def test_who_has_a_folder_is_said_once_it_is_known(tmp_path):
    """Of two starts at once the first may not have written anything yet."""
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    first.claim()
    with pytest.raises(ValueError, match="is being written by another process: wait for it"):
        second.claim()
    first.status(now=True, state="running")
    with pytest.raises(ValueError, match=r"by another process \(process \d+ on \S+\): wait"):
        second.claim()
    first.release()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (run := tmp_path / "run").mkdir()
    (run / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"\.lock is a link .*elsewhere.* remove it"):
        RunFolder(run).claim()
    assert not (tmp_path / "elsewhere").exists()
