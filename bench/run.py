"""Train one arm, measure it, resume it: `python -m bench.run method=selfflow size=L`.

The same command again resumes where the run stopped, or says that it is complete.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

from bench.cli import EXIT_OF_SIGNAL, StopFlag, guarded
from bench.config.schema import Config

if TYPE_CHECKING:
    from bench.training.experiment import Experiment

EXAMPLES = """\
Examples:
  python -m bench.run method=selfflow                       Self-Flow on the default data (digits), a minute or two
  python -m bench.run method=repa encoder=local_s seed=1    REPA with a small encoder that is trained on the spot
  python -m bench.run method=repa encoder=dinov2_g data=imagenet256 size=XL compute.compile=true"""


def help_text() -> str:
    """The help page, from the YAML groups; imports nothing slow."""
    from bench.config.groups import CONF, GROUPS, options

    lines = [
        "usage: python -m bench.run [KEY=VALUE ...] [--cfg job] [--traceback] [--help]",
        "",
        (
            "Train one arm in runs/<name>-<hash>/, "
            "then measure it. The same command again resumes it, or "
            "says that it is complete."
        ),
        "",
        "Groups (one file each in bench/conf):",
        *(f"  {group + '=':10}{' | '.join(options(group))}" for group in GROUPS),
        "",
        "Keys "
        "(bench/conf/config.yaml has them all; those of a group are written method.weight=0.3, size.depth=6):",
    ]
    for line in (CONF / "config.yaml").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith(("#", "defaults", "  -")):
            lines.append(f"  {line}")
    lines += [
        "",
        EXAMPLES,
        "",
        "--cfg job   print the configuration that a command would use, and stop",
    ]
    lines += ["--traceback show where an error came from"]
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """The command. Raises ValueError for bad input; returns the exit code."""
    if not argv or {"--help", "-h"} & set(argv):
        print(help_text())
        return 0
    show = "--cfg" in argv
    if show:
        at = argv.index("--cfg")
        if argv[at + 1 : at + 2] != ["job"]:
            raise ValueError("--cfg takes one word, job: --cfg job prints the configuration")
        argv = argv[:at] + argv[at + 2 :]
    from bench.config.compose import compose

    cfg = compose(argv)
    if show:
        import yaml

        print(yaml.safe_dump(cfg.to_dict(), sort_keys=False), end="")
        return 0
    return run(cfg, argv)


def run(cfg: Config, argv: list[str]) -> int:
    """Train and measure, or find that both are done."""
    from bench.evaluation import request as measure_plan
    from bench.training.experiment import Experiment

    if cfg.compute.name == "slurm" and "SLURM_JOB_ID" not in os.environ:
        raise ValueError(
            "bench.run trains in this process, and compute=slurm is for jobs: "
            "submit with python -m bench.sweep "
            "study=NAME compute=slurm, or leave compute= out"
        )
    experiment = Experiment(cfg, argv)
    if experiment.trained() and not measure_plan.pending(experiment) and experiment.closed():
        print(
            f"{experiment.path} is complete: {cfg.images} images, measured (measure={cfg.measure})"
        )
        return 0
    import torch

    from bench.core.train import distributed
    from bench.core.train.meter import NotFinite
    from bench.core.train.trainer import Stopped
    from bench.evaluation.run import measure_run

    if cfg.compute.threads:
        torch.set_num_threads(cfg.compute.threads)
    if cfg.deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # without it cuBLAS refuses to be deterministic
        torch.use_deterministic_algorithms(True)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    stop = StopFlag().install()
    processes = distributed.start(cfg.compute.device)
    try:
        experiment.assemble(processes)
        experiment.open_folder()
        if not experiment.trained():
            _train(experiment, stop)
        elif not experiment.cost_known():
            experiment.write_cost()
        measure_run(experiment, stop)
        return 0
    except Stopped as stopped:
        print(
            f"stopped by {stopped.reason} with everything saved; the same command resumes",
            file=sys.stderr,
        )
        return EXIT_OF_SIGNAL.get(stopped.reason, 1)
    except NotFinite as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        experiment.close()
        distributed.finish()


def _train(experiment: Experiment, stop: StopFlag) -> None:
    from tqdm import tqdm

    cfg = experiment.cfg
    main_process = experiment.processes.main
    if main_process:
        print(_announcement(experiment), flush=True)
    quiet = not (main_process and cfg.compute.progress and sys.stderr.isatty())
    bar = tqdm(total=cfg.images, unit="img", unit_scale=True, disable=quiet, dynamic_ncols=True)

    def on_step(images: int) -> None:
        bar.update(images - bar.n)

    def on_progress(line: dict[str, Any]) -> None:
        loss = " ".join(f"{name} {value:.4f}" for name, value in line["loss"].items())
        bar.set_postfix_str(loss)

    def on_speed(seconds_per_step: float) -> None:
        seconds = seconds_per_step * cfg.images / cfg.batch
        text = f"measured {seconds_per_step:.3g} s a step: about {duration(seconds)} in all"
        smaller = smaller_size(cfg, seconds) if seconds > 3600 else None
        if main_process:
            tqdm.write(
                text + (f"; size={smaller} would end within ten minutes" if smaller else ""),
                file=sys.stdout,
            )

    experiment.train(lambda: stop.reason, on_step, on_progress, on_speed)
    bar.close()


def _announcement(experiment: Experiment) -> str:
    from bench.core.train.cost import flops_until

    cost, cfg = experiment.cost, experiment.cfg
    parameters = ", ".join(f"{group} {n / 1e6:.2f}M" for group, n in cost.parameters.items() if n)
    flops, in_all = cost.flops_per_image["total"], flops_until(cost.to_json(), cfg.images)
    disk = {kind: n / 1e9 for kind, n in experiment.disk_bytes().items()}
    return (
        f"{experiment.path}\n"
        f"  parameters: {parameters}\n"
        f"  FLOPs: {flops:.3g} an image, {in_all:.3g} in all\n"
        f"  disk: {disk['checkpoints']:.2g} GB checkpoints, {disk['snapshots']:.2g} GB snapshots\n"
        f"  device: {experiment.processes.device}, {experiment.processes.world} process(es)"
    )


def smaller_size(cfg: Config, seconds: float, limit: float = 600.0) -> str | None:
    """The largest size that would end within `limit` seconds,
    judged by parameters (FLOPs go with them), or None.
    """
    from bench.core.model.sizes import SIZES

    here = cfg.size.depth * cfg.size.width**2
    for size in reversed(SIZES.values()):
        there = size.depth * size.width**2
        if there < here and seconds * there / here < limit:
            return size.name
    return None


def duration(seconds: float) -> str:
    """A length of time as people say it: "48 s", "12 min", "3.4 h", "6 days"."""
    for unit, length in (("days", 2 * 86400), ("h", 2 * 3600), ("min", 120)):
        if seconds >= length:
            in_unit = seconds / {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{in_unit:.1f} {unit}" if in_unit < 10 else f"{in_unit:.0f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
