"""The claim of docs/adding_a_claim.md is judged on a page of a copy of the project."""

import html
import os
import re
import shutil
import subprocess
import sys

import yaml
from support.pages import write_runs
from support.runs import ROOT

CLAIMS = "reports/findings/claims.yaml"


def test_the_example_claim_has_a_verdict_on_the_page_that_it_names(tmp_path):
    found = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "adding_a_claim.md").read_text(), re.S)
    assert found
    [claim] = yaml.safe_load(found[1])
    copy = tmp_path / "project"
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "examples")
    shutil.copytree(ROOT, copy, ignore=ignored)
    with open(copy / CLAIMS, "a", encoding="utf-8") as file:
        file.write(found[1])
    write_runs(tmp_path / "runs", {"vanilla": 1.0, "dispersive": 0.8}, seeds=7, snapshots=1)

    words = [*claim["pages"], "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    result = subprocess.run(
        [sys.executable, "-m", "bench.report", *words, "--no-pdf"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    page = html.unescape((tmp_path / "ablation.html").read_text(encoding="utf-8"))
    assert f"<b>here supported</b> {claim['sentence']}" in page
    assert claim["source"] in page and claim["elsewhere"] in page
    assert "data digits (published: imagenet256)" in page
