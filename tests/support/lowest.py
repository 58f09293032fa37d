"""The lowest versions that pyproject.toml allows: make lowest-check runs tests with them.

    python tests/support/lowest.py          # numpy==1.26 scipy==1.12 ..., for pip
    python tests/support/lowest.py check    # fails unless this environment has just these

Of PyTorch and what is built for one PyTorch the environment's own stay: gigabytes for one number.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
OF_TORCH = ("torch",)


def lowest() -> dict[str, str]:
    """{package: lowest version allowed} of the packages that the benchmark always needs."""
    requirements = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {}
    for requirement in requirements:
        match = re.fullmatch(r"([\w-]+)>=([\d.]+)(,.*)?", requirement)
        assert match, f"{requirement} has no lower bound"
        if match[1] not in OF_TORCH:
            found[match[1]] = match[2]
    return found


def unlike(wanted: dict[str, str]) -> list[str]:
    """Packages of this environment that are other versions than wanted, in words."""
    here = {name: importlib.metadata.version(name) for name in wanted}
    return [
        f"{name} {here[name]}, not {wanted[name]}" for name in wanted if here[name] != wanted[name]
    ]


if __name__ == "__main__":
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("action", choices=["show", "check"], default="show", nargs="?")
    if parser.parse_args().action == "check":
        sys.exit("; ".join(unlike(lowest())) or None)
    print(" ".join(f"{name}=={version}" for name, version in lowest().items()))
