"""Whether the process that wrote a file still lives: on its own host by its process,
elsewhere by its heartbeat.

    {"host": "node3", "pid": 4711, "started": "884301", "heartbeat": 1760000000.0}

A process number alone says little: after a restart of the machine, or in a container, another
process has it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STALE_SECONDS = 180.0  # a heartbeat older than this is a dead process's


def process_start(pid: int) -> str | None:
    """When a process of this host began, in kernel ticks (tells it from a later
    one of its number); None if gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _start_without_proc(pid)
    return None if fields[0] in "ZX" else fields[19]


def _start_without_proc(pid: int) -> str | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "unknown"
    except OSError:
        return None
    return "unknown"


def this_process() -> dict[str, Any]:
    """Host, number and start of this process, as `lives_here` reads them."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}


def lives_here(who: Mapping[str, Any]) -> bool | None:
    """Whether a process of this host lives; None for one of another host,
    or where `who` does not say.
    """
    if who.get("host") != socket.gethostname() or not isinstance(who.get("pid"), int):
        return None
    start = process_start(who["pid"])
    return start is not None and who.get("started", start) == start


def is_fresh(status: Mapping[str, Any]) -> bool:
    """Whether a status has a recent heartbeat;
    one from the future (a clock set back) counts as recent for as long.
    """
    return abs(time.time() - float(status.get("heartbeat", 0))) < STALE_SECONDS
