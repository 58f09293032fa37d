"""Tables of results: related measures are marked wherever they stand, and numbers are the same on every machine."""

from __future__ import annotations

import pandas as pd
from findings_truth import rows

from reports.tables import cell, results_tables


def test_a_measure_beside_a_distance_keeps_its_mark():
    final = rows({"vanilla": 10.0, "repa/m": 9.0}).query("final")
    recall = final.assign(metric="recall", value=0.8, higher_is_better=True, protocol_id="r")
    recall.loc[recall["arm"] == "repa/m", "related"] = "same encoder"
    [table] = results_tables(pd.concat([final, recall], ignore_index=True))
    heads = [column["label"] for column in table["columns"]]
    notes = {row[0]["text"]: row[heads.index("note")]["text"] for row in table["rows"]}
    assert notes == {"vanilla": "", "repa/m": "related: recall"}


def test_the_last_bits_of_a_number_are_not_written():
    assert cell(0.1 + 0.2)["sort"] == cell(0.3)["sort"] == 0.3
    assert cell(1234567)["sort"] == 1234567
