"""bench.evaluate ema=FILE: a rebuilt average is measured beside the snapshots,
and nothing of theirs is overwritten.
"""

import json
import shutil

import pytest
from safetensors.torch import save_file
from support.runs import only_run, run_in_process, tiny_run

from bench.core.store import checkpoints, weight_files
from bench.core.store.files import file_hash
from bench.core.store.row_table import row_table
from bench.core.store.runs import read_runs
from bench.core.train.posthoc import rebuild
from bench.evaluate import main

MEASURE = (
    "protocol=ode50",
    "steps=2",
    "samples=64",
    "device=cpu",
    "reference=train",
    "metrics=fd_local_s",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder."""
    runs = tmp_path_factory.mktemp("runs")
    assert run_in_process(tiny_run(runs, "images=512", "snapshots=4")) == 0
    return only_run(runs)


def test_an_average_is_measured_beside_the_snapshot(run, tmp_path):
    path, _ = rebuild(run, 0.9)
    words = [f"run={run}", *MEASURE, f"cache={tmp_path}"]
    for more in ([], [f"ema={path}"]):
        assert main([*words, *more]) == 0
    of_snapshot, of_average = sorted(
        run.glob("results/evaluate-*.json"), key=lambda file: "decay" in file.name
    )
    assert "-decay0.9-warmup-" in of_average.name and "decay" not in of_snapshot.name
    content = json.loads(of_average.read_text())
    assert content["snapshot_sha256"] == file_hash(path) and content["images"] == 512
    noted = content["posthoc_ema"]
    assert (noted["file"], noted["decay"], noted["warmup"]) == (path.name, "0.9", "True") and noted[
        "profile_error"
    ]
    frame = row_table(*read_runs(run.parent))
    rows = frame[frame["kind"].str.startswith("evaluate")]
    weights = [protocol["sampling"]["weights"] for protocol in rows["protocol"]]
    assert sorted(weights) == ["ema", "ema-decay0.9-warmup"] and rows["protocol_id"].nunique() == 2
    assert len(list(run.glob("samples/*/samples_64.npz"))) == 2


def test_what_is_no_average_of_the_run_is_refused(run, tmp_path):
    path, _ = rebuild(run, 0.9)
    elsewhere = shutil.copy(path, tmp_path / path.name)
    plain, damaged, other = (
        run / "posthoc" / f"{name}.safetensors" for name in ("plain", "damaged", "other")
    )
    shutil.copy(weight_files.snapshot_path(run, 512), plain)
    damaged.write_bytes(path.read_bytes()[:100])
    about = {"images": "512", "decay": "0.9", "warmup": "True", "profile_error": "0"}
    save_file({"w": next(iter(checkpoints.read_tensors(path).values()))}, other, metadata=about)
    for words, message in (
        ([f"ema={elsewhere}"], "is not of this run: python -m bench.posthoc_ema run="),
        ([f"ema={plain}"], "does not say which average it is"),
        ([f"ema={damaged}"], "cannot be read"),
        ([f"ema={run / 'posthoc' / 'none.safetensors'}"], "cannot be read"),
        ([f"ema={other}"], "does not fit this backbone"),
        ([f"ema={path}", "images=512"], r"images=512 does not go with ema=\.\.\."),
    ):
        with pytest.raises(ValueError, match=message):
            main([f"run={run}", *MEASURE[:4], *words])
    with pytest.raises(ValueError, match=r"ema=x does not go with checkpoint=\.\.\."):
        main(["checkpoint=a", "format=sit", "size=nano", "data=digits", "ema=x"])
