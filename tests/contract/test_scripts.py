"""Scripts below tests/ say what they do when asked, and do nothing else."""

import runpy
import subprocess
import sys

import pytest
from support.runs import ROOT

TESTS = ROOT / "tests"
SCRIPTS = sorted(
    path
    for path in TESTS.rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8").splitlines()
)
SHELL = sorted(TESTS.rglob("*.sh"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_has_a_help_page(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {path.name}")


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.stem)
def test_a_shell_script_prints_its_head(path, tmp_path):
    done = subprocess.run(
        ["bash", path, "--help"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    assert done.stdout.splitlines()[0] == lines[1] and not done.stderr
    assert not any(tmp_path.iterdir())
