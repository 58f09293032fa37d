"""Tables: what all rows share is said once, numbers are explained where they stand,
headings are names in a CSV.
"""

import csv
import json

import pandas as pd
import pytest
from support.pages import write_run, write_runs
from support.truth import rows

from reports.draw.table import cell
from reports.output.export import export_page
from reports.page.missing import missing_parts
from reports.page.pages import build_page
from reports.page.run_tables import arms_table
from reports.page.tables import results_tables
from reports.study.runs import StudyResults, read_study


def test_what_all_arms_share_is_said_once(tmp_path):
    write_runs(tmp_path, arms={"vanilla": 1.0, "selfflow": 0.9}, seeds=2, snapshots=1, probes=False)
    table = arms_table(read_study(tmp_path))
    heads = [column.label for column in table.columns]
    assert "data digits" in table.note and "runs 2" in table.note
    assert not {"data", "size", "runs"} & set(heads)
    assert {"arm", "blocks", "FLOPs / image", "s / step"} <= set(heads)
    assert all(len(row) == len(heads) for row in table.rows)


def test_copy_rate_and_label_agreement_are_explained(tmp_path):
    write_run(tmp_path, "vanilla")
    found = results_tables(read_study(tmp_path))
    assert found
    # once: the tables behind the first have the same columns
    for index, table in enumerate(found):
        for words in ("Label agreement: share of samples", "0 for copies", "Related: to the arm's"):
            assert (words in table.note) == (index == 0)
        assert ("Columns as in the first table" in table.note) == (index > 0)


def test_columns_of_an_exported_law_have_names_of_their_own(tmp_path):
    write_runs(
        tmp_path / "runs",
        arms={"vanilla": 1.0},
        sizes=("nano", "micro", "mini", "tiny", "S"),
        snapshots=1,
    )
    export_page(build_page(read_study(tmp_path / "runs"), "scaling"), tmp_path / "out")
    with open(tmp_path / "out" / "table-laws-0.csv", encoding="utf-8") as file:
        heads = next(csv.reader(file))
    assert len(set(heads)) == len(heads) and {"E 95 % interval", "a 95 % interval"} <= set(heads)


def test_what_no_arm_has_is_missing_too(tmp_path):
    run = write_run(tmp_path, "selfflow")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["loss"]["representation"] = 0.1
        line["diagnostics"].pop("gradient_agreement")
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {
        line.what.partition(",")[0]: line.command for line in missing_parts(read_study(tmp_path))
    }
    assert "measure=full" in found["features as pictures"]
    command = found["gradient agreement"]
    assert (
        command.startswith("mkdir -p")
        and f"mv {run} " in command
        and "python -m bench.run method=selfflow" in command
    )
    # looked for once, before there was any: another run would have none either
    for line in lines[1:]:
        line["diagnostics"].pop("feature_norm")
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not any("gradient" in line.what for line in missing_parts(read_study(tmp_path)))


@pytest.mark.parametrize(
    ("modality", "words", "missing"),
    [
        ("picture", [], True),
        ("sound", [], False),
        ("picture", ["method=vanilla", "evaluation.metrics=[fd_local]"], False),
    ],
)
def test_features_that_become_no_pictures_are_not_missing(tmp_path, modality, words, missing):
    """Those of sounds, and of runs that were told what to measure: unless another arm has them."""

    def found():
        return any(
            "features as pictures" in one.what for one in missing_parts(read_study(tmp_path))
        )

    runs = [write_run(tmp_path, arm) for arm in ("vanilla", "selfflow")]
    for run in runs:
        described = json.loads((run / "run.json").read_text()) | {"argv": words}
        (run / "run.json").write_text(json.dumps(described))
        configuration = json.loads((run / "config.json").read_text())
        configuration["data"]["modality"] = modality
        (run / "config.json").write_text(json.dumps(configuration))
    assert found() == missing
    (runs[0] / "samples").mkdir()
    (runs[0] / "samples" / "features_pca-000000004096.png").write_bytes(b"")
    assert found()


def test_a_measure_beside_a_distance_keeps_its_mark():
    final = rows({"vanilla": 10.0, "repa/m": 9.0}).query("final")
    recall = final.assign(metric="recall", value=0.8, higher_is_better=True, protocol_id="r")
    recall.loc[recall["arm"] == "repa/m", "related"] = "same encoder"
    both = pd.concat([final, recall], ignore_index=True)
    [table] = results_tables(StudyResults("", both, {}))
    heads = [column.label for column in table.columns]
    notes = {row[0].text: row[heads.index("note")].text for row in table.rows}
    assert notes == {"vanilla": "", "repa/m": "related: recall"}


def test_the_last_bits_of_a_number_are_not_written():
    assert cell(0.1 + 0.2).sort == cell(0.3).sort == 0.3
    assert cell(1234567).sort == 1234567
