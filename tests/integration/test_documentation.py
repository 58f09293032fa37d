"""What the documentation shows is true.

The examples of the pages for those who extend it run, and links and commands lead somewhere.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import ROOT, tiny_run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


EXAMPLES = {
    "adding_a_method": "method=clean_first method.power=2",
    "adding_an_encoder": "method=repa encoder=cosines",
    "adding_a_data_set": "data=stripes",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, to which each page adds its files."""
    copy = tmp_path_factory.mktemp("copy") / "project"
    ignored = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", "examples", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_page_is_two_files_and_trains(name, project, tmp_path):
    page = (ROOT / "docs" / f"{name}.md").read_text()
    files = dict(re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", page, re.S))
    assert sorted(Path(file).suffix for file in files) == [".py", ".yaml"]
    for file, content in files.items():
        assert len(content.splitlines()) <= 40, f"{file} is no small example"
        (project / file).write_text(content)
        if file.endswith(".py"):
            assert linted(file, content) == ""
    words = tiny_run(tmp_path / "runs", *EXAMPLES[name].split(), "images=256", f"cache={tmp_path}")
    result = subprocess.run(
        [sys.executable, "-m", "bench.run", *words],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "runs").glob("*/snapshots/*.safetensors"))


def linted(file: str, content: str) -> str:
    """What ruff has to say of a file."""
    said = ""
    for command in ("check", "format --check"):
        words = ["ruff", *command.split(), "--stdin-filename", file, "-"]
        result = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, input=content, capture_output=True, text=True
        )
        said += "" if result.returncode == 0 else result.stdout + result.stderr
    return said


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
