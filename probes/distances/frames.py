"""Videos frame by frame and from frame to frame: how far their pictures are, how far their motion
is, and whether what they show stays what it was asked to be.

    fd_frames        Frechet distance of single frames in a small picture network's features
    fd_motion        Frechet distance of differences of neighbouring frames, in pixels
    frame_agreement  share of frames that the network reads as the class that was asked for
    kept_identity    share of videos of which it reads every frame so

Each stands beside held-out videos, and in its details beside the same videos with their frames
shuffled: what cannot tell those from real ones (fd_frames by its nature) says nothing of motion.
The distance of frames is the paper's FID by frame (arXiv 2603.06507, 4.2) in small.

    python -m bench.run data=moving_digits
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import DataSet, pictures_of
from bench.core.data.frames import FrameData, frames_of, shuffled
from bench.core.numbers import standard_error
from bench.core.store.cache import cached_folder
from bench.core.store.rows import CONTROL_OF_MOTION, Row
from probes.distances.frechet import FRECHET, Gaussian, Moments, distance_of, fit
from probes.distances.local import BATCH, OF_BOTH, spread
from probes.distances.pixels import pixel_vectors
from probes.extractors.local import (
    LocalExtractor,
    local_extractor,
    read_images,
    seconds_to_extractor,
)
from probes.metric import (
    DATA,
    OF_DATA,
    OF_EXTRACTOR,
    OF_SAMPLES,
    TOKENS,
    Inputs,
    Metric,
    Record,
    dropped_note,
    related,
)

MOST_CLIPS = 8_192  # of a split that are compared with
MOST_OF_MOTION = 256  # of a motion vector: fewer than the samples that a study draws
_READ = {**OF_EXTRACTOR, **OF_SAMPLES, **OF_DATA}
FRAME_RECORDS = {
    record.name: record
    for record in (
        Record(
            "fd_frames",
            distance=FRECHET,
            pictures="every frame of each video",
            **OF_EXTRACTOR,
            **OF_BOTH,
        ),
        Record(
            "fd_motion",
            distance=FRECHET,
            vectors="differences of neighbouring frames as sampled (not rounded), flattened; "
            "2 x 2 averages within a frame until at most 256 numbers",
            **OF_BOTH,
        ),
        Record("frame_agreement", reading="argmax of logits, every frame", **_READ),
        Record("kept_identity", reading="argmax of logits, all frames of a video", **_READ),
    )
}


class _Side(NamedTuple):
    """Videos as they are compared: features of all frames [n T, d], the class that each frame is
    read as [n, T], and motion vectors [n, d].
    """

    features: np.ndarray
    read: np.ndarray
    motion: np.ndarray


def motion_vectors(clips: Tensor) -> Tensor:
    """Differences of neighbouring frames of clips [n, c, T, H, W], T of 2 or more, as [n, d]."""
    return pixel_vectors((clips[:, :, 1:] - clips[:, :, :-1]).flatten(1, 2), MOST_OF_MOTION)


def _side(reader: LocalExtractor, images: Tensor, clips: Tensor) -> _Side:
    """images: as an encoder reads them, uint8 [n, 3, T, H, W]; clips: as sampled, [n, c, T, ...]"""
    features, logits = read_images(reader, frames_of(images))
    read = logits.argmax(axis=1).reshape(images.shape[0], images.shape[2])
    return _Side(features, read, motion_vectors(clips.float()).numpy())


def _frames_alone(dataset: DataSet) -> DataSet:
    """As much of a data set as a reader of single frames needs."""
    return cast(DataSet, FrameData(dataset))


@dataclass(frozen=True)
class FrameReference:
    """A data set's own side: its reader of single frames, the training split's Gaussians, and each
    number of the held-out videos as they are, `real`, and with their frames shuffled, `control`.
    """

    dataset: DataSet
    reader: LocalExtractor
    n_train: int
    frames: Gaussian
    motion: Gaussian

    @classmethod
    def of(cls, dataset: DataSet, cache: Path) -> FrameReference:
        """Train or load the reader and read the training split with it."""
        reader = local_extractor(_frames_alone(dataset), cache)
        rows = spread(dataset.n_train, MOST_CLIPS)

        def make(folder: Path) -> None:
            frames, motion = Moments(), Moments()
            for part in np.array_split(rows, -(-len(rows) // BATCH)):
                side = _side(reader, *_real(dataset, "train", part))
                frames.add(side.features)
                motion.add(side.motion)
            for name, of_all in (("frames", frames), ("motion", motion)):
                found = of_all.gaussian()
                np.savez(folder / f"{name}.npz", mean=found.mean, covariance=found.covariance)

        version = FRAME_RECORDS["fd_frames"].version
        key = f"{dataset.name}-{dataset.fingerprint[:16]}-{reader.fingerprint}-frames-v{version}"
        folder = cached_folder(Path(cache) / "features" / key, make)

        def kept(name: str, n: int) -> Gaussian:
            with np.load(folder / f"{name}.npz") as file:
                return Gaussian(file["mean"], file["covariance"], n)

        per_clip = dataset.grid.shape[0]
        return cls(
            dataset,
            reader,
            len(rows),
            kept("frames", len(rows) * per_clip),
            kept("motion", len(rows)),
        )

    @property
    def description(self) -> str:
        """The reference in words, for the protocol."""
        return f"{self.dataset.name} train, {self.n_train} of {self.dataset.n_train} videos"

    @cached_property
    def _heldout(self) -> tuple[Tensor, Tensor, np.ndarray]:
        rows = spread(self.dataset.n_heldout, MOST_CLIPS)
        labels = np.asarray(self.dataset.labels("heldout", torch.as_tensor(rows)))
        return *_real(self.dataset, "heldout", rows), labels

    @property
    def n_heldout(self) -> int:
        return len(self._heldout[2])

    @cached_property
    def real(self) -> dict[str, float]:
        images, clips, labels = self._heldout
        return self.measured(_side(self.reader, images, clips), labels)[0]

    @cached_property
    def control(self) -> dict[str, float]:
        images, clips, labels = self._heldout
        side = _side(self.reader, shuffled(images), shuffled(clips))
        return self.measured(side, labels)[0]

    def measured(self, side: _Side, asked: np.ndarray) -> tuple[dict[str, float], dict[str, str]]:
        """Values and notes of videos, of which these classes [n] were asked for."""
        frames = distance_of(fit(side.features), self.frames)
        motion = distance_of(fit(side.motion), self.motion)
        right = side.read == asked[:, None]
        values = {
            "fd_frames": frames.value,
            "fd_motion": motion.value,
            "frame_agreement": float(right.mean()),
            "kept_identity": float(right.all(axis=1).mean()),
        }
        return values, {"fd_frames": frames.note, "fd_motion": motion.note}


def _real(dataset: DataSet, split: str, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Real videos as an encoder reads them, and as they would be sampled."""
    index = torch.as_tensor(rows)
    tokens = torch.as_tensor(dataset.tokens(split, index))
    return torch.as_tensor(dataset.images(split, index)), dataset.grid.unpatchify(tokens)


