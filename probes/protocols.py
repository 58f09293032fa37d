"""Metric protocols as data: each is a named, complete record, and every result row carries one.

A record says what is always the same; `UNSTATED` marks what a measurement has to add (its
extractor's hash, its reference, its sampler). `protocol` refuses to leave one of them out, so a row
cannot be incomplete. `version` goes up whenever a change of code changes the number.

    protocol("fd_pixels", sampling=sampling, reference="digits train, 1197", n=1024, data="1a2b")
"""

from __future__ import annotations

from typing import Any

UNSTATED = None

FRECHET = (
    "float64 mean and covariance (ddof 1), scipy sqrtm, 1e-6 on the diagonals only if not finite"
)
BALLS = (
    "squared L2, float32, k = 3, "
    "radius to the (k + 1)-th smallest with itself included, <=, not clamped"
)
BLOCK_FEATURES = {
    "of": "EMA weights, mean over tokens of the block's output",
    "label": "null",
    "noise": "fixed, 64 images a generator, purpose 'probe <split>'",
    "stored": "float16",
}
PATCH_FEATURES = "mean over patch tokens, stored as float16"
PIXEL_FEATURES = "raw pixels, 2 x 2 averages until at most 1,024 numbers"
OF_SAMPLES = {"sampling": UNSTATED, "n": UNSTATED}
OF_DATA = {"data": UNSTATED}
OF_REFERENCE = {"reference": UNSTATED}
OF_EXTRACTOR = {"extractor": UNSTATED, "extractor_weights": UNSTATED}
OF_FEATURES = {"data": UNSTATED, "features": UNSTATED, "n_train": UNSTATED, "n_heldout": UNSTATED}
ADM = {
    "extractor": "inception-v3-compat (torch-fidelity), float32",
    "extractor_weights": UNSTATED,
    "input": "uint8, TensorFlow-1 bilinear to 299, (x - 128) / 128",
}

RECORDS: dict[str, dict[str, Any]] = {
    "fd_local": {
        "version": 1,
        "distance": FRECHET,
        **OF_EXTRACTOR,
        **OF_REFERENCE,
        **OF_SAMPLES,
        **OF_DATA,
    },
    "precision": {
        "version": 1,
        "manifold": BALLS,
        **OF_EXTRACTOR,
        **OF_REFERENCE,
        **OF_SAMPLES,
        **OF_DATA,
    },
    "recall": {
        "version": 1,
        "manifold": BALLS,
        **OF_EXTRACTOR,
        **OF_REFERENCE,
        **OF_SAMPLES,
        **OF_DATA,
    },
    "label_agreement": {
        "version": 1,
        "reading": "argmax of logits",
        **OF_EXTRACTOR,
        **OF_SAMPLES,
        **OF_DATA,
    },
    "fd_pixels": {
        "version": 1,
        "distance": FRECHET,
        "vectors": (
            "data as sampled (not rounded), flattened; 2 x 2 averages until at most 1,024 numbers"
        ),
        **OF_REFERENCE,
        **OF_SAMPLES,
        **OF_DATA,
    },
    "copy_rate": {
        "version": 1,
        "vectors": (
            "data as sampled (not rounded), flattened; 2 x 2 averages until at most 1,024 numbers"
        ),
        "ratio": "median L2 to the nearest training picture, samples over held-out",
        **OF_REFERENCE,
        **OF_SAMPLES,
        **OF_DATA,
    },
    "fd_encoder": {
        "version": 1,
        "distance": FRECHET,
        **OF_EXTRACTOR,
        "input": UNSTATED,
        **OF_REFERENCE,
        **OF_SAMPLES,
        **OF_DATA,
    },
    "fid": {
        "version": 1,
        "distance": FRECHET,
        **ADM,
        "layer": "pool, 2,048",
        **OF_REFERENCE,
        **OF_SAMPLES,
    },
    "sfid": {
        "version": 1,
        "distance": FRECHET,
        **ADM,
        "layer": "Mixed_6d.branch1x1 after ReLU, channels last, first 7, flattened to 2,023",
        **OF_REFERENCE,
        **OF_SAMPLES,
    },
    "is": {
        "version": 1,
        **ADM,
        "layer": "softmax of pool @ fc.weight.T (1,008, no bias)",
        "splits": "consecutive blocks of 5,000 in sample order, mean of exp(mean KL)",
        **OF_SAMPLES,
    },
    "adm_precision_recall": {
        "version": 1,
        "manifold": BALLS,
        **ADM,
        "layer": "pool, 2,048",
        **OF_REFERENCE,
        **OF_SAMPLES,
    },
    "kid": {
        "version": 1,
        "kernel": "polynomial, degree 3, gamma 1/d, coef0 1, unbiased",
        "subsets": UNSTATED,
        "subset_size": UNSTATED,
        "subset_seed": UNSTATED,
        **ADM,
        "layer": "pool, 2,048",
        **OF_REFERENCE,
        **OF_SAMPLES,
    },
    "linear_probe_fast": {
        "version": 1,
        "variant": (
            "standardised features, "
            "scikit-learn LogisticRegression (L2, C = 1, at most 1,000 iterations)"
        ),
        **OF_FEATURES,
    },
    "linear_probe_repa": {
        "version": 1,
        "variant": (
            "REPA: batch norm without parameters, linear, Adam, cosine to 0, no weight decay"
        ),
        "epochs": UNSTATED,
        "batch": UNSTATED,
        "learning_rate": UNSTATED,
        "probe_seed": UNSTATED,
        **OF_FEATURES,
    },
    "knn": {
        "version": 1,
        "variant": "cosine, k = 20, one vote each, ties to the smaller label",
        **OF_FEATURES,
    },
    "cknna": {
        "version": 1,
        "kernel": "linear on L2-normalised rows, float32; mutual mask of the 10 nearest",
        "estimate": "unbiased HSIC (REPA's equations are a biased, row-centred form)",
        "clamp": UNSTATED,
        "encoder": UNSTATED,
        "encoder_weights": UNSTATED,
        "data": UNSTATED,
        "features": UNSTATED,
        "n": UNSTATED,
    },
    "structure": {
        "version": 1,
        "measure": UNSTATED,
        "data": UNSTATED,
        "n": UNSTATED,
        "encoder": UNSTATED,
        "encoder_weights": UNSTATED,
    },
}


def protocol(name: str, **stated: Any) -> dict[str, Any]:
    """The complete record of a named metric protocol.

    Raises ValueError when the name is unknown, when something is left out, or when a fixed entry is
    contradicted.
    """
    if name not in RECORDS:
        raise ValueError(
            f"no metric protocol is called {name!r}; there are {', '.join(sorted(RECORDS))}"
        )
    record = RECORDS[name]
    surplus = [key for key in stated if key not in record or record[key] is not UNSTATED]
    missing = [key for key, value in record.items() if value is UNSTATED and key not in stated]
    if surplus or missing:
        raise ValueError(f"protocol {name!r}: missing {missing}, not to be stated {surplus}")
    return {"name": name, **record, **stated}
