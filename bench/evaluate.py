"""Samples for others and the papers' metrics, of a run or of a released checkpoint.

    python -m bench.evaluate run=DIR samples=50000

Samples stream into one samples_50000.npz that the ADM suite reads; the same command again resumes
where it was cut off. With reference=... the FID family (arXiv 1706.08500) and Frechet distances in
encoders' features follow.
"""

from __future__ import annotations

import sys
from typing import Any

from bench.cli import guarded
from bench.evaluation.words import HELP, is_of_samples, metrics_of, number, parse, protocol_of


def evaluate(words: dict[str, str]) -> int:
    """Sample, then measure; returns the exit code."""
    import torch

    from bench.config.compose import parse_count
    from bench.core.store.files import short_hash
    from bench.core.store.folder import RunFolder
    from bench.core.train import distributed
    from bench.evaluation.features import feature_measurement
    from bench.evaluation.metrics import measurement
    from bench.evaluation.sample_file import SampleFile
    from bench.evaluation.subject import checkpoint_subject, run_subject

    n, seed = (
        parse_count("samples", words.get("samples", "50000"), batch=1),
        number(words, "seed", int, 0),
    )
    threads = number(words, "threads", int, 1)
    if threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    metrics = metrics_of(words)
    of_samples = [metric for metric in metrics if is_of_samples(metric)]
    of_features = [metric for metric in metrics if not is_of_samples(metric)]
    torch.set_num_threads(threads)
    processes = distributed.start(words.get("device", "auto"))
    lock = None
    try:
        subject = (run_subject if "run" in words else checkpoint_subject)(words, processes.device)
        measure_features = None
        if of_features and processes.main:
            measure_features = feature_measurement(subject, of_features, words, processes.device)
        protocol = protocol_of(words, subject.backbone.grid, "sde250")
        if of_features and not of_samples and "samples" not in words:
            if measure_features is not None:
                measure_features()
            return 0
        record = (
            protocol.to_json()
            | {"weights": subject.weights, "seed": seed, "samples": n}
            | subject.decoded_by()
        )
        key = short_hash([subject.sha256, record]) + subject.average
        folder = subject.folder / "samples" / f"{protocol.name}-{subject.images:012d}-{key}"
        measure = None
        if processes.main:
            measure = (
                measurement(subject, of_samples, words, processes.device, key)
                if of_samples
                else None
            )
            lock = RunFolder(folder)
            lock.claim()
        samples = SampleFile(folder, n, protocol.block)
        processes.barrier()
        if not samples.done():
            samples.write(
                block_maker(subject, protocol, seed, processes.device),
                processes,
                progress=sys.stderr.isatty(),
            )
            processes.barrier()
            if processes.main:
                samples.finish()
        if processes.main:
            left_out = samples.not_finite()
            print(
                f"{samples.path}: {n - left_out} pictures"
                + (f"; {left_out} samples were not finite" if left_out else "")
            )
            if measure is not None:
                measure(samples, record)
            if measure_features is not None:
                measure_features()
        return 0
    finally:
        if lock is not None:
            lock.release()
        distributed.finish()


def block_maker(subject: Any, protocol: Any, seed: int, device: Any) -> Any:
    """block -> its pictures and which samples are finite."""
    from bench.core.data.base import pictures_of
    from bench.core.model.sampling import sample_block, velocity_of

    backbone = subject.backbone
    velocity = velocity_of(backbone, protocol.model_precision)
    shape = (backbone.grid.tokens, backbone.grid.token_dim)

    def make(block: int) -> Any:
        tokens, _ = sample_block(velocity, protocol, shape, backbone.classes, seed, block, device)
        return pictures_of(subject.decode(tokens, protocol.decoder_precision), protocol.rounding)

    return make


def main(argv: list[str]) -> int:
    """The command. Raises ValueError for bad input; returns the exit code."""
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    return evaluate(parse(argv))


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
