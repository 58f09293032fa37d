"""Means, spreads and comparable groups of result rows, against plain statistics."""

import math
import statistics

import pytest
from support.pages import write_run, write_runs

from reports.study.groups import by_size, distances, groups, of_group, pooled_deviation, summarise
from reports.study.runs import read_study


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_runs(
        root, arms={"vanilla": 1.0, "selfflow": 0.8}, sizes=("micro", "nano"), seeds=4, snapshots=2
    )
    return read_study(root).rows


def one_group(rows, metric="fd_local"):
    final = rows[rows["final"]]
    return of_group(final, next(group for group in distances(final) if group.metric == metric))


def test_mean_and_spread_are_those_of_the_seeds(rows):
    part = one_group(rows)
    records = {(record.arm, record.size): record for record in summarise(part, ["arm", "size"])}
    assert len(records) == 4
    for (arm, size), record in records.items():
        values = part.loc[(part["arm"] == arm) & (part["size"] == size), "value"].tolist()
        assert record.n == len(values) == 4
        assert record.mean == pytest.approx(statistics.mean(values))
        assert record.sd == pytest.approx(statistics.stdev(values))


def test_noise_floor_is_the_pooled_deviation_of_the_log(rows):
    _, nano = by_size(one_group(rows))[0]
    logs = [[math.log(value) for value in part["value"]] for _, part in nano.groupby("arm")]
    expected = math.sqrt(
        statistics.mean(statistics.variance(values) for values in logs)
    )  # equal n: the mean of variances
    deviation, freedom = pooled_deviation(nano)
    assert deviation == pytest.approx(expected)
    assert freedom == 6


def test_one_seed_has_no_spread(tmp_path):
    write_run(tmp_path, "vanilla")
    part = one_group(read_study(tmp_path).rows)
    assert summarise(part, ["arm"])[0].sd is None
    assert pooled_deviation(part) == (None, 0)


def test_sizes_go_from_small_to_large(rows):
    assert [size for size, _ in by_size(one_group(rows))] == ["nano", "micro"]


def test_unlike_protocols_budgets_and_data_are_apart(rows):
    changed = rows.copy()
    changed.loc[changed["arm"] == "selfflow", "protocol_id"] = "other"
    assert len(distances(changed)) == 2 * len(distances(rows))
    for group in distances(changed):
        assert of_group(changed, group)["arm"].nunique() == 1
    changed = rows.copy()
    changed.loc[changed["arm"] == "selfflow", "images_total"] = 64
    assert len(distances(changed)) == 2 * len(distances(rows))


def test_distances_leave_out_what_is_better_when_higher(rows):
    assert {group.metric for group in distances(rows)} == {"heldout_loss", "fd_local", "fd_pixels"}
    assert {group.metric for group in groups(rows, per_block=True)} == {"linear_probe", "knn"}


def test_values_that_are_missing_are_counted_not_averaged(rows):
    part = one_group(rows).copy()
    first = part.index[part["arm"] == "vanilla"][0]
    part.loc[first, "value"] = math.nan
    record = next(record for record in summarise(part, ["arm", "size"]) if record.failed)
    assert record.n == 3 and record.failed == 1 and math.isfinite(record.mean)
