"""Every value of a run's files replaced by what it must not be: named and left out,
never a crash, in HTML and PDF.
"""

import json
import shutil

import numpy as np
import pytest
from support.pages import IMAGES, write_run

from bench.cli import guarded
from bench.commands.report import write_report
from bench.report import REPORT
from reports.output.html import render_html
from reports.output.pdf import render_pdf
from reports.page.pages import build_page
from reports.study.runs import read_study

NO_NUMBER = ("zero", float("nan"), [], {}, -1.5, 10**400, 1e308)
HUGE = (10**400, -(10**400), 1e308, -1e308, float("inf"))
CHANGES = [
    *(
        ("run.json", (key,), value)
        for key in ("seed", "width", "depth", "images", "batch")
        for value in NO_NUMBER
    ),
    *(
        ("run.json", (key,), value)
        for key in ("arm", "method", "size", "data", "encoder")
        for value in (7, [], {})
    ),
    *(("run.json", (key,), 7) for key in ("identity", "blocks", "argv")),
    *(
        ("cost.json", ("flops_per_image", part), value)
        for part in ("heads", "total")
        for value in ("x", [], {})
    ),
    *(
        ("cost.json", (key,), value)
        for key in ("parameters", "seconds_per_step")
        for value in ("x", float("inf"))
    ),
    *(("status.json", (key,), []) for key in ("state", "phase", "images", "message")),
    *(("status.json", (key,), "x") for key in ("images_total", "loss", "heartbeat", "pid")),
    *(
        (file, key, value)
        for value in HUGE
        for file, key in (
            ("cost.json", ("parameters", "backbone")),
            ("cost.json", ("flops_per_image", "total")),
            ("cost.json", ("seconds_per_step",)),
            ("status.json", ("images",)),
            ("results/samples-fd_local*", ("flops",)),
            ("results/samples-fd_local*", ("hours",)),
            ("results/samples-fd_local*", ("images",)),
            ("results/samples-fd_local*", ("rows", 0, "value")),
            ("results/samples-fd_local*", ("rows", 0, "real")),
            ("results/samples-fd_local*", ("rows", 0, "n")),
            ("results/features*", ("rows", 3, "stderr")),
            ("results/features*", ("rows", 3, "block")),
            ("results/features*", ("rows", 3, "t")),
        )
    ),
    *(("config.json", (), value) for value in ([], 7, "x")),
    *(
        ("results/features*", ("rows", 3, key), [])
        for key in ("metric", "block", "t", "protocol_id", "value")
    ),
    *(
        ("results/features*", ("rows", 3, "block"), value)
        for value in ("x", 0, 1.5, float("nan"), -1)
    ),
    *(
        ("results/samples-fd_local*", key, "x")
        for key in (("rows",), ("images",), ("rows", 0), ("rows", 0, "block"))
    ),
    ("results/samples-fd_local*", ("rows", 0, "details"), 7),
]
UNTOLD = [
    (
        "results/features*",
        ("rows", 3, "block"),
        None,
    ),  # right by itself: a number of the whole model
    ("results/samples-fd_local*", ("rows", 0, "block"), 3),
    ("env.json", ("python",), [1]),
    ("config.json", ("method",), 7),
    ("results/features*", ("rows", 3, "details"), {"correct": "xyz", "weight": 1e308}),
    ("results/features*", ("rows", 3, "protocol"), {"sampler": [[1]], "steps": {"a": 1e308}}),
    ("results/features*", ("rows", 3, "request"), {"metrics": [1], "run": {"a": None}}),
    ("run.json", ("aligned",), {"family": [1]}),
    ("run.json", ("blocks",), {"student": "x"}),
    ("run.json", ("argv",), [1, {"a": 2}]),
    ("run.json", ("identity",), {"optimizer": {"lr": [10**400]}}),
    ("cost.json", ("parameters",), {}),
    ("cost.json", ("flops_per_image",), None),
]
NESTED = b"[" * 200_000
RAW = [
    *((file, NESTED) for file in ("run.json", "status.json", "cost.json", "env.json")),
    *((file, NESTED) for file in ("config.json", "metrics.jsonl", "results/features*")),
    ("results/samples-fd_local*", b'{"rows": ' + NESTED + b"]" * 200_000 + b"}"),
    ("run.json", b'{"a": ' * 900 + b"1" + b"}" * 900),
    ("metrics.jsonl", b"1" * 5000),
    ("status.json", b"\xff\xfe{}"),
]
LINES = [  # of metrics.jsonl
    {"images": 640, "loss": {"velocity": 10**400}},
    {"images": 640, "loss": {"velocity": -1e308}},
    {"images": 640, "loss": {"velocity": "x"}},
    {"images": 640, "loss": 7},
    {"images": [1], "loss": {"velocity": 0.5}},
    {"images": 10**400, "loss": {"velocity": 0.5}, "diagnostics": [1]},
    {"images": 640, "time": {"images_per_second": 1e308}, "lr": "x", "grad_norm": {}},
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("sound"), "repa/local_m", snapshots=1, pictures=True)


