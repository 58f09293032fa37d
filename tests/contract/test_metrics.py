"""What holds for every metric of bench/conf/metrics.yaml: complete protocols, the direction on a
planted signal, samples that are not finite, nothing measured twice.
"""

import dataclasses
import functools
import json
from fnmatch import fnmatch

import pytest
import torch
from support.arms import StandInEncoder, random_backbone
from support.evaluations import (
    StandInInception,
    StandInListener,
    StandInViewer,
    evaluated,
    few_features,
)
from support.runs import only_run, run_in_process, tiny_run
from support.worlds import Knows, corridor, plane, stands_still, walks_where_it_is_told

from bench.core.data.base import PictureData, shown
from bench.core.data.moving_digits import MovingDigits
from bench.core.data.notes import Notes
from bench.core.data.words import Words
from bench.core.metrics import facts_of, metric_entries
from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.core.train.distributed import Processes
from bench.evaluation.samples import SampleStore
from probes.extractors.reader import ReadingRecipe
from probes.harness import SERVED_WEIGHTS
from probes.metric import NEEDS, PICTURES, REFERENCE, TOKENS, Inputs, Sampled, metric_class

ENTRIES = list(metric_entries().values())
SLOW = {"fd_frames", "fad_clap_audio", "fad_clap_music"}  # train or pass through a large network
EACH = [
    pytest.param(entry, marks=[pytest.mark.slow] * (entry.name in SLOW), id=entry.name)
    for entry in ENTRIES
]
GRID = TokenGrid((8, 8), 2, 3)
# Numbers that noise in place of samples makes neither better nor worse, and what is tried instead.
COPIES = {"copy_rate"}
UNTRIED = {"is", "recall"}  # of stand-in features they say nothing about noise


