"""What is said of a number by its name, in one table for probes, commands and reports."""

from bench.core.metrics import FAMILIES, facts_of, metric_entries


def test_a_number_has_its_label_unit_and_direction():
    probe = facts_of("linear_probe")
    assert probe.axis == "linear probe (accuracy)" and probe.direction == "higher is better"
    assert probe.per_block and not probe.is_distance
    assert facts_of("fid").axis == "FID"


def test_a_distance_of_any_encoder_is_one_under_its_own_name():
    distance = facts_of("fd_dinov2_b")
    assert distance.is_distance and not distance.higher_is_better
    assert distance.axis == "fd_dinov2_b (Fréchet distance)"


def test_numbers_come_in_the_order_of_the_table_and_unknown_ones_last():
    names = ["mine", "knn", "fd_x", "fd_local", "fid", "fd_a", "heldout_loss"]
    ordered = sorted(names, key=lambda name: facts_of(name).position)
    assert ordered == ["fid", "fd_local", "heldout_loss", "knn", "fd_a", "fd_x", "mine"]


def test_every_line_of_the_table_is_of_a_family():
    assert {facts_of(n).family for e in metric_entries().values() for n in e.gives} == set(FAMILIES)
