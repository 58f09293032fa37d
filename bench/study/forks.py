"""Processes of a command that share what each of them would import first.

A run imports PyTorch, Hydra and scikit-learn for seconds of a core before it does anything, and a
study makes dozens of runs. `Forks` has one process import them, without a thread and without
touching a GPU, and forks it for each run, which is a process of its own all the same: its log, its
exit code, its memory to be killed for. Where runs were started before, nothing that they do
differs.

    forks = Forks("bench.run:RUN")
    run = forks.start(["method=selfflow"], {"OMP_NUM_THREADS": "1"}, Path("selfflow.log"))
    run.poll()                      # None, its exit code, or -9 for one that was killed
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from threadpoolctl import threadpool_limits

from bench.config.groups import locate

# What runs import: their command, and what that leaves for when it is needed.
IMPORTED = (
    *("bench.run", "bench.commands.run", "probes.distances.local", "probes.features.cknna"),
    *("hydra", "hydra.core.override_parser.overrides_parser", "hydra._internal.config_loader_impl"),
    *("omegaconf", "numpy.linalg", "scipy.linalg", "sklearn.datasets", "PIL.ImageDraw"),
)
# A run ends by these as its command says. Who imports for all only ends with whom it works for:
# where a whole group of processes is told to end, runs still save, and their exit codes arrive.
HEARD = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Fork:
    """A run's process, seen as `subprocess.Popen` shows one."""

    def __init__(self, process: ForkServerProcess):
        self._process = process
        assert process.pid is not None, "it was started"
        self.pid = process.pid

    def poll(self) -> int | None:
        """Its exit code, minus the signal's number where one killed it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Forks:
    """Starts processes of one command, "package.module:COMMAND"; `imported` once for all."""

    def __init__(self, command: str, imported: Sequence[str] = IMPORTED):
        self.command = command
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(list(imported))

    def start(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> Fork:
        """A process in a session of its own; it writes to the end of `log`, and does not end with
        this one.
        """
        arguments = (self.command, list(words), dict(environment), log)
        process = self.context.Process(target=_run, args=arguments)
        # the first one starts the server, which takes its environment and its signals from here
        before = {name: os.environ.get(name) for name in environment}
        heard = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        os.environ.update(environment)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        return Fork(process)


def _run(command: str, words: list[str], environment: dict[str, str], log: Path) -> None:
    """The forked process: make it what a fresh `python -m` would be, and run the command."""
    os.setsid()
    os.environ.update(environment)
    with open(log, "ab") as output, open(os.devnull, "rb") as nothing:
        for number, file in ((0, nothing), (1, output), (2, output)):
            os.dup2(file.fileno(), number)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = [command, *words]
    with contextlib.suppress(OSError):  # what `ps` and `top` call it; where there is no /proc, not
        Path("/proc/self/comm").write_text(command.partition(":")[0], encoding="utf-8")
    # libraries that are loaded have read the environment of the server
    if count := environment.get("OMP_NUM_THREADS"):
        threadpool_limits(int(count))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
    locate(command).start()
