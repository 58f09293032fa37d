"""Frozen text encoders: features of all texts of a data set, computed once and kept.

    features = read_texts("clip_text", ["an owl", "a hen"], Path("runs/cache"))
    features.tokens                # float16 [3, 4, 768], the last for the text that says nothing

Networks are transformers' own, read from a folder that bench.prepare text=clip_text stages:
CACHE/text/clip_text with config.json, tokenizer.json and model.safetensors. What is taken is the
last hidden state of each of a text's tokens, as text-to-image models do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from bench.core.compat import full_float32, import_vision, need_transformers
from bench.core.data.text_sources import TEXT_ENCODERS, TEXT_FILES, TextEncoder, text_resources
from bench.core.model.conditions import TextFeatures
from bench.core.store.cache import cached_folder
from bench.core.store.staging import require

TEXTS_AT_ONCE = 32
MOST_FEATURES = 2**30  # of features, which a GPU holds twice: for the model and for its average
NULL = ""
# what reading damaged or foreign weights raises
_UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError)


def read_texts(name: str, texts: Sequence[str], cache: Path | None) -> TextFeatures:
    """Features of different texts, in their order.

    Raises ValueError for an unknown encoder, one that is not staged, and for more than 1 GiB.
    """
    if name not in TEXT_ENCODERS:
        raise ValueError(
            f"data.text={name} is unknown (choices: bytes, {', '.join(TEXT_ENCODERS)})"
        )
    need_transformers(f"data.text={name} is transformers'")
    root = cache or Path("runs/cache")
    files = text_resources(name, root)
    require(files, f"data.text={name}", f"text={name}")
    weights = files[-1].path
    key = hashlib.sha256(repr((list(texts), weights.stat().st_size)).encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        tokens, counts = _features(name, [*texts, NULL], weights.parent)
        np.save(folder / "tokens.npy", tokens.numpy())
        np.save(folder / "counts.npy", counts.numpy())

    there = cached_folder(root / "texts" / f"{name}-{key}", make)
    try:
        tokens, counts = (np.load(there / f"{part}.npy") for part in ("tokens", "counts"))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"the cached features {there} are damaged ({error}): delete that folder, they are "
            "computed again"
        ) from error
    digest = hashlib.sha256(repr(list(texts)).encode() + tokens.tobytes()).hexdigest()[:16]
    return TextFeatures(torch.from_numpy(tokens), torch.from_numpy(counts), digest)


@full_float32()
@torch.no_grad()
def _features(name: str, texts: Sequence[str], folder: Path) -> tuple[Tensor, Tensor]:
    """float16 [n, L, D], L the longest text's, and how many tokens each has."""
    encoder = TEXT_ENCODERS[name]
    rows = list(_tokenised(encoder, texts, folder))
    longest = max(map(len, rows))
    network = getattr(import_vision("transformers"), encoder.kind)
    try:
        network = network.from_pretrained(folder, local_files_only=True).eval()
    except _UNREADABLE as error:
        raise ValueError(
            f"{folder} is no {encoder.kind} that can be read ({str(error).splitlines()[0]}): fetch "
            f"it again, python -m bench.prepare text={name}"
        ) from error
    if torch.cuda.is_available():
        network = network.cuda()
    numbers = network.config.hidden_size
    if (needed := 2 * len(rows) * longest * numbers) > MOST_FEATURES:
        raise ValueError(
            f"features of {len(rows)} texts of up to {longest} tokens take {needed / 1e9:.2g} GB, "
            f"and {MOST_FEATURES / 1e9:.2g} are allowed: choose fewer or shorter texts, or "
            "data.text=bytes"
        )
    found = torch.zeros(len(rows), longest, numbers, dtype=torch.float16)
    for first in tqdm(range(0, len(rows), TEXTS_AT_ONCE), desc=f"texts by {name}", disable=None):
        part = rows[first : first + TEXTS_AT_ONCE]
        counts = torch.tensor([len(row) for row in part])
        ids = torch.zeros(len(part), int(counts.max()), dtype=torch.int64)
        for row, numbered in zip(ids, part, strict=True):
            row[: len(numbered)] = torch.tensor(numbered)
        mask = torch.arange(ids.shape[1]) < counts[:, None]
        ids, mask = ids.to(network.device), mask.to(network.device)
        hidden = network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        hidden = (hidden * mask[..., None]).half().cpu()
        found[first : first + len(part), : hidden.shape[1]] = hidden
    return found, torch.tensor([len(row) for row in rows])


def _tokenised(encoder: TextEncoder, texts: Sequence[str], folder: Path) -> Iterator[list[int]]:
    """Numbers of each text's tokens, special ones among them, cut where the encoder ends."""
    tokenizer = import_vision("tokenizers").Tokenizer.from_file(str(folder / TEXT_FILES[1]))
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoder.longest)
    for text in texts:
        yield tokenizer.encode(text).ids or [0]
