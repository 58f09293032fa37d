"""`atomic`: a file is whole or absent, whoever writes beside it and whatever fails."""

import errno
import json
import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from bench.core.store import files
from bench.core.store.cache import cached_folder
from bench.core.store.files import (
    atomic,
    file_hash,
    leftovers,
    open_lock,
    read_json,
    write_json,
    write_yaml,
)


def test_threads_that_write_one_file_leave_one_whole_file(tmp_path):
    path, both = tmp_path / "status.json", threading.Barrier(8)

    def write(number):
        both.wait()
        for beat in range(20):
            write_json(path, {"number": number, "beat": beat, "filling": "x" * 5000})
            assert len(json.loads(path.read_text())["filling"]) == 5000

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_two_temporary_files_of_one_path_never_share_a_name(tmp_path):
    with atomic(tmp_path / "a") as outer, atomic(tmp_path / "a") as inner:
        outer.write_text("outer")
        inner.write_text("inner")
        assert outer != inner and leftovers(tmp_path) == sorted([outer, inner])
    assert (tmp_path / "a").read_text() == "outer" and not leftovers(tmp_path)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(failure), atomic(path) as temporary:
        temporary.write_text("half")
        raise failure("stopped")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_number_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "cost.json"
    write_json(path, {"seconds": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"seconds": float("nan")})
    assert read_json(path) == {"seconds": 1.0} and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_the_file_needs(tmp_path, code):
    message = r"the disk is full: a\.pt needs 2\.0 MB; free some space and run the same command"
    with pytest.raises(OSError, match=message), atomic(tmp_path / "a.pt", needed=2_000_000):
        raise OSError(code, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "your quota is used up"),
        (errno.EFBIG, r"the file is too large.*raise the limit.*ulimit -f"),
    ],
)
def test_a_write_that_fails_names_the_file_and_the_cause(tmp_path, monkeypatch, code, cause):
    with pytest.raises(OSError, match=cause) as raised, atomic(tmp_path / "a.pt", needed=2000):
        raise OSError(code, "cannot write")
    assert "a.pt" in str(raised.value) and str(tmp_path) in str(raised.value)

    # a library that keeps the system's error for itself: room is asked for once more
    def refuse(handle, offset, length):
        assert (offset, length) == (0, 2000)
        raise OSError(code, "no")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match=cause), atomic(tmp_path / "a.pt", needed=2000):
        raise RuntimeError("PytorchStreamWriter failed writing file")
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("content")
    for target in ("precious", "absent"):
        (tmp_path / f"{target}-link.lock").symlink_to(tmp_path / target)
        with pytest.raises(ValueError, match=r"is a link .*remove it"):
            open_lock(tmp_path / f"{target}-link.lock")
        with pytest.raises(ValueError, match="is a link"):
            cached_folder(tmp_path / f"{target}-link", lambda folder: None)
    assert (tmp_path / "precious").read_text() == "content"
    assert not (tmp_path / "absent").exists()
    with open_lock(tmp_path / "own.lock"), open_lock(tmp_path / "own.lock"):
        pass


def test_a_library_with_an_error_of_its_own_meets_a_full_disk_too(tmp_path, monkeypatch):
    def usage(folder):
        return SimpleNamespace(free=1000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OSError, match="the disk is full"), atomic(tmp_path / "a", needed=2000):
        raise RuntimeError("PytorchStreamWriter failed writing file")
    with pytest.raises(RuntimeError, match="something else"), atomic(tmp_path / "a", needed=500):
        raise RuntimeError("something else")


def test_another_failure_of_the_system_keeps_its_own_message(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "absent" / "a", needed=1):
        pass
    with pytest.raises(PermissionError), atomic(tmp_path / "a"):
        raise PermissionError(errno.EPERM, "Operation not permitted")


def test_the_name_may_follow_from_the_content(tmp_path):
    def name(temporary):
        return f"a-{file_hash(temporary)[:8]}.txt"

    with atomic(tmp_path / "a", name=name, durable=True) as temporary:
        temporary.write_text("content")
    (path,) = tmp_path.iterdir()
    assert path.name == f"a-{file_hash(path)[:8]}.txt" == "a-ed7002b4.txt"


def test_a_file_has_the_users_usual_mode_whoever_made_it(tmp_path):
    (tmp_path / "usual").touch()
    with atomic(tmp_path / "a") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    usual, made = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "a"))
    assert made == usual


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files.os, "fsync", lambda handle: done.append("sync"))
    replace = os.replace
    monkeypatch.setattr(files.os, "replace", lambda a, b: (done.append("rename"), replace(a, b)))
    with atomic(tmp_path / "a"):
        pass
    with atomic(tmp_path / "b", durable=True):
        pass
    assert done == ["sync", "rename", "sync", "rename", "sync"]


def test_yaml_keeps_the_order_of_its_keys(tmp_path):
    write_yaml(tmp_path / "a.yaml", {"z": 1, "a": {"b": None}})
    assert (tmp_path / "a.yaml").read_text() == "z: 1\na:\n  b: null\n"


def test_a_file_that_is_no_json_object_reads_as_empty(tmp_path):
    for content in ("[1]", "{", ""):
        (tmp_path / "a.json").write_text(content)
        assert read_json(tmp_path / "a.json") == {}
    assert read_json(tmp_path / "absent.json") == {}
