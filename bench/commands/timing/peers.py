"""A network of one's own, timed beside ours on the same batches: flow matching, AdamW, an EMA.

    def sit_xl(size):                    # "XL", as sizes= says it
        return SiT_models[f"SiT-{size}/2"]()

    python -m bench.speed module=mine:sit_xl data=imagenet256 sizes=XL

It is called as public code calls SiT, with pictures [B, c, ...], t [B] and label [B], and returns
the velocity, or a tuple that begins with it. What compiles it is its factory.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.commands.timing.arms import TimedArm
from bench.commands.timing.clock import step_bytes
from bench.config.groups import locate
from bench.core.model.flow import interpolate, velocity
from bench.core.train.ema import ema_update


class Peer:
    """A module of one's own in training; of: the arm whose batches it gets.

    Raises ValueError where the target names no factory of a module.
    """

    levels = "1"

    def __init__(self, target: str, of: TimedArm):
        self.name, self.learner, self.source = target, of.learner, of.source
        device, size = self.learner.processes.device, self.learner.ctx.size.name
        module = locate(target)(size)
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"module={target} gives a {type(module).__name__}: "
                "name a function of a size that returns a torch.nn.Module"
            )
        self.module = module.to(device).train()
        self.weights = [p for p in module.parameters() if p.requires_grad]
        self.ema = copy.deepcopy(self.module).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4, fused=True)
        with FlopCounterMode(display=False) as counter:
            self.step()
        self.flops = float(counter.get_total_flops())

    def step(self) -> None:
        """One step of training."""
        learner, grid, source = self.learner, self.learner.data.grid, self.source
        for rows in learner.pieces:
            batch = learner.make_batch(next(source), rows)
            x0, x1 = grid.unpatchify(batch.x0), grid.unpatchify(batch.x1)
            with learner.autocast:
                found = self.module(interpolate(x0, x1, batch.t), batch.t, batch.condition)
            found = found[0] if isinstance(found, tuple) else found
            error = found[:, : grid.channels].float() - velocity(x0, x1)
            (error.square().mean() / len(learner.pieces)).backward()
        torch.nn.utils.clip_grad_norm_(self.weights, learner.cfg.optimizer.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        ema_update(self.ema, self.module, learner.cfg.ema.decay)

    def bytes(self) -> tuple[int, int]:
        """(at most at once, of them a step's own) bytes; on a GPU with the arm that lends the
        batches.
        """
        moments = [part for state in self.optimizer.state.values() for part in state.values()]
        held = [*self.weights, *self.module.buffers(), *self.ema.parameters(), *moments]
        return step_bytes(self.step, held, self.learner.processes.device)

    def parts(self) -> dict[str, float]:
        """A module of one's own is not taken apart."""
        return {}
