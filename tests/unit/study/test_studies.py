"""Study files: what they expand to, that shared runs are one run, and what is said of mistakes."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from bench.cli import guarded
from bench.config.groups import CONF
from bench.config.identity import arm_name, identity
from bench.core.store.runs import Description, write_description
from bench.study import plan, studies
from bench.study import runs as study
from bench.study.request import Sweep
from bench.sweep import SWEEP
from reports.study.runs import read_study


def asked(words):
    return Sweep(**SWEEP.parse(words))


def runs_of_mine(*words):
    """The runs of the study file `mine`, in their order."""
    return study.runs("mine", extra=words)


STUDIES = ("ablation", "demo", "encoder_bottleneck", "family", "scaling")


def test_the_shipped_studies():
    assert set(STUDIES) <= set(studies.names())
    assert len(study.runs("demo")) == 12
    assert (
        len(studies.load("scaling").arms)
        * len(studies.load("scaling").sizes)
        * studies.load("scaling").seeds
        == 60
    )
    for name in STUDIES:
        for data in ("digits", "cifar10", "imagenet256"):
            assert studies.load(name, data).seeds >= 3


def test_several_seeds_are_asked_for_at_once(tmp_path):
    words = ["study=demo", f"runs={tmp_path}"]
    both = asked([*words, "seed=6,4,6"]).specs
    assert [run.cfg.seed for run in both] == [4, 4, 4, 6, 6, 6]
    alone = [run.id for seed in (4, 6) for run in asked([*words, f"seed={seed}"]).specs]
    assert [run.id for run in both] == alone


@pytest.mark.parametrize("wrong", ["one", "1,", "-1", "1.5", ""])
def test_a_seed_is_a_whole_number(wrong):
    with pytest.raises(ValueError, match=r"seed="):
        study.runs("demo", extra=[f"seed={wrong}"])


def test_claims_of_studies_exist():
    known = {
        claim["name"]
        for claim in yaml.safe_load(
            (CONF.parents[1] / "reports" / "findings" / "claims.yaml").read_text()
        )["claims"]
    }
    for name in STUDIES:
        assert set(studies.load(name).claims) <= known, name


def test_shared_runs_have_one_identity():
    shared = set(study.run_ids("family")) & set(
        study.run_ids("encoder_bottleneck", extra=["seed=0"])
    )
    assert {run.split("-s0-")[0] for run in shared} == {
        "digits-vanilla-nano",
        "digits-selfflow-nano",
        "digits-repa-local_m-nano",
    }


def test_seeds_come_first_so_that_every_arm_has_one_run_before_any_has_two():
    seeds = [run.cfg.seed for run in study.runs("demo")]
    assert seeds == sorted(seeds)


def test_words_narrow_or_change_every_run():
    runs = study.runs("scaling", extra=["size=micro", "seed=7", "images=64Ki"])
    assert len(runs) == 3 and {
        (run.cfg.size.name, run.cfg.seed, run.cfg.images) for run in runs
    } == {("micro", 7, 65536)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "study=ablation|demo|.* missing"),
        (["study=dem"], "did you mean demo"),
        (["study=demo", "data=digts"], "no such scale"),
        (["study=demo", "workers=none"], "workers=none is not a whole number"),
        (["study=demo", "action=stop"], "action=stop is unknown"),
        (["study=demo", "imges=3"], "did you mean"),
        (["study=demo", "dry_run"], "is not KEY=VALUE"),
        (["family"], "is not KEY=VALUE; did you mean study=family?"),
        (["study=demo", "study=family"], "study= is given twice, demo and family"),
        (["study=demo", "compute=slurm", "workers=2"], "workers=2: compute=slurm has jobs"),
        (["study=demo", "compute=slurm", "retries=2"], "retries=2: SLURM requeues"),
        (["study=demo", "action=work", "dry_run=true"], "leave out action=work"),
    ],
)
def test_mistakes_are_one_sentence(words, message):
    with pytest.raises(ValueError, match=message) as caught:
        asked(words)
    assert "\n" not in str(caught.value)


def test_a_cluster_s_plan_needs_no_cluster(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    words = ["study=demo", "compute=slurm", "seed=0"]
    assert asked([*words, "dry_run=true"]).compute == "slurm"
    assert guarded(SWEEP.main, [*words, "dry_run=true"]) == 0
    assert "selfflow" in capsys.readouterr().out
    assert guarded(SWEEP.main, [*words, "action=status"]) == 2
    assert "no SLURM here" in capsys.readouterr().err


def test_what_only_a_study_s_own_processes_type_is_not_listed():
    assert asked(["study=demo", "action=work"]).action == "work"
    assert "work" not in SWEEP.kinds["action"].line()
    with pytest.raises(ValueError, match="choices: run, status, attach, cancel, retry, clean\\)"):
        asked(["study=demo", "action=wrk"])


GOOD = """\
description: One run
claims: [selfflow_faster]
arms:
  vanilla: [method=vanilla]
