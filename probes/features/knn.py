"""k-nearest-neighbour accuracy of frozen features (k = 20): what they know without any training.

Features are L2-normalised, neighbours are the k training images of largest cosine similarity, each
has one vote and a tie goes to the smaller label (scikit-learn's rule).

    (knn_predict(train, train_labels, heldout, classes=10) == heldout_labels).double().mean()
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

VOTES = 20
ROWS_OF_QUERIES = 2048


def knn_predict(
    train: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: int,
    k: int = VOTES,
    block: int = ROWS_OF_QUERIES,
) -> Tensor:
    """Predicted labels [m] of queries [m, d] from train [n, d] with labels [n] in 0..classes-1."""
    k = min(k, len(train))
    train = F.normalize(train.float(), dim=1)
    predictions = []
    for i in range(0, len(queries), block):
        query = F.normalize(queries[i : i + block].float(), dim=1)
        best_values = query.new_empty(len(query), 0)
        best_labels = labels.new_empty(len(query), 0)
        for j in range(0, len(train), block):
            values = torch.cat([best_values, query @ train[j : j + block].T], dim=1)
            names = torch.cat([best_labels, labels[j : j + block].expand(len(query), -1)], dim=1)
            best_values, order = values.topk(min(k, values.shape[1]), dim=1)
            best_labels = names.gather(1, order)
        votes = F.one_hot(best_labels, classes).sum(dim=1)
        # argmax takes the first of equal counts only by accident; the key makes the smaller label
        # win.
        key = votes * classes + torch.arange(classes - 1, -1, -1, device=votes.device)
        predictions.append(key.argmax(dim=1))
    return torch.cat(predictions)