class FrameDistances(Metric):
    """fd_frames, fd_motion, frame_agreement and kept_identity."""

    needs = (TOKENS, DATA)
    records = tuple(FRAME_RECORDS.values())
    trains = ("a reader of frames of {data}", "extractors/{data}-*")

    @cached_property
    def _references(self) -> dict[str, FrameReference]:
        return {}

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        data = inputs.data_here
        if len(data.grid.shape) != 3:
            raise ValueError(
                f"metrics={self.name} reads the frames of videos, and {data.name} are "
                f"{data.noun}s: choose fd_local"
            )
        data.images("heldout", slice(0, 1))  # latents may lie there without their pictures
        return {}

    def seconds_to_prepare(self, inputs: Inputs) -> float:
        return seconds_to_extractor(_frames_alone(inputs.data_here), inputs.cache)

    def measure(self, inputs: Inputs) -> list[Row]:
        assert inputs.samples is not None
        samples, data = inputs.samples, inputs.data_here
        assert samples.tokens is not None and samples.labels is not None
        # made once for all snapshots
        if data.fingerprint not in self._references:
            made = FrameReference.of(data, inputs.cache)
            self._references[data.fingerprint] = made
        reference = self._references[data.fingerprint]

        # samples that are finite before and after decoding
        tokens, asked = samples.tokens.float().cpu(), samples.labels.cpu().numpy()
        pixels = data.decode(tokens, samples.sampling["decoder_precision"])
        images, finite = pictures_of(pixels, samples.sampling["rounding"])
        finite &= torch.isfinite(tokens).flatten(1).all(dim=1)
        total, kept = len(tokens), int(finite.sum())
        note, values, notes = dropped_note(total - kept, total), dict[str, float](), {}
        if kept > 1:
            clips = data.grid.unpatchify(tokens[finite])
            side = _side(reference.reader, images[finite], clips)
            values, notes = reference.measured(side, asked[finite.numpy()])
        else:
            note = f"{note}; nothing is measured on {kept} samples".strip("; ")

        known: dict[str, object] = {
            "sampling": dict(samples.sampling),
            "n": total,
            "data": data.fingerprint,
            "extractor": "local frames",
            "extractor_weights": reference.reader.fingerprint,
            "reference": reference.description,
        }
        mark, rows = related(reference.reader, inputs.aligned), []
        for metric, record in FRAME_RECORDS.items():
            value, of_share = values.get(metric), not metric.startswith("fd_")
            if of_share and value is not None:  # those that are not finite show nothing
                value *= kept / total
            rows.append(
                record.row(
                    metric,
                    value,
                    total if of_share else kept,
                    record.open_part(known),
                    stderr=standard_error(value, total)
                    if metric == "kept_identity" and value is not None
                    else None,
                    real=reference.real[metric],
                    related=mark if "extractor" in record else "",
                    note="; ".join(part for part in (notes.get(metric, ""), note) if part),
                    details={
                        "not_finite": total - kept,
                        "n_real": reference.n_heldout,
                        CONTROL_OF_MOTION: reference.control[metric],
                    },
                )
            )
        return rows
