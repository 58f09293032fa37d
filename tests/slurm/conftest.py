"""A real SLURM cluster for these tests: the one that SLURM_CONF names,
or one started here where SLURM is installed.

Without SLURM the tests are skipped and the summary says so; BENCH_REQUIRE_SLURM=1 makes that a
failure.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.submitted import JOBS, ONE, Submitted

CLUSTER = Path(__file__).parent / "cluster"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say that the tests of a real cluster did not run."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "tests/slurm" in report.nodeid
    ]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests of a real SLURM cluster were skipped: there is no SLURM here"
        )


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """SLURM_CONF in the environment leads to a cluster that answers."""
    if "SLURM_CONF" in os.environ and shutil.which("sbatch"):
        yield
        return
    missing = [
        program
        for program in ("slurmctld", "slurmd", "sbatch", "munged", "slurmdbd", "mariadbd")
        if not shutil.which(program)
    ]
    if missing:
        message = f"no SLURM here ({', '.join(missing)} not installed)"
        if os.environ.get("BENCH_REQUIRE_SLURM") == "1":
            pytest.fail(message)
        pytest.skip(message)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munged refuses folders that others may not enter, as pytest's are
    lab = folder / "lab"
    settings = {"SLURM_LAB": str(lab), "SLURM_PORT": str(free_ports())}
    # to a file: daemons that keep a pipe open would make us wait for them
    log = lab.parent / "start.log"
    with open(log, "w") as output:
        started = subprocess.run(
            [CLUSTER / "start_slurm.sh"],
            env=os.environ | settings,
            stdout=output,
            stderr=output,
            timeout=120,
        )
    assert started.returncode == 0, log.read_text()
    os.environ["SLURM_CONF"] = str(lab / "etc" / "slurm.conf")
    yield
    del os.environ["SLURM_CONF"]
    subprocess.run(
        [CLUSTER / "stop_slurm.sh"],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )
    shutil.rmtree(folder)


def free_ports() -> int:
    """The first of ten ports in a row of which those that the cluster uses (0, 2, 10) are free."""
    for first in range(16817, 30000, 20):
        try:
            for offset in (0, 2, 10):
                with socket.create_server(("127.0.0.1", first + offset)):
                    pass
            return first
        except OSError:
            continue
    raise AssertionError("no free ports")


@pytest.fixture
def submit(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Submitted]]:
    """submit("demo" or "one", words...) -> Submitted;
    what is left in the queue at the end is cancelled.
    """
    from bench.study import studies as study

    folder = tmp_path / "study"
    folder.mkdir()
    shutil.copy(study.FOLDER / "demo.yaml", folder)
    (folder / "one.yaml").write_text(ONE)
    monkeypatch.setattr(study, "FOLDER", folder)
    made: list[Submitted] = []

    def make(name: str, *words: str) -> Submitted:
        made.append(Submitted([f"study={name}", f"runs={tmp_path / 'runs'}", *JOBS, *words]))
        return made[-1]

    yield make
    for submitted in made:
        submitted.launcher.cancel()
