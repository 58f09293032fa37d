"""Names that would move a terminal, compute in a spreadsheet or leave a folder; a disk that fills
while a page is written.
"""

import csv
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from support.pages import write_run

from bench.cli import guarded
from bench.commands.report import write_report
from bench.report import REPORT
from bench.study import studies as study

EVIL = {
    "arm": "=cmd|' /C calc'!A0\x1b[31m",
    "data": "@SUM(1)\x1b]0;title\x07",
    "size": "+1+cmd|x\x9b2J\u202e",
    "method": "lone \ud800 half",
}


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A folder of a run whose names, folder, notes and damaged file are all made to harm."""
    root = tmp_path_factory.mktemp("evil")
    run = write_run(root, "vanilla", snapshots=1)
    described = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(described | EVIL))
    for file in run.glob("results/*.json"):
        content = json.loads(file.read_text())
        content["rows"] = [row | {"note": "=1+1\x1b[5m"} for row in content["rows"]]
        file.write_text(json.dumps(content))
    shutil.copytree(run, root / "-2+3\x1b[31m copy")
    (root / "=broken\x1b[2J").mkdir()
    (root / "=broken\x1b[2J" / "run.json").write_text("[\x1b[31m")
    return root


def test_names_are_harmless_in_the_terminal_the_page_and_the_tables(evil, tmp_path, capsys):
    words = ["all", "--runs", str(evil), "--out", str(tmp_path), "--export", str(tmp_path / "x")]
    assert guarded(REPORT.main, words) == 0
    written = capsys.readouterr()
    html = (tmp_path / "all.html").read_text(encoding="utf-8")
    tables = list((tmp_path / "x").glob("*.csv"))
    texts = [written.out, written.err, html, *(path.read_text("utf-8") for path in tables)]
    assert r"\x1b[31m" in written.out and r"\x1b[31m" in html and r"\x1b[2J" in html
    for text in texts:
        assert not [letter for letter in text if ord(letter) < 32 and letter not in "\n\t"]
        assert not set(text) & {"\x7f", "\x9b", "\u202e", "\ud800"}
    cells = [cell for path in tables for row in csv.reader(path.open()) for cell in row]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not [cell for cell in cells if cell[:1] in ("=", "@", "+", "\t")]
    assert (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("letters", [b"caf\xe9", b"a\x1b[31m", "\u65e5".encode()])
def test_a_page_of_a_folder_of_any_name(tmp_path, letters):
    root = tmp_path / os.fsdecode(letters)
    runs = [write_run(root, "repa/local_m", seed=seed, snapshots=1) for seed in range(2)]
    for run in runs:
        # as bench.run writes it
        file = run / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"runs": str(root)}))
    # a measurement that only some runs have: the page says the command, with the folder's name
    next(runs[1].glob("results/features*")).unlink()
    assert guarded(REPORT.main, ["all", "--runs", str(root), "--out", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out" / "all.html").read_text(encoding="utf-8")
    assert "runs=" in html and "\x1b" not in html
    assert (tmp_path / "out" / "all.pdf").read_bytes().startswith(b"%PDF")


def test_a_disk_that_fills_leaves_the_old_page_whole(evil, tmp_path, monkeypatch, capsys):
    for name in ("cost.html", "cost.pdf"):
        (tmp_path / name).write_text("the old page")
    write_half = Path.write_bytes

    def fill(path, content):
        write_half(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    assert guarded(REPORT.main, ["cost", "--runs", str(evil), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "cost.html cannot be written" in said and str(tmp_path) in said
    assert {path.read_text() for path in tmp_path.iterdir()} == {"the old page"}
    assert len(list(tmp_path.iterdir())) == 2, "nothing half written is left"


@pytest.mark.parametrize("name", ["../outside", "sub/inside", "demo/../demo", "/tmp/x", ".", ""])
def test_a_study_is_a_file_of_the_study_folder(evil, tmp_path, monkeypatch, name):
    shutil.copytree(study.FOLDER, tmp_path / "study")
    monkeypatch.setattr(study, "FOLDER", tmp_path / "study")
    (tmp_path / "study" / "sub").mkdir()
    for place in ("outside.yaml", "study/sub/inside.yaml"):
        shutil.copy(tmp_path / "study" / "demo.yaml", tmp_path / place)
    before = set(tmp_path.rglob("*"))
    if name:
        with pytest.raises(ValueError, match=r"study=.* is unknown"):
            write_report("cost", evil, study=name, out=tmp_path / "out" / "pages")
    with pytest.raises(ValueError, match=r"study=.* is unknown"):
        study.load(name)
    assert set(tmp_path.rglob("*")) == before
