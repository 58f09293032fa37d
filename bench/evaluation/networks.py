"""Networks that runs train on the spot, once each: encoders, and those that measurements read with.
A plan's hours do not hold their time, so it names them.

    trained_first([planned.spec.cfg for planned in todo])   # ["local_m", "an extractor of digits"]
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.config.groups import encoder_option
from bench.config.schema import Config
from bench.evaluation.request import Request, entry_of
from probes.metric import metric_class


def trained_first(configs: Iterable[Config]) -> list[str]:
    """Those that no cache entry is named after, as words."""
    found: dict[str, None] = {}
    for cfg in configs:
        cache, data = Path(cfg.cache), cfg.data.name
        names = () if cfg.measure == "none" else Request.of_config(cfg).metrics
        read = filter(None, (entry_of(name).encoder(name) for name in names))
        encoders = [cfg.encoder, *(encoder_option(name) for name in dict.fromkeys(read))]
        for encoder in encoders:
            while encoder is not None:
                if "steps" in encoder.values and not _is_made(cache, encoder.name, data):
                    found[encoder.name] = None
                encoder = encoder.inner
        for name in names:
            what, entry = (words.format(data=data) for words in metric_class(name).trains)
            if what and not any(cache.glob(entry)):
                found[what] = None
    return list(found)


def _is_made(cache: Path, encoder: str, data: str) -> bool:
    """An entry is called after what the encoder learned: of digits_l digits, whatever the data."""
    learned = {data, encoder.partition("_")[0]}
    return any(path for one in learned for path in cache.glob(f"encoders/{encoder}-{one}-*"))
