"""How far a policy's actions are from those that were recorded, at held-out moments.

    action_error    of numbers, the mean squared difference in a token's units, where -1..1 is the
                    range of the actions; of choices the share that is another one

The moments are those of the samples, each a plan that the model made as it was told the view and
the instruction of a held-out moment. Several plans may lead to the same end, so this is no success:
it orders policies where there is no world to act in. Beside it stand, on the same moments, the
error of the actions that are usual in training and that of what was done at another moment.

    python -m bench.run data=lerobot data.root=DIR
    python -m bench.evaluate run=DIR metrics=action_error samples=500
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.core.data.demonstrations import Demonstrations
from bench.core.data.worlds.actions import Choices
from bench.core.store.rows import YARDSTICKS, Row
from probes.metric import (
    DATA,
    OF_DATA,
    OF_SAMPLES,
    STATED,
    TOKENS,
    Inputs,
    Metric,
    Record,
    dropped_note,
    finite_rows,
)

ACTION_ERROR = Record("action_error", version=1, of=STATED, **OF_SAMPLES, **OF_DATA)
OF_CHOICES, OF_NUMBERS = "share that differs", "mean squared difference of tokens"


def action_errors(data: Demonstrations, done: Tensor, recorded: Tensor) -> Tensor:
    """The error of each moment [n], of actions [n, horizon] or [n, horizon, d] where others were
    recorded.
    """
    if isinstance(data.actions, Choices):
        return (done != recorded).double().mean(dim=1)
    difference = data.actions.tokens(done) - data.actions.tokens(recorded)
    return difference.double().square().mean(dim=(1, 2))


class ActionError(Metric):
    """action_error."""

    needs = (TOKENS, DATA)
    records = (ACTION_ERROR,)

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        _demonstrations(self.name, inputs)
        return {}

    def measure(self, inputs: Inputs) -> list[Row]:
        data, samples = _demonstrations(self.name, inputs), inputs.samples
        assert samples is not None and samples.tokens is not None and samples.asked is not None
        finite, dropped = finite_rows(samples.tokens.numpy())
        whole = torch.from_numpy(finite)
        recorded = data.recorded_actions("heldout")[samples.asked[whole]]
        done = data.actions_of(samples.tokens[whole])
        n = len(done)
        known = {
            "of": OF_CHOICES if isinstance(data.actions, Choices) else OF_NUMBERS,
            "sampling": dict(samples.sampling),
            "n": len(samples.tokens),
            "data": data.fingerprint,
        }
        note = dropped_note(dropped, len(samples.tokens))
        if not n:
            return [ACTION_ERROR.row("action_error", None, 0, known, note=note)]
        errors = action_errors(data, done, recorded)
        usual = torch.as_tensor(np.array(data.actions.usual(data.played["train"].actions)))
        beside = {
            "the usual actions": usual.expand_as(recorded),
            "those of another moment": recorded.roll(max(1, n // 2), dims=0),
        }
        return [
            ACTION_ERROR.row(
                "action_error",
                float(errors.mean()),
                n,
                known,
                stderr=float(errors.std() / n**0.5) if n > 1 else None,
                note=note,
                details={
                    "not_finite": dropped,
                    YARDSTICKS: {
                        name: float(action_errors(data, other, recorded).mean())
                        for name, other in beside.items()
                    },
                },
            )
        ]


def _demonstrations(metric: str, inputs: Inputs) -> Demonstrations:
    data = inputs.data_here
    if not isinstance(data, Demonstrations):
        raise ValueError(
            f"metrics={metric} compares actions, and {data.name} are {data.noun}s without any: "
            "choose data=lerobot, data=minigrid or data=metaworld"
        )
    return data
