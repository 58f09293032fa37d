"""Every command says what it does at once, with examples: its help page imports nothing slow."""

import subprocess
import sys

import pytest
from support.house import COMMANDS


@pytest.mark.parametrize("module", COMMANDS)
def test_help_has_examples_and_imports_nothing_slow(module):
    code = f"""
import sys, runpy
sys.argv = ["x", "--help"]
try:
    runpy.run_module("bench.{module}", run_name="__main__")
except SystemExit as done:
    assert not done.code
slow = {{"torch", "timm", "torchvision", "sklearn", "hydra", "pandas"}} & set(sys.modules)
assert not slow, slow
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "xample" in found.stdout
