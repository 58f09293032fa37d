"""The forms of scaling laws and the iteration that fits them, many samples at once.

    problem = Problem(n, d)                           # y = E + A N^-a + B D^-b, d None: over N only
    ends, costs = problem.solve(log_y, starts, units(deviation))
    problem.parameters(ends)                          # E, A, a, B, b in the units of the data

The form and the robust loss are those of Hoffmann et al. 2022 (arXiv 2203.15556, equation 10 and
appendix D.2): E is the loss that no size removes, a and b are exponents; residuals are log(y) -
log(prediction), under Huber's loss. Arms may share one E: then the exponents and scales of all of
them are fitted together.
"""

from __future__ import annotations

import math

import numpy as np

EFFICIENT = 1.345  # of a deviation, where Huber's loss turns: 95 % efficient on normal noise (1964)
ITERATIONS = 200
FIRST_LOOK = 20  # iterations after which the best of many starts are known
GAINED = 1e-7  # share of its cost below which a step of a sample counts as none
NAMES = ("E", "A", "a", "B", "b")


def power_law(parameters: np.ndarray, n: np.ndarray, d: np.ndarray | None = None) -> np.ndarray:
    """y of E, A, a (B, b) [..., parameters] at N (and D) [points]: [..., points]."""
    e, scale_n, a = (parameters[..., at, None] for at in range(3))
    y = e + scale_n * n**-a
    return y if d is None else y + parameters[..., 3, None] * d ** -parameters[..., 4, None]


def units(deviation: np.ndarray) -> np.ndarray:
    """What makes residuals of these deviations [points] alike: a matrix [points, points]."""
    return np.diag(1 / deviation)


