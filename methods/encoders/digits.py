"""digits_l: local_l trained on scikit-learn's scanned digits, whatever the data are: an encoder of
another domain.

It has learned to tell grey 8x8 digits apart, from their training split and without labels, and has
seen neither colour nor objects. A picture is read at the size that digits have on the data's
token grid (at most 8 pixels a side, or one a token where there are more), and a sound as its
spectrogram is drawn, a frame a column.

    python -m bench.run method=repa encoder=digits_l data=cifar10_16 data.root=cifar10
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from bench.core.data.base import DataSet, Digits
from bench.core.model.encoder import EncoderCard
from bench.core.model.tokens import TokenGrid
from methods.encoders.local import LocalEncoder, local


def of_digits(
    card: EncoderCard,
    width: int,
    layers: int,
    steps: int,
    batch: int,
    learning_rate: float,
    *,
    token_grid: TokenGrid,
    cache: Path,
) -> LocalEncoder:
    """`methods.encoders.local.local` of the digits, from the cache or trained first."""
    digits = Digits("digits", patch=2)  # the patch is of tokens, which it does not read
    return local(
        card,
        width,
        layers,
        steps,
        batch,
        learning_rate,
        token_grid=token_grid,
        dataset=cast(DataSet, digits),  # its fingerprint is cached, which no protocol can say
        cache=cache,
    )
