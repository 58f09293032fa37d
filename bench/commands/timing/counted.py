"""GPU hours of arms from counted FLOPs alone, for plans: nothing is built, trained or timed.

python -m bench.speed data=clips_wan22 arms=selfflow,sra,repa tflops=380
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.commands.timing.arms import RandomFeatures
from bench.config.compose import compose
from bench.config.groups import build
from bench.config.recipes import decoded_shape, shape_of
from bench.core.train.cost import count, flops_until

HOURS_OF_ARMS = ("arm", "parameters", "GFLOPs an example", "x vanilla", "examples", "GPU hours")


def counted_hours(words_of: Mapping[str, Sequence[str]], tflops: float, encoder_width: int) -> str:
    """A table of methods, vanilla first, from the words of bench.run of each; tflops: 10^12 FLOPs a
    second that a GPU does; encoder_width: of the features that heads map to. The frozen encoder's
    own passes are left out, as where features are cached.
    """
    rows, base = [HOURS_OF_ARMS, ("---",) * len(HOURS_OF_ARMS)], 0.0
    for arm, words in words_of.items():
        cfg = compose([f"method={arm}", *words])
        known = shape_of(cfg.data)
        if known is None:
            data = build(cfg.data, cache=Path(cfg.cache))
            known = data.grid, data.condition
            shown = tuple(data.images("train", slice(0, 1)).shape[1:])
        else:
            shown = decoded_shape(cfg.data)
        features = RandomFeatures(known[0], encoder_width) if cfg.encoder else None
        cost = count(build(cfg.method), known[0], cfg.size, known[1], features, shown)
        each = cost.flops_per_image["total"]
        base = base or each
        hours = flops_until(cost.to_json(), cfg.images) / (tflops * 1e12 * 3600)
        parameters = cost.parameters["backbone"] + cost.parameters["heads"]
        rows.append(
            (
                arm,
                f"{parameters / 1e6:.0f}M",
                f"{each / 1e9:.1f}",
                f"{each / base:.3f}",
                str(cfg.images),
                f"{hours:.1f}",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