class Problem:
    """The fit of one design in unknowns that the data scale: log E, log A, a (log B, b), with N and
    D over their mean.

    arm: [points], which of several arms a point is of; all share E, and each has unknowns of its
    own, log A and a, one pair after the other.
    """

    def __init__(self, n: np.ndarray, d: np.ndarray | None = None, arm: np.ndarray | None = None):
        self.means = [math.exp(float(np.log(axis).mean())) for axis in (n, d) if axis is not None]
        self.axes = [
            np.log(axis / mean)
            for axis, mean in zip((n, d), self.means, strict=False)
            if axis is not None
        ]
        self.arms = 1 if arm is None else int(arm.max()) + 1
        self.arm = arm if self.arms > 1 else None
        assert self.arm is None or d is None, "arms share an E over sizes alone"
        pairs = len(self.axes) * self.arms
        self.low = np.array([-60.0] + [-60.0, 1e-3] * pairs)
        self.high = np.array([60.0] + [60.0, 10.0] * pairs)

    def curve(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log y [s, points] of unknowns [s, p], and its derivative [s, points, p]."""
        rest = np.exp(x[:, :1])
        if self.arm is not None:
            return self._curve_of_arms(x, rest)
        powers = [
            np.exp(x[:, at, None] - x[:, at + 1, None] * axis)
            for at, axis in zip((1, 3), self.axes, strict=False)
        ]
        y = rest + sum(powers)
        slope = np.empty((*y.shape, x.shape[1]))
        slope[:, :, 0] = rest / y
        for at, power, axis in zip((1, 3), powers, self.axes, strict=False):
            np.divide(power, y, out=slope[:, :, at])
            np.multiply(slope[:, :, at], -axis, out=slope[:, :, at + 1])
        return np.log(y), slope

    def _curve_of_arms(self, x: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.arm is not None
        scale, exponent, point = 1 + 2 * self.arm, 2 + 2 * self.arm, np.arange(len(self.arm))
        power = np.exp(x[:, scale] - x[:, exponent] * self.axes[0])
        y = rest + power
        slope = np.zeros((*y.shape, x.shape[1]))
        slope[:, :, 0] = rest / y
        slope[:, point, scale] = power / y
        slope[:, point, exponent] = -self.axes[0] * power / y
        return np.log(y), slope

    def starts(self, log_y: np.ndarray) -> np.ndarray:
        """A grid of exponents and of the part of the smallest y that no size removes."""
        low, middle = float(np.exp(log_y.min())), float(np.exp(np.median(log_y)))
        out = []
        for share in (0.1, 0.5, 0.9, 0.99):
            rest = math.log(max(middle - share * low, 1e-3 * low) / len(self.axes))
            for a in (0.1, 0.3, 0.6, 1.0, 1.5, 2.0):
                out.append([math.log(share * low)] + [rest, a] * (len(self.low) // 2))
        return np.array(out)

    def best(self, log_y: np.ndarray, weigh: np.ndarray) -> tuple[np.ndarray, float]:
        """The unknowns [p] of the best end of many starts, and its cost."""
        starts = self.starts(log_y)
        samples = np.repeat(log_y[None], len(starts), 0)
        ends, costs = self.solve(samples, starts, weigh, most=FIRST_LOOK)
        nearest = np.argsort(costs, kind="stable")[:4]
        ends, costs = self.solve(samples[:4], ends[nearest], weigh)
        at = int(np.argmin(costs))
        return ends[at], float(costs[at])

    def solve(
        self,
        log_y: np.ndarray,
        x: np.ndarray,
        weigh: np.ndarray,
        times: np.ndarray | None = None,
        most: int = ITERATIONS,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Unknowns and costs of the samples log_y [s, points] from the starts x [s, p].

        weigh: [points, points], what makes residuals alike and independent; times: [s, points], how
        often a sample has a point, once where it is not given; most: of iterations. Levenberg and
        Marquardt's iteration on Huber's loss, all samples at once and each until it gains no more:
        a fit costs milliseconds, where a call of an optimiser for each bootstrap sample costs
        seconds.
        """
        diagonal = np.diagonal(weigh)
        alone = not np.any(weigh - np.diag(diagonal))

        def weighed(
            x: np.ndarray, log_y: np.ndarray, times: np.ndarray
        ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            prediction, slope = self.curve(x)
            if alone:
                residual, slope = (prediction - log_y) * diagonal, slope * diagonal[:, None]
            else:
                residual, slope = (prediction - log_y) @ weigh.T, weigh @ slope
            return residual, slope, (times * huber(residual)).sum(1)

        times = np.ones((1, log_y.shape[1])) if times is None else times
        times = np.broadcast_to(times, log_y.shape)
        ends, costs = x.copy(), np.empty(len(x))
        going, damping = np.arange(len(x)), np.full(len(x), 1e-2)
        residual, slope, cost = weighed(x, log_y, times)
        for _ in range(most):
            # a step is taken where it lowers the cost; elsewhere the damping grows
            step = _damped_step(residual, slope, times, damping)
            tried = np.clip(x - step, self.low, self.high)
            new_residual, new_slope, new_cost = weighed(tried, log_y, times)
            better = new_cost < cost
            gain = np.where(better, cost - new_cost, 0.0)
            done = (better & (gain <= GAINED * cost)) | (damping >= 1e6) | (cost < 1e-18)
            damping = _where(better, damping / 5, damping * 4).clip(1e-12, 1e8)
            x, cost = _where(better, tried, x), _where(better, new_cost, cost)
            residual = _where(better, new_residual, residual)
            slope = _where(better, new_slope, slope)
            # a sample that gains no more is put away
            if done.any():
                ends[going[done]], costs[going[done]] = x[done], cost[done]
                state = (going, damping, x, log_y, times, residual, slope, cost)
                going, damping, x, log_y, times, residual, slope, cost = _rows(~done, state)
            if not len(going):
                break
        ends[going], costs[going] = x, cost
        return ends, costs

    def on_bound(self, x: np.ndarray) -> bool:
        """Whether an exponent of the unknowns x [p] lies at the edge of what is searched, where a
        slow iteration may stop a little before it.
        """
        return bool(((x < 1.1 * self.low) | (x > 0.98 * self.high))[2::2].any())

    def parameters(self, x: np.ndarray) -> np.ndarray:
        """E, A, a (B, b) in the units of the data, [s, p]; of several arms E, A, a, A, a, ..."""
        out = [np.exp(x[:, 0])]
        for pair, at in enumerate(range(1, x.shape[1], 2)):
            mean = self.means[pair if self.arm is None else 0]
            out += [np.exp(x[:, at] + x[:, at + 1] * math.log(mean)), x[:, at + 1]]
        return np.stack(out, 1)

    def unknowns(self, parameters: np.ndarray) -> np.ndarray:
        """The inverse of `parameters`, for a problem of one arm."""
        out = np.log(np.maximum(parameters, 1e-300))
        for at, mean in zip((1, 3), self.means, strict=False):
            out[:, at] -= parameters[:, at + 1] * math.log(mean)
            out[:, at + 1] = parameters[:, at + 1]
        return np.clip(out, self.low, self.high)


def huber(residual: np.ndarray) -> np.ndarray:
    """Huber's loss of residuals in deviations: square up to `EFFICIENT`, straight beyond."""
    size = np.abs(residual)
    return np.where(size <= EFFICIENT, 0.5 * size**2, EFFICIENT * (size - 0.5 * EFFICIENT))


# One iteration of the fit: functions with declared results, as without them a type checker takes
# minutes over what the loop makes of its arrays.


def _damped_step(
    residual: np.ndarray, slope: np.ndarray, times: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """A damped Newton step of the weighted squares [s, p], with Gauss and Newton's curvature."""
    weight = times * np.minimum(1.0, EFFICIENT / np.maximum(np.abs(residual), 1e-300))
    turned = slope.transpose(0, 2, 1) * weight[:, None]
    gradient = turned @ residual[:, :, None]
    curvature = turned @ slope
    scale = np.maximum(np.diagonal(curvature, axis1=1, axis2=2), 1e-12)
    damped = curvature + (damping[:, None] * scale)[:, :, None] * np.eye(slope.shape[2])
    return np.clip(np.linalg.solve(damped, gradient)[:, :, 0], -2.0, 2.0)


def _rows(rows: np.ndarray, arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """These rows [s] of each array."""
    return [array[rows] for array in arrays]


def _where(rows: np.ndarray, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The old array with these rows [s] of the new one."""
    return np.where(rows.reshape(-1, *[1] * (old.ndim - 1)), new, old)
