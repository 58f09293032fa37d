"""One run from its configuration to a complete folder: what is there already, opening, training.

    session = Session(compose(["method=selfflow"]))
    session.assemble(distributed.start("cpu"))
    session.open_folder()                    # claims it; refuses another run's
    session.train()
    session.close()

`bench.run` is the command; tests and studies call `Session` directly.
"""

from __future__ import annotations

import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from bench.config.identity import (
    arm_name,
    before_options,
    found_id,
    identity,
    is_identity,
    run_hash,
)
from bench.config.schema import Config
from bench.core.data.mixed import sizes_of
from bench.core.store import tracking, weight_files
from bench.core.store.environment import environment
from bench.core.store.files import Json, flatten, write_json, write_yaml
from bench.core.store.folder import RunFolder
from bench.core.store.runs import (
    CONFIGURATION,
    COST,
    ENVIRONMENT,
    METRICS_LOG,
    Description,
    find_run,
    read_metrics,
    read_part,
    read_status,
    write_description,
)
from bench.core.train.distributed import Processes
from bench.core.train.learner import Learner
from bench.core.train.meter import NotFinite
from bench.core.train.trainer import Stopped, Trainer
from bench.training.arm import AssembledArm, Fits, MixedArm, assemble
from bench.training.source import InitialWeights