def damaged_copy(sound, root, change):
    """The run with one value of its last file of that name changed."""
    pattern, place, value = change
    number = sum(1 for _ in root.iterdir())
    run = shutil.copytree(sound, root / f"run{number}")
    file = sorted(run.glob(pattern))[-1]
    content = parent = {"": json.loads(file.read_text())}
    for key in (path := ["", *place])[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    file.write_text(json.dumps(content[""]))
    return named_run(run, file)


def named_run(run, file):
    """The damaged file's name; the run is made one of its own, since copies of one are left out."""
    if file.name != "run.json":
        described = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(described | {"hash": run.name}))
    return f"{run.name}/{file.relative_to(run)}"


def test_a_file_that_is_no_json_at_all_is_named_and_left_out(sound, tmp_path):
    shutil.copytree(sound, tmp_path / sound.name)
    named = []
    for number, (pattern, content) in enumerate(RAW):
        run = shutil.copytree(sound, tmp_path / f"run{number}")
        file = sorted(run.glob(pattern))[-1]
        file.write_bytes(content)
        named.append(named_run(run, file))
    page = build_page(read_study(tmp_path), "all")
    render_html(page)
    problems = "\n".join(page.problems)
    assert not [file for file in named if f"{file}: " not in problems]


def test_lines_of_metrics_with_strange_values(sound, tmp_path):
    for number, line in enumerate(LINES):
        run = shutil.copytree(sound, tmp_path / f"run{number}")
        with open(run / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n" + json.dumps(line) + "\n")
        named_run(run, run / "metrics.jsonl")
    render_html(build_page(read_study(tmp_path), "all"))


def test_a_copied_run_is_one_run(tmp_path, capsys):
    for seed in range(2):
        run = write_run(tmp_path, "vanilla", seed=seed, snapshots=1)
    whole = read_study(tmp_path)
    copied = shutil.copytree(run, tmp_path / f"a copy of {run.name}")
    again = shutil.copytree(run, tmp_path / "z")
    study = read_study(tmp_path)
    assert list(study.runs) == list(whole.runs) and study.rows.equals(whole.rows)
    assert [line.partition(": ")[0] for line in study.problems] == [copied.name, again.name]
    assert all(f"seed and data of {run.name}" in line for line in study.problems)
    assert guarded(REPORT.main, ["all", "--runs", str(tmp_path), "--no-pdf"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {line[-1] for line in lines if line[:1] == ["vanilla"]} == {"2"}, "two seeds, not four"
    assert copied.name in (tmp_path / "reports" / "all.html").read_text(encoding="utf-8")
    # the run itself is gone: one of its copies stands for it
    shutil.rmtree(run)
    assert set(read_study(tmp_path).runs) == {*whole.runs, copied.name} - {run.name}


def test_a_run_of_its_own_is_no_copy(tmp_path):
    run = write_run(tmp_path, "vanilla", snapshots=1)
    changes = ({"seed": 7}, {"images": 7}, {"identity": {"a": 1}}, {"fingerprints": {"data": "x"}})
    for number, change in enumerate(changes):
        other = shutil.copytree(run, tmp_path / f"other{number}")
        described = json.loads((other / "run.json").read_text())
        (other / "run.json").write_text(json.dumps(described | change))
    assert len(read_study(tmp_path).runs) == 5


def test_a_damaged_value_is_named_and_left_out(sound, tmp_path):
    shutil.copytree(sound, tmp_path / sound.name)
    named = [damaged_copy(sound, tmp_path, change) for change in CHANGES]
    for change in UNTOLD:
        damaged_copy(sound, tmp_path, change)
    page = build_page(read_study(tmp_path), "all")
    render_html(page)
    problems = "\n".join(page.problems)
    silent = [
        change for change, file in zip(CHANGES, named, strict=True) if f"{file}: " not in problems
    ]
    assert not silent
    assert "seed is 'zero', expected a whole number of at least 0; the run is left out" in problems


@pytest.mark.parametrize("change", UNTOLD, ids=str)
def test_a_strange_value_beside_sound_runs_of_one_seed(sound, tmp_path, change):
    shutil.copytree(sound, tmp_path / sound.name)
    damaged_copy(sound, tmp_path, change)
    render_html(build_page(read_study(tmp_path), "all"))


def test_pictures_that_cannot_be_decoded_are_named_and_left_out(sound, tmp_path):
    grid, features = f"grid-{IMAGES:012d}.png", f"features_pca-{IMAGES:012d}.npz"
    whole, archive = (
        (sound / "samples" / grid).read_bytes(),
        (sound / "samples" / features).read_bytes(),
    )
    altered = whole[:60] + bytes(reversed(whole[60:90])) + whole[90:]
    for index, (name, content) in enumerate(
        [
            (grid, whole[:300]),
            (grid, altered),
            (grid, b"\x89PNG\r\n\x1a\n"),
            (features, archive[:300]),
            (features, b""),
        ]
    ):
        run = shutil.copytree(sound, tmp_path / f"run{index}")
        described = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(described | {"arm": f"arm{index}"}))
        (run / "samples" / name).write_bytes(content)
    np.savez(tmp_path / "run0" / "samples" / features, pictures=np.full((2, 4, 4, 3), "x"))
    page = build_page(read_study(tmp_path), "all")
    files = [line.partition(":")[0] for line in page.problems]
    grids, archives = (
        [f"run{n}/samples/{grid}" for n in range(3)],
        [f"run{n}/samples/{features}" for n in (0, 3, 4)],
    )
    assert files == grids + archives and all(
        "the picture is left out" in line for line in page.problems
    )
    assert render_pdf(page).startswith(b"%PDF")


def test_a_name_with_a_slash_and_markup_is_set_with_its_pictures(sound, tmp_path):
    run = shutil.copytree(sound, tmp_path / "run")
    described = json.loads((run / "run.json").read_text())
    names = {"data": "../a/<b>&\"'#x", "arm": "repa/<i>$_*", "size": "na/no"}
    (run / "run.json").write_text(json.dumps(described | names))
    page = build_page(read_study(tmp_path), "all")
    assert sum(figure.id == "samples" for part in page.sections for figure in part.figures) == 1
    assert "<i>" not in render_html(page) and render_pdf(page).startswith(b"%PDF")


def test_a_page_that_typst_refuses_is_one_clear_message(sound, tmp_path, monkeypatch, capsys):
    import typst

    def refuse(*_, **__):
        raise typst.TypstError("failed to decode image")

    monkeypatch.setattr(typst, "compile", refuse)
    with pytest.raises(ValueError, match=r"failed to decode image.*--no-pdf"):
        write_report("cost", sound.parent, out=tmp_path)
    assert (tmp_path / "cost.html").exists()
    assert guarded(REPORT.main, ["cost", "--runs", str(sound.parent), "--out", str(tmp_path)]) == 2
    assert "--no-pdf" in capsys.readouterr().err
