"""Frechet audio distance in CLAP's embeddings, as fadtk has it (Gui et al., arXiv 2311.01616):
`fad_clap_audio` with LAION's checkpoint of general sounds, `fad_clap_music` with that of music.

    FAD = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))      over windows of 10 s

What is compared is what is heard: of samples and of real sounds alike the waves that the tokens
become, so that the way from a spectrogram back to a wave is on both sides and `real`, the held-out
sounds, is what a perfect model would have.

    python -m bench.prepare metrics=fad_clap_audio
    python -m bench.evaluate run=runs/<run> metrics=fad_clap_audio samples=2048
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import DataSet
from probes.distances.frechet import FRECHET
from probes.distances.staged import OF_STAGED, StagedDistance
from probes.extractors.clap import CLAPS, Clap, load_clap
from probes.metric import Record


class ClapDistance(StagedDistance[Clap]):
    """fad_clap_*: of sounds."""

    records = tuple(
        Record(
            name,
            distance=FRECHET,
            sounds="as they are heard from tokens, samples and real ones alike",
            embeddings="fadtk: windows of 10 s every second at 48 kHz, 16 bits, filled with zeros; "
            "normalised, half precision",
            **OF_STAGED,
        )
        for name in CLAPS
    )

    def refuse(self, data: DataSet) -> None:
        if data.heard(torch.as_tensor(data.tokens("heldout", slice(0, 1)))) is None:
            raise ValueError(
                f"metrics={self.name} hears sounds, and {data.name} are {data.noun}s: "
                "choose fd_local"
            )

    def load(self, device: torch.device) -> Clap:
        return load_clap(self.name).to(device)

    def of_real(self, data: DataSet, side: str, rows: Tensor) -> np.ndarray:
        return self._heard(data, torch.as_tensor(data.tokens(side, rows)))

    def of_samples(
        self, data: DataSet, tokens: Tensor, how: Mapping[str, str]
    ) -> tuple[np.ndarray, int]:
        return self._heard(data, tokens), len(tokens)

    def _heard(self, data: DataSet, tokens: Tensor) -> np.ndarray:
        heard = data.heard(tokens)
        assert heard is not None
        return self.extractor.embeddings(heard.waves, heard.rate)