def data_set(shuffled=False):
    """8 x 8 pictures, each class with a corner and a colour: easy to tell unless the labels lie."""
    draw, pictures, labels = torch.Generator().manual_seed(0), {}, {}
    for split, n in (("train", 240), ("heldout", 120)):
        label = torch.arange(n) % 4
        picture = (40 * torch.rand(n, 3, 8, 8, generator=draw)).to(torch.uint8) + 60
        for i, corner in enumerate(label.tolist()):
            top, left = 4 * (corner // 2), 4 * (corner % 2)
            picture[i, :, top : top + 4, left : left + 4] += 60
            picture[i, corner % 3] += 25 * (1 + corner // 2)
        pictures[split] = picture
        labels[split] = label[torch.randperm(n, generator=draw)] if shuffled else label
    return PictureData("corners", GRID, 4, pictures, labels)


def data_of(entry, shuffled=False):
    """What an entry can be measured on: pictures with classes, words, sounds, videos or actions."""
    if entry.name == "success":
        return corridor("walk", "hop")
    if entry.name == "action_error":
        return plane(episodes=80, heldout=40)
    if entry.name.startswith("fad_clap"):
        return Notes("notes", 8000, 160, 400, 32, 8, 1, 240, 120)
    if entry.name in ("fd_frames", "fvd_videomae"):
        return MovingDigits("moving_digits", 4, 12, (2, 4, 4), 240, 120)
    if entry.name != "word_accuracy":
        return data_set(shuffled)
    fonts = ["DejaVuSans", "DejaVuSerif"], ["DejaVuSans-Bold"]
    return Words("words", None, 2, 12, 16, 4, 512, 120, *fonts)


def network_of(entry, right=True):
    """A stand-in for an encoder; a wrong one is read without regard to its pictures' places."""
    if not entry.network:
        return None
    if "target" in entry.network:
        network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
        network.fingerprint = "4" * 16
        return network
    encoder = StandInEncoder()
    if not right:
        read = encoder.forward
        encoder.forward = lambda images, **rest: read(torch.rand_like(images.float()) * 255)
        encoder.fingerprint = "5" * 16
    return encoder


def inputs_of(entry, tmp_path, data, tokens=None, backbone=None, reference=None):
    """What the evaluator would hand to a metric."""
    needs, sampled = metric_class(entry.name).needs, None
    sampling = {"rounding": "round_half_up", "decoder_precision": "float32"}
    if {TOKENS, PICTURES} & set(needs):
        folder = tmp_path / f"samples-{float(torch.nan_to_num(tokens).sum()):.3f}"
        folder.mkdir(exist_ok=True)
        store = SampleStore(folder, len(tokens), 64)

        def paint(pixels):
            whole = torch.isfinite(pixels).flatten(1).all(dim=1)
            grey = torch.nan_to_num(pixels).clamp(-1, 1)
            return shown(((grey + 1) * 127.5).round().to(torch.uint8)), whole

        blocks = list(tokens.split(64))
        padded = [torch.cat([block, block[: 64 - len(block)]]) for block in blocks]
        alone = Processes(0, 1, torch.device("cpu"))
        store.make({TOKENS, PICTURES}, lambda number: padded[number], data.decode, paint, alone)
        store.finish()
        sampled = Sampled(
            sampling=sampling,
            tokens=tokens,
            asked=torch.arange(len(tokens)),
            labels=data.labels("heldout")[: len(tokens)],
            file=store.path,
            not_finite=store.not_finite(),
        )
    weights = backbone or random_backbone(SIZES["nano"], data.grid, 4)
    return Inputs(
        backbone=weights,
        weights="ema",
        sha256=f"{sum(float(p.detach().sum()) for p in weights.parameters()):.6f}",
        data=data,
        data_name=data.fingerprint,
        aligned=None,
        device=torch.device("cpu"),
        cache=tmp_path.parent / "metrics-cache",  # one for all tests: networks are trained once
        reference=(reference or data) if REFERENCE in needs else None,
        samples=sampled,
    )


def rows_of(entry, inputs, right=True):
    metric = metric_class(entry.name)(entry.name, network_of(entry, right))
    metric.check(dataclasses.replace(inputs, samples=None))
    return metric.measure(inputs)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    few_features(monkeypatch)
    monkeypatch.setattr("probes.distances.fid.load_inception", lambda path: StandInInception())
    monkeypatch.setattr("probes.distances.sounds.load_clap", StandInListener)
    monkeypatch.setattr("probes.distances.videos.load_videomae", StandInViewer)
    monkeypatch.setattr("probes.distances.encoder.DGM_SIDE", 8)
    short = functools.partial(ReadingRecipe, width=32, steps=100, batch=64)
    monkeypatch.setattr("probes.extractors.reader.ReadingRecipe", short)
    torch.manual_seed(0)


def good_and_bad(entry, tmp_path):
    """Rows of something that the metric should like and of something that it should not."""
    data, draw = data_of(entry), torch.Generator().manual_seed(1)
    real = data.tokens("heldout")
    noise = torch.randn(real.shape, generator=draw)
    if {TOKENS, PICTURES} & set(metric_class(entry.name).needs):
        good, bad = (inputs_of(entry, tmp_path, data, tokens) for tokens in (real, noise))
        copied = inputs_of(entry, tmp_path, data, data.tokens("train")[: len(real)])
        copies = [row for row in rows_of(entry, copied) if row.metric in COPIES]
        others = [row for row in rows_of(entry, bad) if row.metric not in COPIES]
        return rows_of(entry, good), [*others, *copies]
    if entry.name == "success":  # a policy that knows the way, and one that waits
        walks, waits = (Knows(data, rule) for rule in (walks_where_it_is_told, stands_still))
        return [
            rows_of(entry, inputs_of(entry, tmp_path, data, backbone=b)) for b in (walks, waits)
        ]
    if entry.name == "harness_success":  # what a harness saw of a policy, and of one that fails
        return [harness_rows(entry, tmp_path, data, success) for success in (True, False)]
    # features: labels that lie, an encoder that sees noise, a backbone that predicts noise
    wild = random_backbone(SIZES["nano"], GRID, 4)
    with torch.no_grad():
        wild.final_layer.linear.weight.mul_(100)
    good = rows_of(entry, inputs_of(entry, tmp_path, data))
    bad = inputs_of(entry, tmp_path, data_set(shuffled=True), backbone=wild)
    return good, rows_of(entry, bad, right=False)


def harness_rows(entry, tmp_path, data, success):
    said = {"description": f"{SERVED_WEIGHTS}{'5' * 16}"}
    episodes = [{"metrics": {"success": success}}, {"metrics": {"success": True}}]
    tasks = [{"task": task, "episodes": episodes} for task in ("pick", "put next")]
    content = {"benchmark": "Rooms", "tasks": tasks, "mode": "sync", "seed": 3}
    content["server_info"] = {"action_spec": {"action": said}}
    file = tmp_path / "Rooms_aggregate.json"
    file.write_text(json.dumps(content))
    inputs = inputs_of(entry, tmp_path, data)
    inputs = dataclasses.replace(inputs, sha256="5" * 16, settings={"harness": str(file)})
    return rows_of(entry, inputs)


@pytest.mark.parametrize("entry", EACH)
def test_rows_have_complete_protocols_and_the_direction_that_the_table_says(entry, tmp_path):
    assert set(metric_class(entry.name).needs) <= set(NEEDS)
    good, bad = good_and_bad(entry, tmp_path)
    names = {row.metric for row in good}
    assert all(any(fnmatch(name, given) for given in entry.gives) for name in names)
    assert all(any(fnmatch(name, given) for name in names) for given in entry.gives)
    records = {record.name: record for record in metric_class(entry.name).records}
    for row in good:
        record = records[row.protocol["name"]]
        assert row.protocol.keys() == {"name", *record.entries}
        assert None not in row.protocol.values() and row.metric_version == record.version
        assert row.higher_is_better == facts_of(row.metric).higher_is_better
        assert facts_of(row.metric).per_block == (row.block is not None)
        json.dumps(row.to_json())
    for name in names - UNTRIED:
        liked, disliked = (
            [row.value for row in rows if row.metric == name] for rows in (good, bad)
        )
        better = sum(liked) / len(liked) - sum(disliked) / len(disliked)
        assert (better > 0) == facts_of(name).higher_is_better and better, name


@pytest.mark.parametrize(
    "entry",
    [each for each in EACH if {TOKENS, PICTURES} & set(metric_class(each.id).needs)],
)
def test_samples_that_are_not_finite_are_counted_and_left_out(entry, tmp_path):
    data = data_of(entry)
    tokens = data.tokens("heldout").clone()
    tokens[3, 0, 0] = float("nan")
    tokens[7] = float("inf")
    rows, n = rows_of(entry, inputs_of(entry, tmp_path, data, tokens)), len(tokens)
    assert rows
    for row in rows:
        assert row.details["not_finite"] == 2 and f"2 of {n} samples were not finite" in row.note
        assert row.n in (n - 2, n) and row.value is not None


def test_a_second_ask_measures_nothing_again(tmp_path, monkeypatch, capsys):
    words = ["images=256", "snapshots=0", "measure=full", "evaluation.samples=64"]
    words += ["evaluation.metrics=[heldout_loss,fd_local,fid]", "evaluation.protocol=ode50"]
    words = tiny_run(tmp_path, *words)
    assert run_in_process(words) == 0
    run = only_run(tmp_path)
    before = {path: path.read_bytes() for path in run.glob("results/*.json")}
    kinds = sorted(path.name.partition("-")[0] for path in before)
    assert kinds == ["evaluate", "heldout", "samples"], "one road measures what the other does"
    for entry in ENTRIES:
        monkeypatch.setattr(metric_class(entry.name), "measure", lambda *_: pytest.fail("again"))
    assert run_in_process(words) == 0
    asked = ["metrics=heldout_loss,fd_local,fid", "reference=train", "protocol=ode50", "device=cpu"]
    asked += ["samples=64", *(word for word in words if word.startswith("cache="))]
    assert evaluated([f"run={run}", *asked]) == 0
    assert capsys.readouterr().out.count("measured already") == 3
    assert {path: path.read_bytes() for path in run.glob("results/*.json")} == before


def test_other_words_to_a_metric_are_another_measurement(tmp_path, capsys):
    words = tiny_run(tmp_path, "images=256", "snapshots=0")
    assert run_in_process(words) == 0
    asked = [f"run={only_run(tmp_path)}", "metrics=heldout_loss", "device=cpu"]
    asked += [word for word in words if word.startswith("cache=")]
    for said in ([], ["heldout_images=64"], ["heldout_images=32"]):
        capsys.readouterr()
        assert evaluated([*asked, *said]) == 0
        assert "measured already" not in capsys.readouterr().out
        assert evaluated([*asked, *said]) == 0
        assert "measured already" in capsys.readouterr().out
    assert len(list(only_run(tmp_path).glob("results/evaluate-features-heldout_loss-*"))) == 3
