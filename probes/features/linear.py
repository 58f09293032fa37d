"""Linear probes: how much of the labels a linear map reads off frozen features.

Two protocols, never mixed in a row:
- `repa_answers`: REPA's recipe (Yu et al. 2025, arXiv:2410.06940, appendix; after MAE): batch norm
  without parameters, one linear layer, 90 epochs, batch 16,384 (all rows where there are fewer),
  Adam 1e-3 without weight decay, cosine.
- `fast_answers`: for small data, scikit-learn's logistic regression on standardised features,
  minutes become tenths of a second; it converges, where 90 epochs of a single batch each do not.

    fast_answers(train, train_labels, heldout, heldout_labels).mean()   # accuracy 0..1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm


@dataclass(frozen=True)
class ProbeRecipe:
    """REPA's linear probe; seed: of the layer's start and the order of the images."""

    epochs: int = 90
    batch: int = 16_384
    learning_rate: float = 1e-3
    seed: int = 0


def check_features(train: np.ndarray, heldout: np.ndarray) -> None:
    """Raise ValueError where features cannot be probed (unlike widths,
    values that are not finite).
    """
    if train.ndim != 2 or heldout.ndim != 2 or train.shape[1] != heldout.shape[1]:
        raise ValueError(
            f"features of shape {train.shape} and {heldout.shape} cannot be probed: both are [n, d]"
        )
    for name, features in (("training", train), ("held-out", heldout)):
        bad = sum(
            int((~np.isfinite(features[i : i + 4096])).any(1).sum())
            for i in range(0, len(features), 4096)
        )
        if bad:
            raise ValueError(
                f"{bad} of {len(features)} {name} feature rows are not finite; "
                "probe an earlier snapshot"
            )


def fast_answers(
    train: np.ndarray, train_labels: np.ndarray, heldout: np.ndarray, heldout_labels: np.ndarray
) -> np.ndarray:
    """Which held-out rows [m] logistic regression (L2, C = 1) on standardised features [n, d] reads
    right, bool.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_features(train, heldout)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(np.asarray(train, np.float64), train_labels)
    return model.predict(np.asarray(heldout, np.float64)) == np.asarray(heldout_labels)


def repa_answers(
    train: np.ndarray,
    train_labels: np.ndarray,
    heldout: np.ndarray,
    heldout_labels: np.ndarray,
    recipe: ProbeRecipe | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> np.ndarray:
    """Which held-out rows [m] a probe by REPA's recipe reads right, bool; features [n, d] may be
    memory-mapped and half precision.
    """
    recipe = recipe or ProbeRecipe()
    check_features(train, heldout)
    n, width = train.shape
    classes = int(max(train_labels.max(), heldout_labels.max())) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        layer = nn.Linear(width, classes)
    probe = nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=1e-6), layer).to(device)
    draw = torch.Generator().manual_seed(recipe.seed)
    optimiser = torch.optim.Adam(layer.parameters(), lr=recipe.learning_rate)
    batch = min(recipe.batch, n)
    steps = recipe.epochs * (n // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in tqdm(
        range(recipe.epochs), desc="linear probe", unit="epoch", disable=not progress, leave=False
    ):
        order = torch.randperm(n, generator=draw)
        for start in range(
            0, n - batch + 1, batch
        ):  # a last, shorter batch would spoil the batch norm's statistics
            rows = np.sort(
                order[start : start + batch].numpy()
            )  # in order: memory-mapped rows are read once through
            x = torch.from_numpy(np.asarray(train[rows], np.float32)).to(device)
            y = torch.as_tensor(train_labels[rows]).long().to(device)
            loss = F.cross_entropy(probe(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    probe.eval()
    predicted = []
    with torch.no_grad():
        for start in range(0, len(heldout), batch):
            x = torch.from_numpy(np.asarray(heldout[start : start + batch], np.float32)).to(device)
            predicted.append(probe(x).argmax(1).cpu().numpy())
    return np.concatenate(predicted) == np.asarray(heldout_labels)