data:
  digits: {lasts: seconds, sizes: [nano], seeds: 1}
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the study file `mine`."""
    monkeypatch.setattr(studies, "FOLDER", tmp_path)

    def write(content: str | bytes) -> None:
        (tmp_path / "mine.yaml").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )

    return write


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds nothing: write the keys description"),
        ("some words", "holds no mapping"),
        ("a: [", r"is no YAML text \(line 1: .*mend it"),
        (b"\xff\xfe\x00", "is no YAML text"),
        (GOOD.partition("data:")[0], "data: names no data set"),
        (GOOD.replace("seeds: 1", ""), "data.digits.seeds is missing: write how many"),
        (GOOD.replace("seeds: 1", "seeds: three"), "data.digits.seeds is 'three'"),
        (GOOD.replace("seeds: 1", "seeds: 0"), "data.digits.seeds is 0: .* at least 1"),
        (GOOD.replace("seeds: 1", "seeds: 2000"), "seeds is 2000: at most 1000, .* learning rates"),
        (
            GOOD.replace("[nano], seeds: 1", "[nano, micro], seeds: {nano: 5}"),
            "data.digits.seeds.micro is missing: write how many for every size",
        ),
        (
            GOOD.replace("seeds: 1", "seeds: {nano: 5, micro: 3}"),
            "data.digits.seeds names micro, not among nano: leave it out, or add it to sizes",
        ),
        (
            GOOD.replace("sizes: [nano], seeds: 1", "seeds: {nano: 5}"),
            "data.digits.seeds names nano, and there are no sizes",
        ),
        (GOOD.replace("seeds: 1", "seeds: {nano: few}"), "data.digits.seeds.nano is 'few': write"),
        (GOOD.replace("[nano]", "{nanno: []}"), "sizes names nanno, .*did you mean nano"),
        (
            GOOD.replace("[nano]", "{nano: }"),
            "data.digits.sizes.nano is None: .* or \\[\\] for the",
        ),
        (
            GOOD.replace("[nano]", "{nano: [lr]}"),
            r"sizes.nano is \['lr'\]: write a list of KEY=VAL",
        ),
        (
            GOOD.replace("[nano]", "{nano: [batch=64, batch=32]}"),
            "data.digits.sizes.nano sets batch twice: leave one of them",
        ),
        (
            GOOD.replace("[nano]", "{nano: [method.weight=1]}"),
            "sizes.nano has method.weight=1, which makes another arm or run: a size may change",
        ),
        (GOOD.replace("[nano]", "{nano: [seed=1]}"), "sizes.nano has seed=1, which makes another"),
        (
            GOOD.replace("[method=vanilla]", "[method=vanilla, batch=32]").replace(
                "[nano]", "{nano: [batch=64]}"
            ),
            "sizes.nano sets batch, and so does the arm vanilla: leave it to one of them",
        ),
        (
            GOOD.replace("[nano]", "{nano: [batch=64]}") + "axes: {batch: [32, 64]}\n",
            "sizes.nano sets batch, and so does the arm vanilla, batch=32: leave",
        ),
        (
            GOOD.replace("[method=vanilla]", "[method=vanilla, batch=32, batch=64]"),
            "arms.vanilla sets batch twice: leave one of them",
        ),
        (GOOD.replace("seeds: 1", "seeds: true"), "data.digits.seeds is True"),
        (
            GOOD.replace("seeds: 1", "seeds: 1, seds: 2"),
            "unknown key 'data.digits.seds'; did you mean seeds",
        ),
        (GOOD.replace("lasts: seconds", "lasts: 3"), "data.digits.lasts is 3: write a few words"),
        (GOOD.replace("{lasts: seconds, sizes: [nano], seeds: 1}", "3"), "data.digits is 3: write"),
        (
            GOOD.replace("arms:\n  vanilla: [method=vanilla]\n", ""),
            "data.digits has no arms: write",
        ),
        (
            GOOD.replace("[method=vanilla]", "method=vanilla"),
            "arms.vanilla is 'method=vanilla': write a list",
        ),
        (
            GOOD.replace("[method=vanilla]", "[vanilla]"),
            r"arms.vanilla is \['vanilla'\]: .* KEY=VALUE",
        ),
        (GOOD.replace("  vanilla:", "  1:"), "has an arm named 1: write its name as text"),
        (GOOD.replace("[nano]", "nano"), "data.digits.sizes is 'nano': write a list"),
        (
            GOOD.replace("[nano]", "[nanno]"),
            "data.digits.sizes names nanno, which is unknown; did you mean nano",
        ),
        (
            GOOD.replace("data:", "  vanilla: [method=repa]\ndata:"),
            "the key 'vanilla' stands twice .* line 4",
        ),
        (GOOD + "claims: []\n", "the key 'claims' stands twice"),
        (
            GOOD.replace("[selfflow_faster]", "[selfflow_faster, selfflow_faster]"),
            "claims names selfflow_faster twice",
        ),
        (
            GOOD.replace("[selfflow_faster]", "[selfflow_fast]"),
            "claims names selfflow_fast, .*did you mean selfflow_f",
        ),
        (
            GOOD.replace("[selfflow_faster]", "selfflow_faster"),
            "claims is 'selfflow_faster': write a list",
        ),
        (GOOD + "match: nonsense\n", "match is 'nonsense': write match: images, match: flops, or"),
        (GOOD + "match: []\n", r"match is \[\]: write match: images"),
        (GOOD + "match: {flops: 1}\n", "match is {'flops': 1}: write match: images"),
        (GOOD + "match: [flops, flops]\n", "match names flops twice: leave one of them"),
        (
            GOOD.replace("seeds: 1", "seeds: 1, match: cost"),
            "data.digits.match is 'cost': write match: images",
        ),
        (
            GOOD.replace("[method=vanilla]", "[method=vanilla, images=100steps]").replace(
                "seeds: 1", "seeds: 1, match: flops"
            ),
            "data.digits: the arm vanilla sets images, and match: flops gives each arm its own",
        ),
        (GOOD + "match: flops\naxes: {images: [64, 128]}\n", "vanilla, images=64 sets images"),
        (GOOD + "axes: [encoder]\n", r"axes is \['encoder'\]: write"),
        (GOOD + "axes: {method.weight: 1}\n", "axes.method.weight is 1: write a list"),
        (GOOD + "axes: {batch: [64, 64]}\n", "axes.batch has a value twice"),
        (GOOD + "axes: {seed: [1, 2]}\n", "axes.seed: seed is no axis here: write seeds: NUMBER"),
    ],
)
def test_a_bad_study_file_is_one_sentence_and_leaves_the_help_page(written, content, message):
    written(content)
    with pytest.raises(ValueError, match=r"^mine.yaml: .*" + message) as caught:
        studies.load("mine")
    assert "\n" not in str(caught.value)
    assert "mine                        cannot be read: mine.yaml: " in SWEEP.help_page()


def test_sizes_have_words_and_seeds_of_their_own(written):
    written(
        GOOD.replace(
            "sizes: [nano], seeds: 1",
            "overrides: [optimizer.lr=0.01], seeds: {nano: 3, micro: 1, tiny: 2}, "
            "sizes: {nano: [optimizer.lr=0.004, images=64Ki], micro: [], tiny: [batch=32]}",
        )
    )
    made = [(r.cfg.size.name, r.cfg.seed, r.cfg.optimizer.lr, r.cfg.batch) for r in runs_of_mine()]
    assert made == [
        ("nano", 0, 0.004, 64),
        ("micro", 0, 0.01, 64),
        ("tiny", 0, 0.01, 32),
        ("nano", 1, 0.004, 64),
        ("tiny", 1, 0.01, 32),
        ("nano", 2, 0.004, 64),
    ]
    assert {run.cfg.images for run in runs_of_mine("size=nano")} == {65536}
    (alone,) = runs_of_mine("size=micro", "seed=7", "optimizer.lr=0.5")
    assert (alone.cfg.size.name, alone.cfg.seed, alone.cfg.optimizer.lr) == ("micro", 7, 0.5)
    with pytest.raises(ValueError, match=r"size=S: .* choose one of nano, micro, tiny, or add it"):
        runs_of_mine("size=S")


def test_a_size_with_words_of_its_own_is_the_same_arm_on_a_page(written, tmp_path):
    written(
        GOOD.replace("arms:\n", "arms:\n  repa: [method=repa]\n").replace(
            "sizes: [nano]", "sizes: {nano: [optimizer.lr=0.002], micro: [optimizer.lr=0.001]}"
        )
    )
    for run in runs_of_mine(f"runs={tmp_path}"):
        folder = tmp_path / str(run.id)
        folder.mkdir()
        write_description(folder, described(run.cfg))
    arms = {run.arm for run in read_study(tmp_path).runs.values()}
    assert arms == {"vanilla", "repa/local_m"}, "a recipe that all arms of a size share is no mark"


def described(cfg):
    """run.json of a run that has begun, as far as no data are needed."""
    named = {"arm": arm_name(cfg), "method": cfg.method.name, "data": cfg.data.name}
    encoder = cfg.encoder.name if cfg.encoder else None
    shape = {"size": cfg.size.name, "depth": cfg.size.depth, "width": cfg.size.width}
    asked = {"seed": cfg.seed, "images": cfg.images, "identity": identity(cfg)}
    return Description(encoder=encoder, **named, **shape, **asked)


def test_axes_make_an_arm_for_every_combination(written):
    arms = "arms:\n  repa: [method=repa]\n"
    file = GOOD.replace("arms:\n  vanilla: [method=vanilla]\n", arms)
    written(file + "axes:\n  encoder: [local_s, local_m]\n  method.weight: [0.25, 1]\n")
    runs = {run.arm: run for run in study.runs("mine")}
    assert list(runs) == [
        f"repa, encoder={encoder}, method.weight={weight}"
        for encoder in ("local_s", "local_m")
        for weight in ("0.25", "1")
    ]
    cfg = runs["repa, encoder=local_m, method.weight=0.25"].cfg
    assert cfg.encoder.name == "local_m" and cfg.method.values["weight"] == 0.25
    assert len({run.id for run in runs.values()}) == 4 and None not in {
        run.id for run in runs.values()
    }
    written(file.replace(arms, "axes: {method: [vanilla, selfflow], deterministic: [true]}\n"))
    assert set(studies.load("mine").arms) == {
        "method=vanilla, deterministic=true",
        "method=selfflow, deterministic=true",
    }


def test_the_command_to_go_on_is_the_one_that_was_given():
    words = ["study=demo", "workers=1", "retries=5", "seed=0"]
    made = asked(words).command("attach")
    assert (
        made
        == "python -m bench.sweep study=demo data=digits compute=local workers=1 retries=5 seed=0 "
        "action=attach"
    )
    assert "retries" not in asked(words[:1]).command()


def test_a_plan_knows_its_cells(written, tmp_path):
    written(
        GOOD.replace("arms:\n", "match: [images, flops]\narms:\n  selfflow: [method=selfflow]\n")
        .replace("[nano]", "[nano, micro]")
        .replace("seeds: 1", "seeds: {nano: 3, micro: 1}")
    )
    cells = plan.planned_cells(plan.make(runs_of_mine(f"runs={tmp_path}")))
    assert [(c.arm, c.size, c.matched, c.seeds) for c in cells if c.size == "nano"] == [
        ("selfflow", "nano", "images", (0, 1, 2)),
        ("selfflow", "nano", "flops", (0, 1, 2)),
        ("vanilla", "nano", "images", (0, 1, 2)),
        ("vanilla", "nano", "flops", (0, 1, 2)),
    ]
    assert plan.outlook(["a", "b"], cells).splitlines() == [
        "for a, b",
        "  at equal images: nano 2 arms, seeds: 3; micro 2 arms, seeds: 1",
        "  at equal FLOPs: nano 2 arms, seeds: 3; micro 2 arms, seeds: 1",
    ]
    elsewhere = [dataclasses.replace(cell, data="mine") for cell in cells[:2]]
    assert plan.outlook([], [*cells[:2], *elsewhere]).splitlines() == [
        "for no claim in particular",
        "  at equal images: nano 1 arms, seeds: 3; on each of digits, mine",
        "  at equal FLOPs: nano 1 arms, seeds: 3; on each of digits, mine",
    ]
    no_claims = plan.outlook([], cells[:1])
    assert no_claims.startswith("for no claim in particular\n  at equal images: nano 1 arms")


def test_words_that_make_two_arms_one_run_are_refused():
    with pytest.raises(
        ValueError, match=r"arms vanilla and repa are one run, digits-repa.*: leave out method=repa"
    ):
        study.runs("demo", "digits", ["method=repa"])


def test_two_arms_of_a_file_that_are_one_run_are_refused(written):
    written(GOOD.replace("arms:\n", "arms:\n  plain: [method=vanilla]\n"))
    with pytest.raises(ValueError, match=r"arms plain and vanilla are one run, .*: leave one of"):
        runs_of_mine()
