"""What encoders of sounds share: waves at the rate that they know, and their frames at the tokens'
times.

A token is given the mean of the frames near its middle, weighted by a triangle,

    w_j ~ max(0, 1 - |t_token - t_frame j| / max(spacing of tokens, spacing of frames))

which is linear interpolation where frames are farther apart than tokens and an average where they
are closer (what `antialias` is to pictures). Before the first frame and after the last one, a token
has that one's.
"""

from __future__ import annotations

from torch import Tensor

from bench.core.data.base import DataSet
from bench.core.data.resample import resampled
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.tokens import TokenGrid


class SoundEncoder(Encoder):
    """An encoder of waves. rate: samples a second that it knows.

    Raises ValueError for tokens that are no sound's, and where the recordings are not here.
    """

    hears = True

    def __init__(
        self, card: EncoderCard, rate: int, token_grid: TokenGrid, dataset: DataSet | None
    ):
        super().__init__(card)
        self.grid = token_grid.grid
        if len(self.grid) != 1:
            raise ValueError(
                f"encoder {card.name} hears sounds, and the tokens form a grid of "
                f"{' x '.join(map(str, self.grid))}: choose another encoder"
            )
        if dataset is None:
            raise ValueError(
                f"encoder {card.name} hears the data's recordings, which are not here: "
                "choose another encoder"
            )
        try:
            first = dataset.waves("train", slice(0, 1))
        except ValueError as error:
            raise ValueError(
                f"encoder {card.name} hears sounds: {error}; choose another encoder"
            ) from error
        self.of_data, self.rate, self.times = first.rate, rate, first.times

    def at_own_rate(self, waves: Tensor) -> Tensor:
        """Waves [B, samples] of the data, resampled to `rate`."""
        return resampled(waves.float(), self.of_data, self.rate)

    def on_tokens(self, frames: Tensor, times: Tensor) -> EncoderFeatures:
        """Frames [B, n, W] at these times, in seconds [n], as the tokens'."""
        patches = frame_weights(self.times, times).to(frames) @ frames
        return EncoderFeatures(patches, None, self.grid)


def frame_weights(tokens: Tensor, frames: Tensor) -> Tensor:
    """What tokens at some times [N] have of frames at others [n], evenly spaced both: [N, n], rows
    that sum to 1.
    """
    spacing = max(_spacing(tokens), _spacing(frames))
    at = tokens.clamp(float(frames[0]), float(frames[-1]))
    weights = (1 - (at[:, None] - frames).abs() / spacing).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def _spacing(times: Tensor) -> float:
    """Seconds between two; infinite of one alone, which is the mean of all that there is."""
    return float(times[1] - times[0]) if len(times) > 1 else float("inf")
