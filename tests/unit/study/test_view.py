"""What a study's view says of a run whose folder is not there yet."""

from bench.study.view import View

RUN = "digits-repa-local_m-nano-s0-00000000"


def seen(tmp_path, notes=()):
    ((_, text, _),) = View(tmp_path, [RUN], set(), lambda: dict(notes), lambda: False).lines()
    return text.removeprefix(RUN).split(maxsplit=1)


def test_a_run_that_its_worker_prepares_says_what_it_waits_for(tmp_path):
    """An encoder that is trained first takes minutes."""
    assert seen(tmp_path) == ["new"]
    log = tmp_path / "sweeps" / "logs" / f"{RUN}.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"making it\n{tmp_path / RUN}: training encoder: 7 of 150, about 64 s left\n\n")
    assert seen(tmp_path) == ["new"]  # of an earlier worker, as nobody is at it
    lease = tmp_path / "sweeps" / "leases" / f"{RUN}.json"
    lease.parent.mkdir()
    lease.write_text("{}")
    assert seen(tmp_path) == ["starting", "training encoder: 7 of 150, about 64 s left"]
    assert seen(tmp_path, {RUN: "another process is training it"})[0] == "new"
    log.write_bytes(b"x" * 9000 + b"\n\xff\x1b[2J of 400\n")  # no terminal is moved
    assert seen(tmp_path)[1].endswith("\\x1b[2J of 400")
    log.write_text("")
    assert seen(tmp_path) == ["new"]
