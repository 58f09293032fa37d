"""What can be done in a world: one of a few choices, or numbers within bounds.

choices   the action's number k, int            token: -1/1 one-hot of k
bounds    numbers a, float32 [d]                token: (a - middle) / half, -1..1 by default

moves = Bounds(("x", "y"), low=(-1, -1), high=(1, 1), idle_at=(0, 0))
moves.of_tokens(moves.tokens(actions))        # the same, cut where they leave the bounds
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Act = int | NDArray[np.float32]
"""One action: the number of a choice, or numbers within bounds [d]."""
LEAST_SPREAD = 0.05  # of half the bounds, for a number that the expert hardly changes


class Sent(NamedTuple):
    """How another program is sent an action: numbers, what they are, and between which they lie."""

    numbers: int
    form: str
    between: tuple[float, float]


class Actions(Protocol):
    """idle: what changes nothing; width: numbers of an action's token; described: what each number
    is, in words; scale: what beside the width says how tokens are made, "" where nothing does;
    sent_as: to another program.
    """

    @property
    def idle(self) -> Act: ...
    @property
    def width(self) -> int: ...
    @property
    def described(self) -> str: ...
    @property
    def scale(self) -> str: ...
    @property
    def sent_as(self) -> Sent: ...

    def check(self, action: Act) -> None:
        """Raise ValueError for an action that is none."""
        ...

    def tokens(self, actions: Tensor) -> Tensor:
        """int64 [...] or float32 [..., d] -> float32 [..., width]."""
        ...

    def of_tokens(self, tokens: Tensor) -> Tensor:
        """The inverse of `tokens`, for any finite numbers; what comes out can be done."""
        ...

    def usual(self, actions: NDArray) -> Act:
        """What stands for many, [n] or [n, d]."""
        ...

    def at_random(self, draw: np.random.Generator) -> Act: ...

    def standardised(self, actions: NDArray) -> Actions:
        """The same with tokens of mean 0 and deviation 1 over these."""
        ...

    def sent(self, actions: NDArray) -> NDArray[np.float32]:
        """Numbers of actions, [n] or [n, d] -> [n, sent_as.numbers]."""
        ...

    def received(self, numbers: NDArray[np.float32]) -> Act:
        """One action out of the numbers that `sent` made of it."""
        ...


@dataclass(frozen=True)
class Choices:
    """One of these, by number; idle: the number of the one that changes nothing."""

    names: tuple[str, ...]
    idle: int

    scale = ""

    @property
    def width(self) -> int:
        return len(self.names)

    @property
    def described(self) -> str:
        return ", ".join(f"{number} {name}" for number, name in enumerate(self.names))

    @property
    def sent_as(self) -> Sent:
        return Sent(1, "number_of_action", (0, len(self.names) - 1))

    def check(self, action: Act) -> None:
        if not isinstance(action, int | np.integer) or not 0 <= action < len(self.names):
            raise ValueError(
                f"action {action} is outside 0..{len(self.names) - 1} ({', '.join(self.names)}): a "
                "policy gives one of them"
            )

    def tokens(self, actions: Tensor) -> Tensor:
        return 2 * F.one_hot(actions, len(self.names)).float() - 1

    def of_tokens(self, tokens: Tensor) -> Tensor:
        return tokens.argmax(dim=-1)

    def usual(self, actions: NDArray) -> int:
        """The most frequent one."""
        return int(np.bincount(actions).argmax())

    def at_random(self, draw: np.random.Generator) -> int:
        """Any but the idle one."""
        others = [number for number in range(len(self.names)) if number != self.idle]
        return int(draw.choice(others, size=1)[0])

    def standardised(self, actions: NDArray) -> Choices:
        raise ValueError(f"actions that are choices ({', '.join(self.names)}) are no measures")

    def sent(self, actions: NDArray) -> NDArray[np.float32]:
        return actions[:, None].astype(np.float32)

    def received(self, numbers: NDArray[np.float32]) -> int:
        return round(float(numbers[0]))


@dataclass(frozen=True)
class Bounds:
    """Numbers, each within its bounds. middle, half: what a token's 0 and 1 are, by default the
    middle of the bounds and half their distance.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    idle_at: tuple[float, ...]
    middle: tuple[float, ...] = ()
    half: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.middle:
            ends = list(zip(self.low, self.high, strict=True))
            object.__setattr__(self, "middle", tuple((low + high) / 2 for low, high in ends))
            object.__setattr__(self, "half", tuple((high - low) / 2 for low, high in ends))

    @property
    def idle(self) -> NDArray[np.float32]:
        return np.array(self.idle_at, np.float32)

    @property
    def width(self) -> int:
        return len(self.names)

    @property
    def described(self) -> str:
        ends = zip(self.names, self.low, self.high, strict=True)
        return ", ".join(f"{name} {low:g}..{high:g}" for name, low, high in ends)

    @property
    def scale(self) -> str:
        return f"{self.middle} {self.half}"

    @property
    def sent_as(self) -> Sent:
        return Sent(self.width, "numbers_of_action", (min(self.low), max(self.high)))

    def check(self, action: Act) -> None:
        numbers = np.asarray(action, np.float64)
        fits = numbers.shape == (self.width,)
        # a NaN is within no bounds
        if not (fits and ((numbers >= self.low) & (numbers <= self.high)).all()):
            raise ValueError(
                f"action {np.asarray(action).tolist()} is outside its bounds ({self.described}): a "
                "policy gives a number within for each"
            )

    def clipped(self, action: Sequence[float] | NDArray) -> NDArray[np.float32]:
        return np.clip(np.asarray(action, np.float32), self.low, self.high).astype(np.float32)

    def tokens(self, actions: Tensor) -> Tensor:
        return (actions - actions.new_tensor(self.middle)) / actions.new_tensor(self.half)

    def of_tokens(self, tokens: Tensor) -> Tensor:
        numbers = tokens * tokens.new_tensor(self.half) + tokens.new_tensor(self.middle)
        return torch.clamp(numbers, tokens.new_tensor(self.low), tokens.new_tensor(self.high))

    def usual(self, actions: NDArray) -> NDArray[np.float32]:
        """Their mean."""
        return actions.mean(axis=0, dtype=np.float64).astype(np.float32)

    def at_random(self, draw: np.random.Generator) -> NDArray[np.float32]:
        """Equally often anywhere within the bounds."""
        return draw.uniform(self.low, self.high).astype(np.float32)

    def standardised(self, actions: NDArray) -> Bounds:
        mean, spread = actions.mean(axis=0, dtype=np.float64), actions.std(axis=0, dtype=np.float64)
        spread = np.maximum(spread, LEAST_SPREAD * np.array(self.half))
        middle, half = (tuple(part.round(4).tolist()) for part in (mean, spread))
        return replace(self, middle=middle, half=half)

    def sent(self, actions: NDArray) -> NDArray[np.float32]:
        return actions.astype(np.float32)

    def received(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(numbers, np.float32)
