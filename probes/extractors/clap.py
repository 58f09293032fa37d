"""CLAP's embeddings of sounds (arXiv 2211.06687), as fadtk reads them: LAION's checkpoints of
general sounds and of music.

Of a sound at 48 kHz windows of 10 s begin at every second and are filled with silence; each is a
log-mel spectrogram (1,024 samples every 480, 64 bands of Slaney's from 50 to 14,000 Hz, decibels)
of which HTSAT and a projection make 512 numbers of length 1. Samples are rounded to 16 bits and
embeddings to half precision, as fadtk keeps them. The network is transformers' ClapAudioModel; the
weights are LAION's own files, whose names are changed.

    python -m bench.prepare metrics=fad_clap_audio,fad_clap_music
    network = load_clap("fad_clap_audio")
    network.embeddings(waves, rate=8000)           # [n, samples] -> float32 [n windows, 512]
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.compat import full_float32, import_vision
from bench.core.data.resample import resampled
from bench.core.model.encoder import weights_fingerprint
from bench.core.store.staging import Resource, torch_hub
from probes.extractors.published import (
    holding,
    published_files,
    published_tensors,
    transformers_names,
)

_RATE, _WINDOW, _STEP = 48_000, 480_000, 48_000  # samples: of a second, a window, between two
_FFT, _HOP, _BANDS, _LOWEST, _HIGHEST = 1024, 480, 64, 50, 14_000
_QUIET = 1e-10  # power that counts as none
_AT_ONCE = 16  # windows
_URL = "https://huggingface.co/lukewys/laion_clap/resolve/main"


@dataclass(frozen=True)
class ClapFile:
    """file: at LAION's repository; megabytes: of it; width, depths: of HTSAT, tiny or base."""

    file: str
    width: int
    depths: tuple[int, ...]
    trained_on: str


CLAPS = {
    "fad_clap_audio": ClapFile(
        "630k-audioset-best.pt", 96, (2, 2, 6, 2), "LAION-Audio-630K and AudioSet"
    ),
    "fad_clap_music": ClapFile(
        "music_audioset_epoch_15_esc_90.14.pt", 128, (2, 2, 12, 2), "music and AudioSet"
    ),
}


def clap_files(metric: str) -> list[Resource]:
    """LAION's file, in the hub's folder."""
    file = CLAPS[metric].file
    return [Resource(f"CLAP's {file}", torch_hub() / "checkpoints" / file, f"{_URL}/{file}")]


class Clap(nn.Module):
    """network: transformers' ClapAudioModelWithProjection; trained_on: as a metric says it."""

    family, labels = "htsat", ""
    filters: Tensor
    window: Tensor

    def __init__(self, network: nn.Module, trained_on: str):
        super().__init__()
        audio = import_vision("transformers.audio_utils")
        filters = audio.mel_filter_bank(
            _FFT // 2 + 1, _BANDS, _LOWEST, _HIGHEST, _RATE, norm="slaney", mel_scale="slaney"
        )
        self.network, self.trained_on = network, trained_on
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.eval().requires_grad_(False)
        self.fingerprint = weights_fingerprint(network)

    def spectrograms(self, waves: Tensor) -> Tensor:
        """Windows [n, 480000] -> decibels [n, 1, 1001, 64]."""
        found = torch.stft(waves, _FFT, _HOP, window=self.window, return_complex=True)
        mels = found.abs().square().transpose(1, 2) @ self.filters
        return 10 * torch.log10(mels.clamp(min=_QUIET))[:, None]

    @full_float32()
    @torch.no_grad()
    def embeddings(self, waves: Tensor, rate: int) -> np.ndarray:
        """Waves [n, samples] in -1..1 -> float32 [n ceil(seconds), 512], of each sound in turn."""
        waves = resampled(waves.float().to(self.window.device), rate, _RATE).clamp(-1, 1)
        waves = (32767 * waves).trunc() / 32767
        begins = range(0, waves.shape[1], _STEP)
        padded = F.pad(waves, (0, _WINDOW))
        windows = torch.stack([padded[:, i : i + _WINDOW] for i in begins], dim=1).flatten(0, 1)
        found = [
            F.normalize(self.network(self.spectrograms(part)).audio_embeds, dim=1)
            for part in windows.split(_AT_ONCE)
        ]
        return torch.cat(found).cpu().half().float().numpy()


def load_clap(metric: str) -> Clap:
    """The network of a metric. Raises ValueError where its file or transformers are not here."""
    checkpoint = CLAPS[metric]
    (file,) = published_files(metric, clap_files(metric), "CLAP")
    network = htsat(checkpoint)
    with holding(file.path, "CLAP", metric):
        network.load_state_dict(clap_names(published_tensors(file.path, "state_dict")))
    return Clap(network, checkpoint.trained_on)


def htsat(checkpoint: ClapFile) -> nn.Module:
    """transformers' network of a checkpoint's size, with random weights."""
    transformers = import_vision("transformers")
    config = transformers.ClapAudioConfig(
        patch_embeds_hidden_size=checkpoint.width,
        hidden_size=checkpoint.width * 8,
        depths=list(checkpoint.depths),
        num_attention_heads=[4, 8, 16, 32],
    )
    return transformers.ClapAudioModelWithProjection(config)


_RENAMED = {
    "audio_branch.": "audio_model.audio_encoder.",
    "audio_projection.0.": "audio_projection.linear1.",
    "audio_projection.2.": "audio_projection.linear2.",
    ".attn.proj.": ".attention.output.dense.",
    ".attn.": ".attention.self.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".bn0.": ".batch_norm.",
}
_NOT_READ = re.compile(  # spectrograms, which are computed; masks, which follow; the classifier
    r"spectrogram_extractor|logmel_extractor|attn_mask|tscam_conv|\.head\."
)


def clap_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """LAION's tensors of its audio branch under transformers' names; query, key and value apart."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    audio = {
        name: tensor
        for name, tensor in plain.items()
        if name.startswith(("audio_branch.", "audio_projection.")) and not _NOT_READ.search(name)
    }
    return transformers_names(audio, _RENAMED)
