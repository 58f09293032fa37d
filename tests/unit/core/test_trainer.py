"""The trainer's own step, replayed by hand: dropped labels, loss, clipping, learning rate,
AdamW, EMA.
"""

import math

import pytest
import torch
from support.runs import only_run, tiny_run

from bench.config.compose import compose
from bench.core.model.streams import Draw
from bench.core.store import checkpoints, weight_files
from bench.core.store.runs import read_metrics
from bench.core.train import distributed
from bench.core.train.learner import Learner
from bench.training.session import Session

LR, CLIP, DECAY, DROP, BETAS, EPS = 0.01, 0.3, 0.1, 0.3, (0.8, 0.95), 1e-6


def trained(tmp_path, monkeypatch):
    """Four steps of 64 digits: the session, its initial backbone,
    and the batches that it saw.
    """
    words = tiny_run(
        tmp_path,
        "images=256",
        "log_images=64",
        "optimizer.warmup_steps=2",
        f"optimizer.lr={LR}",
        f"optimizer.clip={CLIP}",
        f"optimizer.weight_decay={DECAY}",
        f"optimizer.beta1={BETAS[0]}",
        f"optimizer.beta2={BETAS[1]}",
        f"optimizer.eps={EPS}",
        f"label_drop={DROP}",
        "ema.decay=0.15",
    )
    session = Session(compose(words))
    session.assemble(distributed.start("cpu"))
    session.open_folder()
    batches, make = [], Learner.make_batch
    monkeypatch.setattr(
        Learner, "make_batch", lambda self, *a: batches.append(make(self, *a)) or batches[-1]
    )
    session.train()
    session.close()
    return session, session.arm.backbone(), batches


def test_four_steps_are_those_of_the_formulas(tmp_path, monkeypatch):
    session, backbone, batches = trained(tmp_path, monkeypatch)
    lines = read_metrics(only_run(tmp_path) / "metrics.jsonl")
    theta = dict(backbone.named_parameters())
    first = {name: torch.zeros_like(p) for name, p in theta.items()}
    second = {name: torch.zeros_like(p) for name, p in theta.items()}
    average = {name: p.detach().clone() for name, p in theta.items()}
    rates = [LR / 2, LR, LR, LR * (0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)]
    for n, (batch, rate, line) in enumerate(zip(batches, rates, lines, strict=True)):
        t = batch.t[:, None, None]
        v, _ = backbone((1 - t) * batch.x0 + t * batch.x1, batch.t, batch.condition)
        loss = ((v - (batch.x1 - batch.x0)) ** 2).mean()
        gradients = dict(zip(theta, torch.autograd.grad(loss, list(theta.values())), strict=True))
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))
        assert norm > CLIP, "or clipping is not tested"
        assert line["loss"]["velocity"] == pytest.approx(float(loss.detach()), rel=1e-5)
        assert line["grad_norm"] == pytest.approx(norm, rel=1e-4) and line["lr"] == pytest.approx(
            rate
        )
        for name, p in theta.items():
            g = gradients[name] * CLIP / norm
            first[name] = BETAS[0] * first[name] + (1 - BETAS[0]) * g
            second[name] = BETAS[1] * second[name] + (1 - BETAS[1]) * g**2
            step = (
                first[name]
                / (1 - BETAS[0] ** (n + 1))
                / ((second[name] / (1 - BETAS[1] ** (n + 1))).sqrt() + EPS)
            )
            with torch.no_grad():
                p.mul_(1 - rate * DECAY).sub_(rate * step)
            kept = min(0.15, (1 + n) / (10 + n))
            average[name] = kept * average[name] + (1 - kept) * p.detach()
    snapshot = checkpoints.read_tensors(weight_files.snapshot_path(session.path, 256))
    for name, wanted in average.items():
        torch.testing.assert_close(snapshot[name], wanted, rtol=1e-3, atol=2e-5)
        assert not torch.allclose(wanted, theta[name], atol=1e-4), "or the average is not tested"


def test_labels_are_dropped_once(tmp_path, monkeypatch):
    session, _, batches = trained(tmp_path, monkeypatch)
    for n, batch in enumerate(batches):
        dropped = Draw.of(0, "label_drop", 64 * n, 64, slice(0, 64), "cpu").uniform() < DROP
        true = session.arm.data.labels("train", batch.index)
        assert batch.condition.tolist() == [
            10 if d else y for d, y in zip(dropped.tolist(), true.tolist(), strict=True)
        ]
