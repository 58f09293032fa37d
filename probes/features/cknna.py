"""CKNNA: do two sets of features have the same neighbours? (arXiv:2405.07987, eq. 7 ff.)

With K = A A^T and L = B B^T on L2-normalised rows, each row keeps its 10 largest off-diagonal
entries in both kernels, m = mask_K * mask_L, and
    CKNNA = s(K, L) / (sqrt(s(K, K) s(L, L)) + 1e-6),   s(K, L) = HSIC_u(m K, m L),
    HSIC_u(P, Q) = [sum P * Q^T + sum P sum Q / ((n - 1)(n - 2))
                    - 2 (colsum P).(rowsum Q) / (n - 2)] / (n (n - 3)).
A row has at most 10 non-zeros, so a kernel is kept as its neighbours: O(n^2) to find them, O(n)
after that, and an encoder's are found once for all layers and times.

platonic-rep clamps features to the 95 % quantile of |x| first, REPA does not say: `clamp` is part
of the protocol.

    from probes.features.cknna import cknna, neighbours
    cknna(neighbours(features), neighbours(encoder_features))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.data.base import DataSet
from bench.core.model.encoder import Encoder
from bench.core.store.rows import Row
from probes.distances.precision_recall import BLOCK
from probes.features.store import (
    BLOCK_FEATURES,
    FeatureStore,
    encoder_features,
    feature_passes,
    store_of,
    subset,
)
from probes.metric import DATA, STATED, Inputs, Metric, Record, Told, related

if TYPE_CHECKING:
    from scipy.sparse import csr_array

TOPK = 10
MOST_CKNNA, FEWEST_CKNNA = 10_000, TOPK + 1
CKNNA = Record(
    "cknna",
    kernel="linear on L2-normalised rows, float32; mutual mask of the 10 nearest",
    estimate="unbiased HSIC (REPA's equations are a biased, row-centred form)",
    clamp=STATED,
    encoder=STATED,
    encoder_weights=STATED,
    data=STATED,
    features=STATED,
    n=STATED,
)


@dataclass(frozen=True)
class Neighbours:
    """The k largest off-diagonal entries of each row of a kernel: columns and similarities,
    both [n, k].
    """

    columns: np.ndarray
    similarities: np.ndarray


def clamped(features: Tensor, quantile: float) -> Tensor:
    """Features [n, d] clamped to the given quantile (0..1) of their absolute values."""
    magnitudes = features.abs().flatten().sort().values
    limit = float(magnitudes[min(int(quantile * len(magnitudes)), len(magnitudes) - 1)])
    return features.clamp(-limit, limit)


def neighbours(
    features: Tensor, k: int = TOPK, clamp: float | None = None, block: int = BLOCK
) -> Neighbours:
    """Neighbours in the linear kernel of L2-normalised features [n, d],
    in float32 on their device.
    """
    n = len(features)
    if n < max(k + 1, 4):
        raise ValueError(
            f"CKNNA with {k} neighbours needs at least {max(k + 1, 4)} images, not {n}"
        )
    features = features.float()
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features hold values that are not finite; CKNNA is not defined for them")
    if clamp is not None:
        features = clamped(features, clamp)
    rows = F.normalize(features, dim=1)
    columns, similarities = [], []
    for start in range(0, n, block):
        kernel = rows[start : start + block] @ rows.T
        own = torch.arange(start, start + len(kernel), device=kernel.device)
        kernel[own - start, own] = -torch.inf
        top = kernel.topk(k, dim=1)
        columns.append(top.indices.cpu().numpy())
        similarities.append(top.values.cpu().numpy())
    return Neighbours(np.concatenate(columns), np.concatenate(similarities))


def sparse(kernel: Neighbours) -> csr_array:
    """The masked kernel as a sparse [n, n] matrix in float64;
    entries that are zero by chance stay in the mask.
    """
    from scipy.sparse import csr_array

    n, k = kernel.columns.shape
    rows = np.repeat(np.arange(n), k)
    return csr_array(
        (kernel.similarities.astype(np.float64).ravel(), (rows, kernel.columns.ravel())),
        shape=(n, n),
    )


def mask(kernel: Neighbours) -> csr_array:
    """1 where the kernel keeps an entry, sparse [n, n]."""
    return sparse(Neighbours(kernel.columns, np.ones_like(kernel.similarities)))


def unbiased_hsic(p: csr_array, q: csr_array) -> float:
    """HSIC_u of two kernels [n, n] with zero diagonals."""
    n, _ = p.shape  # type: ignore[misc]
    total = p.multiply(q.T).sum() + p.sum() * q.sum() / ((n - 1) * (n - 2))
    crossed = np.asarray(p.sum(axis=0)) @ np.asarray(q.sum(axis=1))
    return float((total - 2 * crossed / (n - 2)) / (n * (n - 3)))


def cknna(a: Neighbours, b: Neighbours) -> float:
    """CKNNA (about 0 for unrelated features,
    1 for the same) of two kernels over the same images in the same order.
    """
    if a.columns.shape != b.columns.shape:
        raise ValueError(
            f"kernels of {a.columns.shape} and {b.columns.shape} are of other images or neighbours"
        )
    kernel_a, kernel_b, both = sparse(a), sparse(b), mask(a).multiply(mask(b))
    shared = unbiased_hsic(both.multiply(kernel_a).tocsr(), both.multiply(kernel_b).tocsr())
    # Of finite samples each is positive but for degenerate kernels, whose root would be undefined.
    product = max(unbiased_hsic(kernel_a, kernel_a) * unbiased_hsic(kernel_b, kernel_b), 0.0)
    return shared / (product**0.5 + 1e-6)


def _kernel(features: np.ndarray, clamp: float | None, device: torch.device | str) -> Neighbours:
    rows = subset(len(features), MOST_CKNNA).numpy()
    return neighbours(
        torch.from_numpy(np.asarray(features[rows], np.float32)).to(device), clamp=clamp
    )


def measure_cknna(
    store: FeatureStore,
    dataset: DataSet,
    encoder: Encoder,
    cache: Path,
    aligned: Mapping[str, str] | None,
    clamp: float | None = None,
    device: torch.device | str = "cpu",
) -> list[Row]:
    """Rows `cknna` of a store's held-out features to an encoder's patch means,
    for every block and timestep.

    clamp: quantile of |x| at which both are clamped first (platonic-rep: 0.95), None for none.
    Takes at most 10,000 of the store's held-out images; the encoder's kernel is found once.
    """
    theirs = encoder_features(encoder, dataset, "heldout", cache, store.grid.most_images, device)
    if len(theirs) != len(store.labels("heldout")):
        raise ValueError(
            f"{encoder.name} has features of {len(theirs)} images, "
            "the store of other ones; use one limit"
        )
    n = min(len(theirs), MOST_CKNNA)
    kernel = _kernel(theirs, clamp, device) if n >= FEWEST_CKNNA else None
    note = "" if kernel else f"missing: {n} held-out picture(s), CKNNA needs {FEWEST_CKNNA}"
    stated = {
        "clamp": "none" if clamp is None else f"{clamp:g} quantile of |x|",
        "encoder": encoder.name,
        "encoder_weights": encoder.fingerprint,
        "data": dataset.fingerprint,
        "features": BLOCK_FEATURES | {"noise_seed": store.grid.seed},
        "n": n,
    }
    mark = related(encoder, aligned)
    rows = []
    for block in store.grid.blocks:
        for t in store.grid.times:
            ours = store.features("heldout", block, t)
            value = None if kernel is None else cknna(_kernel(ours, clamp, device), kernel)
            rows.append(
                CKNNA.row("cknna", value, n, stated, block=block, t=t, related=mark, note=note)
            )
    return rows


class Cknna(Metric):
    """cknna to one encoder, of every block and noise level."""

    needs = (DATA,)
    records = (CKNNA,)

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        inputs.data_here.images("heldout", slice(0, 1))  # latents may lie there without pictures
        return {}

    def measure(self, inputs: Inputs) -> list[Row]:
        assert isinstance(self.network, Encoder)
        store, data, cache = store_of(inputs), inputs.data_here, inputs.cache
        return measure_cknna(store, data, self.network, cache, inputs.aligned, device=inputs.device)

    @classmethod
    def passes(cls, n_train: int, n_heldout: int, settings: Told) -> int:
        return feature_passes(n_train, n_heldout, settings)
