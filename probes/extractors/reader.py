"""A small network that reads drawn words, and readers that others made.

The local reader is trained once for a data set on drawings of its training words, in every font,
and kept in a cache with its accuracy on the held-out drawings, whose words it has not seen.

    reader = reader_of("local", data, Path("cache"))
    reader.read(data.images("heldout"))          # ["owl", "hen", ...]
    reader_of("rapidocr", data, Path("cache"))    # pip install rapidocr-onnxruntime
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.data.words import Words
from bench.core.store.cache import cached_folder
from bench.core.store.waiting import counted, foreseen

READERS = ("local", "rapidocr", "tesseract")
SIDE = 48  # pixels in height of what a reader of scanned text is shown


class TextReader(Protocol):
    """What reads pictures. family, trained_on, labels: as of an encoder; fingerprint: of its
    weights, or its version.
    """

    name: str
    family: str
    trained_on: str
    labels: str
    fingerprint: str

    def read(self, images: Tensor) -> list[str]:
        """Texts of uint8 pictures [n, 3, H, W]."""
        ...


@dataclass(frozen=True)
class ReadingRecipe:
    """How the local reader is trained; part of its cache key."""

    version: int = 1
    width: int = 16
    steps: int = 500
    batch: int = 128
    learning_rate: float = 4e-3
    noise: float = 0.2
    seed: int = 90210


class Reader(nn.Module):
    """Three convolutions and one linear layer: a letter, or none, for each place of a word."""

    name, family = "local", "convnet"

    def __init__(self, data: Words, recipe: ReadingRecipe):
        super().__init__()
        self.alphabet, self.length = data.alphabet, data.length
        self.trained_on, self.labels, self.fingerprint = f"{data.name}-train", data.name, ""
        height, width = data.grid.shape
        w = recipe.width
        layers: list[nn.Module] = [nn.Conv2d(1, w, 3, padding=1), nn.ReLU()]
        for before, after in ((w, 2 * w), (2 * w, 2 * w)):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1)
            layers += [convolution, nn.GroupNorm(8, after), nn.ReLU()]
        cells = -(-height // 4) * -(-width // 4)
        places = self.length * (len(self.alphabet) + 1)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * w * cells, places))

    def forward(self, x: Tensor) -> Tensor:
        """Prepared pictures [B, 1, H, W] -> logits [B, length, letters + 1], the last for none."""
        return self.body(x).unflatten(1, (self.length, -1))

    @torch.no_grad()
    def read(self, images: Tensor) -> list[str]:
        found = [self(_prepared(part)).argmax(dim=-1) for part in images.split(512)]
        letters = [*self.alphabet, ""]
        return ["".join(letters[i] for i in row) for part in found for row in part.tolist()]


def _prepared(images: Tensor) -> Tensor:
    return images[:, :1].float() / 127.5 - 1


def _targets(reader: Reader, texts: Sequence[str]) -> Tensor:
    rows = torch.full((len(texts), reader.length), len(reader.alphabet))
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = torch.tensor([reader.alphabet.index(letter) for letter in text])
    return rows


def train_reader(data: Words, recipe: ReadingRecipe, most: int | None = None) -> Reader:
    """Train a reader (CPU, own random streams); most: of the steps, to time them."""
    draw = torch.Generator().manual_seed(recipe.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        reader = Reader(data, recipe)
    images, texts = data.for_reading()
    targets = _targets(reader, texts)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps
    )
    what = f"training a reader on {data.name}, once"
    for _ in counted(what, range(recipe.steps)[:most], recipe.steps):
        rows = torch.randint(0, len(texts), (recipe.batch,), generator=draw)
        x = _prepared(images[rows])
        x = x + recipe.noise * torch.randn(x.shape, generator=draw)  # samples are not so clean
        loss = F.cross_entropy(reader(x).flatten(0, 1), targets[rows].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return reader.eval().requires_grad_(False)


def local_reader(data: Words, cache: Path, recipe: ReadingRecipe | None = None) -> Reader:
    """The reader of a data set from the cache, trained first if it is not there."""
    from safetensors.torch import load, save_file

    recipe = recipe or ReadingRecipe()
    folder = _folder(data, cache, recipe)

    def make(folder: Path) -> None:
        reader = train_reader(data, recipe)
        save_file(reader.state_dict(), folder / "weights.safetensors")
        read, texts = reader.read(data.images("heldout")), data.texts["heldout"]
        right = sum(a == b for a, b in zip(read, texts, strict=True))
        card = {
            "recipe": dataclasses.asdict(recipe),
            "data_fingerprint": data.fingerprint,
            "heldout": {"word_accuracy": right / len(texts), "n": len(texts)},
        }
        (folder / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")

    cached_folder(folder, make)
    reader = Reader(data, recipe)
    try:
        weights = (folder / "weights.safetensors").read_bytes()
        reader.load_state_dict(load(weights))
    except Exception as error:
        raise ValueError(
            f"the cached reader {folder} is damaged ({error}); delete that folder"
        ) from error
    reader.fingerprint = hashlib.sha256(weights).hexdigest()[:16]
    return reader.eval().requires_grad_(False)


def seconds_to_reader(data: Words, cache: Path) -> float:
    """What training the reader of a data set will take here, 0 where the cache has it."""
    recipe = ReadingRecipe()
    if _folder(data, cache, recipe).is_dir():
        return 0.0
    return foreseen(lambda most: train_reader(data, recipe, most), recipe.steps)


def _folder(data: Words, cache: Path, recipe: ReadingRecipe) -> Path:
    said = f"{data.fingerprint}/{json.dumps(dataclasses.asdict(recipe))}"
    key = hashlib.sha256(said.encode()).hexdigest()[:12]
    return Path(cache) / "extractors" / f"reader-{data.name}-{key}"


# Readers of scanned text ------------------------------------------------------------------------


class RapidOcr:
    """PP-OCRv4 as rapidocr-onnxruntime ships it, one line a picture."""

    name, family, trained_on, labels = "rapidocr", "ocr", "scanned text", ""

    def __init__(self) -> None:
        try:
            module: Any = importlib.import_module("rapidocr_onnxruntime")
        except ImportError as error:
            raise ValueError(
                "reader=rapidocr needs rapidocr-onnxruntime: pip install rapidocr-onnxruntime, or "
                "leave reader out"
            ) from error
        self._engine = module.RapidOCR()
        self.fingerprint = importlib.metadata.version("rapidocr-onnxruntime")

    def read(self, images: Tensor) -> list[str]:
        texts = []
        for picture in _enlarged(images):
            found, _ = self._engine(picture.numpy(), use_det=False, use_cls=False, use_rec=True)
            texts.append(str(found[0][0]) if found else "")
        return texts


class Tesseract:
    """The program tesseract, a word a picture."""

    name, family, trained_on, labels = "tesseract", "ocr", "scanned text", ""

    def __init__(self) -> None:
        program = shutil.which("tesseract")
        if program is None:
            raise ValueError(
                "reader=tesseract needs the program tesseract: apt install tesseract-ocr, or leave "
                "reader out"
            )
        self._program = program
        said = subprocess.run([program, "--version"], capture_output=True, check=False)
        self.fingerprint = (said.stdout or said.stderr).decode(errors="replace").split("\n")[0]

    def read(self, images: Tensor) -> list[str]:
        from PIL import Image

        texts = []
        for picture in _enlarged(images):
            file = BytesIO()
            Image.fromarray(255 - picture.numpy()).save(file, format="PNG")  # black on white
            command = [self._program, "stdin", "stdout", "--psm", "8"]
            found = subprocess.run(command, input=file.getvalue(), capture_output=True, check=False)
            texts.append(found.stdout.decode(errors="replace").strip())
        return texts


def _enlarged(images: Tensor) -> Tensor:
    """uint8 [n, SIDE', W, 3], enlarged to SIDE pixels in height, with a margin."""
    factor = SIDE / images.shape[2]
    large = F.interpolate(images.float(), scale_factor=factor, mode="bicubic", align_corners=False)
    framed = F.pad(large.clamp(0, 255), (SIDE // 4,) * 4)
    return framed.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def reader_of(name: str, data: Words, cache: Path) -> TextReader:
    """A reader by its name. Raises ValueError for an unknown one, and with the line that installs
    one that is missing.
    """
    if name == "local":
        return local_reader(data, cache)
    if name not in READERS:
        raise ValueError(f"reader={name} is unknown (choices: {', '.join(READERS)})")
    return RapidOcr() if name == "rapidocr" else Tesseract()
