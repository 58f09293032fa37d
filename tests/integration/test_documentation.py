"""What the documentation shows is true.

The examples of the pages for those who extend it run, and links and commands lead somewhere.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import ROOT, tiny_run

from bench.commands.timing.arms import RandomFeatures
from bench.commands.timing.counted import counted_hours
from bench.config.compose import compose, uses_encoder
from bench.config.groups import build, options
from bench.core.model.tokens import TokenGrid
from bench.core.train.cost import count

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


EXAMPLES = {
    "adding_a_method": "method=clean_first method.power=2",
    "adding_an_encoder": "method=repa encoder=cosines",
    "adding_a_data_set": "data=stripes",
    "adding_a_metric": "snapshots=0 measure=full evaluation.metrics=[brightness_gap] "
    "evaluation.samples=64 evaluation.protocol=ode50",
}
METRIC = "probes/distances/brightness.py"
# one process for all examples, as it spends most of its time on importing
RUNS = """
import contextlib, io, json, sys
from bench.cli import guarded
from bench.run import RUN
ends = {}
for name, words in json.load(sys.stdin).items():
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        ends[name] = guarded(RUN.main, words), said
print(json.dumps({name: [code, said.getvalue()] for name, (code, said) in ends.items()}))
"""


def files_of(name: str) -> dict[str, str]:
    """{path: content} of the files that a page adds."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    if name != "adding_a_metric":
        return dict(re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", page, re.S))
    code = re.search(r"```python\n(.*?)```", page, re.S)
    lines = re.search(r"```yaml\nnumbers:\n(.*?)metrics:\n(.*?)```", page, re.S)
    assert code and lines
    table = "bench/conf/metrics.yaml"
    text = (ROOT / table).read_text(encoding="utf-8")
    for part, added in zip(("numbers", "metrics"), lines.groups(), strict=True):
        assert f"\n{part}:\n" in text
        text = text.replace(f"\n{part}:\n", f"\n{part}:\n{added}")
    return {METRIC: code[1], table: text}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Each example trained in a copy of the project that has all of their files: {page: (exit code,
    what it said, its runs)}.
    """
    folder = tmp_path_factory.mktemp("copy")
    copy = folder / "project"
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "examples")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for name in EXAMPLES:
        for file, content in files_of(name).items():
            (copy / file).write_text(content, encoding="utf-8")
    words = {
        name: tiny_run(folder / name, "images=256", f"cache={folder}", *example.split())
        for name, example in EXAMPLES.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", RUNS],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        input=json.dumps(words),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {name: (*end, folder / name) for name, end in json.loads(done.stdout).items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_page_is_two_files_and_trains(name, trained):
    files = files_of(name)
    assert sorted(Path(file).suffix for file in files) == [".py", ".yaml"]
    for file, content in files.items():
        if file.endswith(".py"):
            assert linted(file, content) == ""
        if not (ROOT / file).exists():
            most = 50 if file == METRIC else 40
            assert len(content.splitlines()) <= most, f"{file} is no small example"
    code, said, runs = trained[name]
    assert code == 0, said
    if name == "adding_a_metric":
        assert "brightness_gap" in said
    else:
        assert list(runs.glob("*/snapshots/*.safetensors"))


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


def test_links_lead_to_files():
    links = [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text())
        if not target.startswith("http")
    ]
    assert len(links) >= len(PAGES)
    assert [(page.name, to) for page, to in links if not (page.parent / to).exists()] == []


@pytest.mark.parametrize("size", [pytest.param("XL", marks=pytest.mark.slow), "B"])
def test_gpu_hours_are_those_of_the_counted_flops(size):
    page = (ROOT / "docs" / "imagenet.md").read_text()
    (rate,) = re.findall(rf"(\d+)(?: TFLOP/s)? at {size} \(", page)
    rows = re.findall(r"^\| (`.*?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.M)
    told = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(told) == set(options("method"))
    grid, place = TokenGrid((32, 32), 2, 4), {"XL": 1, "B": 3}[size]
    for name in ("vanilla", "repa", "selfflow", "haste"):
        cfg = compose([f"method={name}", "data=imagenet256", f"size={size}"])
        encoder = RandomFeatures(grid, 768) if uses_encoder(name) else None
        cost = count(build(cfg.method), grid, cfg.size, 1000, encoder, (3, 256, 256))
        flops = cost.flops_per_image["total"]
        of_all = flops * cfg.images
        if cost.ends and cost.flops_per_image_after:
            after = cost.flops_per_image_after["total"]
            of_all = flops * cost.ends + after * (cfg.images - cost.ends)
        hours = of_all / (float(rate) * 1e12) / 3600
        row = told[name]
        assert (row[place], row[place + 1]) == (f"{flops / 1e9:.1f}", f"{hours:.1f}"), name


def test_gpu_hours_at_the_papers_scale_are_what_the_command_prints():
    page = (ROOT / "docs" / "paper_scale.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*) \|$", page, re.M)
    assert {arm for _, arm, _ in told} == {"vanilla", "repa", "selfflow", "sra"}
    rows = {(data, arm): row for data, arm, row in told}
    for arm in ("vanilla", "selfflow"):
        words = {arm: ["data=sounds_oobleck", "size.depth=26"]}
        printed = counted_hours(words, 380, 768).splitlines()[-1]
        own = rows["sounds_oobleck", arm].split(" | ")
        # but for the ratio, as a table begins with vanilla
        assert [one for i, one in enumerate(printed.strip("| ").split(" | ")) if i != 3] == [
            arm,
            *(one for i, one in enumerate(own) if i != 2),
        ]


def test_commands_of_the_pages_exist():
    modules = set(
        re.findall(r"python -m (bench\.\w+)", "\n".join(page.read_text() for page in PAGES))
    )
    assert modules
    for module in modules:
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
