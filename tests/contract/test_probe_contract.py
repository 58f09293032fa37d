"""What holds for every module of probes: light imports, documentation."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import probes

ROOT = Path(probes.__file__).parents[1]

MODULES = sorted(
    path for path in Path(probes.__file__).parent.rglob("*.py") if path.name != "__init__.py"
)
HEAVY = (
    "torchvision",
    "timm",
    "torch_fidelity",
    "sklearn",
    "scipy",
    "pandas",
    "seaborn",
    "matplotlib",
)


def test_importing_probes_loads_no_heavy_package():
    names = ", ".join(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES)
    code = f"import sys, {names}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_module_says_what_it_is_for_and_every_public_function_too(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_probes_import_only_the_core(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert not name.startswith(("methods", "reports", "slurm")), name
            assert not name.startswith("bench") or name.startswith("bench.core"), name
