"""Small runs that tests share, in this process and in another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.cli import guarded
from bench.core.store import weight_files
from bench.core.store.runs import read_metrics
from bench.run import RUN

ROOT = Path(__file__).parents[2]


def run_cli(
    module: str, *words: str, timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m module words...` from the project's root."""
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    said = each_once(words) if module == "bench.run" else words
    command = [sys.executable, "-m", module, *said]
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout
    )


def each_once(words: Sequence[str]) -> list[str]:
    """The words with the last of each key, as a command wants them; what is no word stays."""
    last = {word.partition("=")[0]: word for word in words}
    return list(last.values())


def run_in_process(words: list[str]) -> int:
    """bench.run in this process: its exit code;
    signal handlers and warnings are put back afterwards.
    """
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    }
    threads, show = torch.get_num_threads(), warnings.showwarning
    try:
        return guarded(RUN.main, each_once(words))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        torch.set_num_threads(threads)
        warnings.showwarning = show


def tiny_run(runs: Path, *words: str) -> list[str]:
    """Words of a run that takes a second or two; what is trained beside it is shared."""
    small = (
        "images=2Ki log_images=256 snapshots=2 measure=none compute.threads=1 "
        "compute.device=cpu checkpoint_images=512"
    )
    shared = os.environ.get("BENCH_TEST_CACHE")
    cache = [f"cache={shared}"] if shared else []
    return each_once([f"runs={runs}", *cache, *small.split(), *words])


def only_run(runs: Path) -> Path:
    found = [path.parent for path in runs.glob("*/run.json")]
    assert len(found) == 1, found
    return found[0]


def numbers(run: Path) -> list[dict]:
    """metrics.jsonl without what depends on the clock."""
    return [
        {key: value for key, value in line.items() if key != "time"}
        for line in read_metrics(run / "metrics.jsonl")
    ]


def last_weights(run: Path) -> bytes:
    return list(weight_files.snapshots(run).values())[-1].read_bytes()


def start(words: list[str]) -> subprocess.Popen:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "bench.run", *each_once(words)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_signals,
    )


def _hear_signals() -> None:
    """Below nohup, or in a shell's background, a child is born deaf to these."""
    for one in (signal.SIGHUP, signal.SIGINT):
        signal.signal(one, signal.SIG_DFL)
