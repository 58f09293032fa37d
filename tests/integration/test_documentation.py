"""What the documentation shows is true.

The method of docs/adding_a_method.md runs, and links and commands lead somewhere.
"""

import os
import re
import shutil
import subprocess
import sys

from support.runs import ROOT, tiny_run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_example_method_trains_in_a_copy_of_the_project(tmp_path):
    page = (ROOT / "docs" / "adding_a_method.md").read_text()
    code, yaml = (
        re.search(r"```python\n(.*?)```", page, re.S),
        re.search(r"```yaml\n(.*?)```", page, re.S),
    )
    assert code and yaml and len(code[1].splitlines()) <= 35
    for command in ("check", "format --check"):
        words = [
            sys.executable,
            "-m",
            "ruff",
            *command.split(),
            "--stdin-filename",
            "methods/clean_first.py",
            "-",
        ]
        linted = subprocess.run(words, cwd=ROOT, input=code[1], capture_output=True, text=True)
        assert linted.returncode == 0, linted.stdout + linted.stderr
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", "examples", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    (copy / "methods" / "clean_first.py").write_text(code[1])
    (copy / "bench" / "conf" / "method" / "clean_first.yaml").write_text(yaml[1])
    words = tiny_run(tmp_path / "runs", "method=clean_first", "method.power=2", "images=256")
    result = subprocess.run(
        [sys.executable, "-m", "bench.run", *words],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "runs").glob("digits-clean_first-nano-s0-*/snapshots/*.safetensors"))


def test_the_example_metric_is_measured_in_a_copy_of_the_project(tmp_path):
    page = (ROOT / "docs" / "adding_a_metric.md").read_text()
    code, lines = (
        re.search(r"```python\n(.*?)```", page, re.S),
        re.search(r"```yaml\nnumbers:\n(.*?)metrics:\n(.*?)```", page, re.S),
    )
    assert code and lines and len(code[1].splitlines()) <= 50
    for command in ("check", "format --check"):
        words = [sys.executable, "-m", "ruff", *command.split()]
        words += ["--stdin-filename", "probes/distances/brightness.py", "-"]
        linted = subprocess.run(words, cwd=ROOT, input=code[1], capture_output=True, text=True)
        assert linted.returncode == 0, linted.stdout + linted.stderr
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", "examples", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    (copy / "probes" / "distances" / "brightness.py").write_text(code[1])
    table = copy / "bench" / "conf" / "metrics.yaml"
    text = table.read_text().replace("\nnumbers:\n", f"\nnumbers:\n{lines[1]}")
    table.write_text(text.replace("\nmetrics:\n", f"\nmetrics:\n{lines[2]}"))
    words = tiny_run(tmp_path / "runs", "images=256", "snapshots=0", "measure=full")
    words += ["evaluation.metrics=[brightness_gap]", "evaluation.samples=64"]
    result = subprocess.run(
        [sys.executable, "-m", "bench.run", *words, "evaluation.protocol=ode50"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and "brightness_gap" in result.stdout, result.stderr


def test_links_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_of_the_pages_exist():
    modules = set(
        re.findall(r"python -m (bench\.\w+)", "\n".join(page.read_text() for page in PAGES))
    )
    assert modules
    for module in modules:
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
