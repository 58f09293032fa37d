"""bench.publish: a published run reads as the original and holds no name of this machine,
no weights.
"""

import base64
import json
import tarfile

import pytest
from support.pages import write_runs

from bench.cli import BAD_INPUT, guarded
from bench.core.store.row_table import row_table
from bench.core.store.runs import read_runs
from bench.publish import PUBLISH
from reports.output.archive import LARGEST_NETWORK, anonymous, copy_run, copy_trained
from reports.page.pages import build_page
from reports.study.runs import read_study

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def test_hosts_processes_and_folders_are_taken_out():
    content = {
        "host": "here",
        "pid": 7,
        "argv": ["runs=/home/me/runs"],
        "cache": "/home/me/runs/cache",
        "root": "/data/of/mine/cifar",
        "n": [1, {"host": "x"}],
    }
    assert anonymous(content, "/home/me/runs") == {
        "argv": ["runs=runs"],
        "cache": "runs/cache",
        "root": "cifar",
        "n": [1, {}],
    }


def test_a_published_run_reads_as_the_original(tmp_path):
    (run,) = write_runs(tmp_path / "here", {"vanilla": 1.0}, seeds=1, pictures=True)
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "ckpt.pt").write_bytes(b"weights")
    (run / "config.json").write_text(json.dumps({"runs": str(tmp_path / "here"), "seed": 0}))
    copy_run(run, tmp_path / "there" / run.name, str(tmp_path / "here"))
    before, after = (
        row_table(*read_runs(tmp_path / "here")),
        row_table(*read_runs(tmp_path / "there")),
    )
    assert len(before) > 10 and before.astype(str).equals(after.astype(str))
    assert not (tmp_path / "there" / run.name / "checkpoints").exists()
    assert all(
        str(tmp_path).encode() not in path.read_bytes()
        for path in (tmp_path / "there").rglob("*")
        if path.is_file()
    )


def test_networks_trained_on_the_spot_go_with_their_rows(tmp_path):
    for kind, name, size in (
        ("extractors", "digits-1", 10),
        ("encoders", "local_m-digits-2", 10),
        ("encoders", "untrained(dinov2_g)-3", LARGEST_NETWORK + 1),
        ("features", "snapshot-4", 10),
    ):
        folder = tmp_path / "cache" / kind / name
        folder.mkdir(parents=True)
        (folder / "weights.safetensors").write_bytes(bytes(size))
        folder.with_name(f"{name}.lock").touch()
    copy_trained(tmp_path / "cache", tmp_path / "to")
    copied = {str(p.relative_to(tmp_path / "to")) for p in (tmp_path / "to").glob("*/*")}
    assert copied == {"extractors/digits-1", "encoders/local_m-digits-2"}
    copy_trained(tmp_path / "nowhere", tmp_path / "to")  # a folder of runs without a cache


def test_pictures_over_training_are_published_of_the_first_seed(tmp_path):
    runs = write_runs(tmp_path / "here", {"vanilla": 1.0}, seeds=2, snapshots=1)
    for run in runs:
        (run / "samples").mkdir(exist_ok=True)
        for images in range(8):
            (run / "samples" / f"grid-{images:012d}.png").write_bytes(PNG)
    words = [f"runs={tmp_path / 'here'}", f"out={tmp_path / 'out'}", "pages=cost"]
    assert guarded(PUBLISH.main, words) == 0
    with tarfile.open(tmp_path / "out" / "runs.tar.xz") as archive:
        names = [name for name in archive.getnames() if "/grid-" in name]
    first, second = ([n[-6:-4] for n in names if run.name in n] for run in runs)
    assert first == ["02", "03", "04", "05", "06", "07"] and second == ["07"]


def test_a_published_page_holds_the_configuration_of_its_runs(tmp_path):
    runs = write_runs(tmp_path / "here", {"vanilla": 1.0}, seeds=2, snapshots=1)
    for run in runs:
        copy_run(run, tmp_path / "there" / run.name, str(tmp_path / "here"))
    study = read_study(tmp_path / "there")
    assert all(run.configuration["optimizer"] == {"lr": 0.004} for run in study.runs.values())
    (table,) = [
        table for table in build_page(study, "cost").appendix if table.id == "configuration"
    ]
    assert ["optimizer.lr", "0.004"] in [[cell.text for cell in row] for row in table.rows]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study=demo"], "out=DIR missing"),
        (["studies=demo"], "there is no key 'studies'; did you mean study?"),
        (["study=demo", "out=x", "pages=best"], "pages=best is unknown"),
        (["study=demo", "out=x", "runs=nowhere"], "no run of study=demo"),
    ],
)
def test_bad_input_is_one_sentence(words, message, capsys):
    assert guarded(PUBLISH.main, words) == BAD_INPUT
    assert message in capsys.readouterr().err
