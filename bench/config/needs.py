"""What tracking and measuring need beyond the data: packages, a decoder, pictures.

Told before training, not after it.

for problem in missing(cfg, build(cfg.data)): ...
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from bench.config.schema import Config
from bench.core.store import tracking


def missing(cfg: Config, data: Any) -> Iterator[str]:
    """What a run of this configuration will lack, one sentence each; data: its data set."""
    try:
        tracking.check_tracker(cfg.tracking)
    except ValueError as error:
        yield str(error)
    if cfg.measure == "none":
        return
    if cfg.evaluation.protocol == "dopri5" and importlib.util.find_spec("torchdiffeq") is None:
        yield (
            "evaluation.protocol=dopri5 needs torchdiffeq: "
            "pip install torchdiffeq, or choose ode50, heun50 or sde250"
        )
    if data.n_heldout < 2:
        yield (
            f"measure={cfg.measure} compares with held-out pictures, "
            f"and {data.name} holds out {data.n_heldout}: "
            "a distance needs two; hold out more, or train with measure=none"
        )
    if not data.latent:
        return
    measured = f"measure={cfg.measure} compares samples with the data's pictures"
    if not data.has_pictures:
        yield (
            f"{measured}, and data.root={data.root} has none: "
            "python -m bench.latents images=true makes them; or train "
            "with measure=none and sample with python -m bench.evaluate"
        )
        return
    try:
        # one of its own, which does not stay in memory while the run trains
        type(data.decoder)(data.decoder.name).load()
    except ValueError as error:
        yield f"{measured}, and {error}; or train with measure=none"
