"""Inception score as the ADM evaluator computes it (Salimans et al. 2016, arXiv:1606.03498).

IS = mean over blocks of exp(E_x KL(p(y | x) || p(y))), over *consecutive* blocks of 5,000 images in
sample order; p is the softmax over all 1,008 outputs of the pool features times the last layer's
weights, without its bias.

    from probes.distances.inception_score import inception_score
    inception_score(logits)
"""

from __future__ import annotations

import numpy as np

SPLIT_SIZE = 5000


def inception_score(logits: np.ndarray, block: int = SPLIT_SIZE) -> float:
    """IS (1..classes) of logits [n, classes] in sample order; a last,
    shorter block counts like the others.
    """
    if len(logits) == 0:
        raise ValueError("an inception score of no images is not defined")
    scores = []
    for start in range(0, len(logits), block):
        z = logits[start : start + block].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        log_mean = np.logaddexp.reduce(log_p, axis=0) - np.log(
            len(z)
        )  # a class may underflow in every p
        divergence = (np.exp(log_p) * (log_p - log_mean)).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores))
