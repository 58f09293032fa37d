"""How fast a folder of latents is read, and whether reading it takes more and more memory: the
loader alone, as training drives it, nothing computed.

    rows = list(loading(compose(["data=imagenet256", "data.root=latents"])))

Seconds are wall time, since a loader waits for a disk; beside them stands what a core would read
that does nothing else, from the processor's time. The first pass is from the disk (what the
operating system has of the files is given back first), the second from its memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.commands.timing.rows import Timing
from bench.config.groups import build
from bench.config.schema import Config
from bench.core.data.latents import LatentData
from bench.core.train.loading import batches, micro_rows

READ = 100_000


def loading(cfg: Config) -> Iterator[Timing]:
    """Rows of latents alone, and with the pictures where they are there."""
    data: LatentData = build(cfg.data)
    for with_clean in (False, True)[: 1 + data.has_pictures]:
        for again in (False, True):
            if not again:
                _give_back(data.root)
            yield _pass(cfg, data, with_clean, again)


def _pass(cfg: Config, data: LatentData, with_clean: bool, again: bool) -> Timing:
    steps = max(10, min(READ, cfg.images) // cfg.batch)
    source = batches(
        data,
        cfg.seed,
        0,
        steps * cfg.batch,
        cfg.batch,
        micro_rows(slice(0, cfg.batch), cfg.micro_batch),
        with_clean,
        cfg.compute.data_workers,
    )
    began, worked, seen, early = time.perf_counter(), time.process_time(), 0, 0
    for examples in source:
        seen += len(examples.which)
        if not early and seen >= steps * cfg.batch // 10:
            early = memory()
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    late = memory()
    what = "latents and pictures" if with_clean else "latents"
    return Timing(
        what="loading",
        arm=f"{what} from {'memory' if again else 'the disk'}",
        size=f"{cfg.compute.data_workers} threads",
        levels="",
        batch=cfg.batch,
        device="cpu",
        ms_per_step=1e3 * seconds / steps,
        images_per_s=seen / seconds,
        flops_per_step=0.0,
        share=0.0,
        peak_bytes=late,
        activation_bytes=late - early,
        parts={"processor": 1e3 * worked / steps},
    )


def memory() -> int:
    """Bytes that this process has for itself, without files' pages; 0 where it cannot be told."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    own = ("RssAnon", "RssShmem")
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(own))


def _give_back(root: Path) -> None:
    """Tell the operating system to forget the files' content, so that it is read from the disk."""
    for path in root.rglob("*.npy"):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
