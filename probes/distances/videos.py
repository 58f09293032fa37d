"""`fvd_videomae`: Frechet video distance in VideoMAE v2's features, as content-debiased FVD has it
(Ge et al., arXiv 2404.12391), the video distance of Self-Flow's paper.

    FVD = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))      covariances over n, not n - 1

Beside the held-out videos stand, in the details, the same with their frames shuffled: what cannot
tell those from real ones says nothing of motion.

    python -m bench.prepare metrics=fvd_videomae
    python -m bench.evaluate run=runs/<run> metrics=fvd_videomae samples=2048
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import DataSet, pictures_of
from bench.core.data.frames import shuffled
from bench.core.store.rows import CONTROL_OF_MOTION
from probes.distances.frechet import FRECHET, Distance, Gaussian, distance_of
from probes.distances.staged import OF_STAGED, StagedDistance
from probes.extractors.videomae import VideoMae, load_videomae
from probes.metric import Record


class VideoMaeDistance(StagedDistance[VideoMae]):
    """fvd_videomae: of videos."""

    records = (
        Record(
            "fvd_videomae",
            distance=f"{FRECHET}, multiplied by (n - 1) / n as cd-fvd has it",
            videos="cd-fvd: 16 frames, / 255, bilinear to 224 x 224 without antialiasing; of clips "
            "of other lengths the nearest to 16 evenly spaced times",
            **OF_STAGED,
        ),
    )
    controls = (CONTROL_OF_MOTION,)

    def refuse(self, data: DataSet) -> None:
        if len(data.grid.shape) != 3:
            raise ValueError(
                f"metrics={self.name} reads videos, and {data.name} are {data.noun}s: "
                "choose fd_local"
            )
        data.images("heldout", slice(0, 1))  # latents may lie there without their videos

    def load(self, device: torch.device) -> VideoMae:
        return load_videomae(self.name).to(device)

    def of_real(self, data: DataSet, side: str, rows: Tensor) -> np.ndarray:
        if side != CONTROL_OF_MOTION:
            return self.extractor.features(torch.as_tensor(data.images(side, rows)))
        clips = torch.as_tensor(data.images("heldout", rows))
        return self.extractor.features(shuffled(clips, seed=int(rows[0])))

    def of_samples(
        self, data: DataSet, tokens: Tensor, how: Mapping[str, str]
    ) -> tuple[np.ndarray, int]:
        pixels = data.decode(tokens, how["decoder_precision"])
        clips, finite = pictures_of(pixels, how["rounding"])
        return self.extractor.features(clips[finite]), int(finite.sum())

    def distance(self, samples: Gaussian, reference: Gaussian) -> Distance:
        return distance_of(_over_n(samples), _over_n(reference))


def _over_n(gaussian: Gaussian) -> Gaussian:
    return replace(gaussian, covariance=gaussian.covariance * (gaussian.n - 1) / gaussian.n)