class Session:
    """A process's work on one run: its configuration, its folder, and its parts once assembled."""

    processes: Processes
    arm: AssembledArm | MixedArm

    def __init__(self, cfg: Config, argv: list[str] | None = None):
        self.cfg, self.argv = cfg, argv or []
        self.path = Path(cfg.runs) / found_id(cfg, Path(cfg.runs))
        find_run(self.path)  # refuses a run of a newer version before anything is touched
        self.folder = RunFolder(self.path)
        # of a run that begins from another one, until it does
        self.source: InitialWeights | None = None
        self._tracker: tracking.Tracker | None = None

    # What is there already ------------------------------------------------------------------------

    def begun(self) -> bool:
        """Whether something of it is saved."""
        kept = weight_files.checkpoints(self.path / "checkpoints")
        return bool(kept or weight_files.snapshots(self.path))

    def goes_on(self) -> bool:
        """Whether there is something to resume from, or nothing to train any more."""
        return bool(weight_files.checkpoints(self.path / "checkpoints")) or self.trained()

    def trained(self) -> bool:
        """Whether all images of this configuration were seen and the last snapshot is there."""
        return self.cfg.images in weight_files.snapshots(self.path) and not self.differences()

    def published(self) -> bool:
        """Whether the folder is the copy of a run that ended at these images or later, as
        bench.publish makes it: its results without its weights.
        """
        status, weights = read_status(self.path), weight_files.snapshots(self.path)
        ended = status.get("state") == "complete" and (status.get("images") or 0) >= self.cfg.images
        there = any(self.path.glob(f"results/*-{self.cfg.images:012d}.json"))
        return ended and there and not weights and not self.differences()

    def closed(self) -> bool:
        """Whether the folder says so too: killed after the last result,
        a run is finished and its status is not.
        """
        return read_status(self.path).get("state") == "complete" and self.cost_known()

    def cost_known(self) -> bool:
        """Whether the time that training took is written down."""
        return read_part(self.path, COST).get("seconds_per_step") is not None

    def differences(self) -> list[str]:
        """Settings of the folder's earlier start that this configuration contradicts, in words."""
        saved = read_part(self.path, CONFIGURATION)
        if not saved:
            return []
        before = before_options(self.cfg) | flatten(saved)
        now = flatten(self.cfg.to_dict())
        found = []
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key) and is_identity(key):
                found.append(f"{key}: {before.get(key)} then, {now.get(key)} now")
        images = saved.get("images") or self.cfg.images
        if images != self.cfg.images:
            if self.cfg.optimizer.has_length:
                o = self.cfg.optimizer
                what = f"{o.schedule} schedule" if o.schedule != "constant" else "share of warm-up"
                found.append(
                    f"images: {images} then, {self.cfg.images} now, and a {what} cannot "
                    "be continued"
                )
            elif self.cfg.images < images:
                found.append(f"images: {images} then, {self.cfg.images} now, which is fewer")
        return found

    # Beginning ------------------------------------------------------------------------------------

    def assemble(self, processes: Processes, fits: Fits | None = None) -> None:
        """Build everything that can fail for the user's reasons, before the folder is made; fits:
        as in `AssembledArm.of`.
        """
        self.processes, self.arm = processes, assemble(self.cfg, processes, fits)
        if self.cfg.init and not self.goes_on():
            self.source = InitialWeights.of(self.cfg)
            self.source.check(self.arm)

    def check_disk(self) -> None:
        """Raise ValueError where the disk is too small for a run that has not begun."""
        needed, free = sum(self.arm.disk_bytes().values()), shutil.disk_usage(self.path).free
        if free < needed and not weight_files.snapshots(self.path):
            self.folder.withdraw()
            raise ValueError(
                f"the run needs {needed / 1e6:.0f} MB of disk, {free / 1e6:.0f} MB are free: "
                "fewer snapshots=..., a smaller size=..., or runs=DIR elsewhere"
            )

    def open_folder(self) -> None:
        """Claim the folder and write who and what, the main process alone.

        Raises ValueError for a folder of another configuration, data or encoder.
        """
        if not self.processes.main:
            return
        # may this process write here, and is it the same run?
        fingerprints = self.arm.fingerprints()
        self.folder.claim()
        self.check_disk()
        if changed := self.differences():
            raise ValueError(
                f"{self.path} holds a run with other settings ({'; '.join(changed)}): "
                "give this one a name=... of its own"
            )
        before = find_run(self.path)
        known = before.fingerprints if before else {}
        for part, fingerprint in fingerprints.items():
            if known.get(part, fingerprint) != fingerprint:
                raise ValueError(
                    f"the {part} changed since {self.path.name} began (fingerprint {known[part]} "
                    f"then, {fingerprint} now): bring the old {part} back, or start a new run with "
                    "name=..."
                )

        # who and what
        environment_now = environment(self.processes.device, torch.get_num_threads())
        self.warn_of_changes(environment_now)
        write_json(self.path / CONFIGURATION, self.cfg.to_dict())
        write_yaml(self.path / "config.yaml", self.cfg.to_dict())
        write_description(self.path, self.description(known | fingerprints, before))
        write_json(self.path / ENVIRONMENT, environment_now)
        if not (self.path / COST).exists():
            unmeasured = {"seconds_per_step": None, "peak_memory_bytes": None}
            write_json(self.path / COST, self.arm.cost.to_json() | unmeasured)

    def description(
        self, fingerprints: dict[str, str], before: Description | None = None
    ) -> Description:
        """What run.json says; fingerprints: of data and encoder, earlier starts included; before:
        what it said then.
        """
        cfg, arm = self.cfg, self.arm
        return Description(
            hash=run_hash(cfg),
            arm=arm_name(cfg),
            method=cfg.method.name,
            encoder=cfg.encoder.name if cfg.encoder else None,
            size=cfg.size.name,
            depth=cfg.size.depth,
            width=cfg.size.width,
            data=cfg.data.name,
            seed=cfg.seed,
            images=cfg.images,
            batch=cfg.batch,
            aligned=arm.aligned() or self._aligned_before(),
            blocks=arm.blocks,
            head=arm.heads(),
            identity=identity(cfg),
            fingerprints=fingerprints,
            data_sizes=sizes_of(arm.data),
            init=self.source.described() if self.source else before.init if before else None,
            argv=self.argv,
        )

    def aligned(self, part: str = "") -> Json | None:
        """What the encoder is that the weights were aligned with, for marking related metrics: the
        arm's own, else that of the run that they began from; part: of the data.
        """
        before = self._aligned_before() or {}
        return self.arm.arms[part].aligned() or (before.get(part) if part else before) or None

    def _aligned_before(self) -> Json | None:
        """That of the run that this one began from, which run.json says once it has begun."""
        if not self.cfg.init:
            return None
        known = self.source.run if self.source else find_run(self.path)
        return known.aligned if known else None

    def warn_of_changes(self, now: Json) -> None:
        """Warn when a resumed run meets other versions, code or another device:
        its last digits may differ.
        """
        before = read_part(self.path, ENVIRONMENT)
        changed = [
            key
            for key in ("device", "device_name", "threads", "commit")
            if before and before.get(key) != now[key]
        ]
        if before and before.get("versions", {}).get("torch") != now["versions"]["torch"]:
            changed.append("torch")
        if changed:
            warnings.warn(
                f"resuming with another {', '.join(changed)}: "
                "not bit for bit what an undisturbed run gives",
                stacklevel=2,
            )

    # Training -------------------------------------------------------------------------------------

    def train(
        self,
        stop_reason: Callable[[], str | None] = lambda: None,
        on_step: Callable[[int], None] = lambda images: None,
        on_progress: Callable[[Json], None] = lambda line: None,
        on_speed: Callable[[float], None] = lambda seconds_per_step: None,
        on_beginning: Callable[[str], None] = lambda said: None,
    ) -> None:
        """Train to the last image; on_beginning: told which weights of another run it begins from.

        Raises Stopped, NotFinite or OSError, with the status saying what happened.
        """
        trainer = Trainer(self.arm.learner(), self.folder)
        trainer.stop_reason, trainer.on_step, trainer.on_speed = stop_reason, on_step, on_speed

        def on_line(line: Json) -> None:
            self.track(line["images"], tracking.numbers_of_line(line), first=line["images"])
            on_progress(line)

        def begin(learner: Learner) -> None:
            if self.cfg.init:  # where damaged checkpoints were all that there was, it is needed now
                on_beginning((self.source or InitialWeights.of(self.cfg)).load(learner))

        trainer.on_progress, trainer.on_beginning = on_line, begin
        try:
            trainer.run()
        except Stopped as stopped:
            if self.processes.main:
                message = f"stopped by {stopped.reason}; the same command resumes"
                self.folder.status(now=True, state="stopped", message=message)
            raise
        except (NotFinite, OSError, RuntimeError, ValueError) as error:
            if self.path.exists():  # whichever process it is, what the main one has said stays
                said = read_status(self.path) | {"state": "failed", "message": str(error)}
                self.folder.status(now=True, **said)
            raise
        self.write_cost(peak_memory(self.processes.device))

    def write_cost(self, peak: int | None = None) -> None:
        """cost.json of a trained run; peak: bytes of memory, None where another process trained."""
        if not self.processes.main:
            return
        lines = read_metrics(self.path / METRICS_LOG)
        seconds = lines[-1]["time"]["total_seconds"] if lines else 0.0
        steps = self.cfg.images // self.cfg.batch
        self.folder.check_exists()
        measured = {"seconds_per_step": seconds / steps, "peak_memory_bytes": peak}
        write_json(self.path / COST, self.arm.cost.to_json() | measured)

    def track(self, images: int, numbers: dict[str, float], first: int | None = None) -> None:
        """Mirror numbers (the main process's); first: as in `tracking.open_tracker`,
        when this opens the tracker.
        """
        if self._tracker is None:
            self._tracker = tracking.open_tracker(
                self.cfg.tracking, self.path, first, self.cfg.to_dict()
            )
        self._tracker.log(images, numbers)

    def close(self) -> None:
        """Let go of the folder and of the tracker."""
        if self._tracker is not None:
            self._tracker.close()
        self.folder.release()


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that PyTorch held on the GPU,
    or the largest resident size of this process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
