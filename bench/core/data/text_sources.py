"""Which frozen text encoders there are, and the files that each is staged as.

text_resources("clip_text", Path("runs/cache"))     # [Resource(...), ...]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.store.staging import Resource


@dataclass(frozen=True)
class TextEncoder:
    """repository: at Hugging Face; kind: the class in transformers; longest: tokens of a text that
    it reads at most; megabytes: of its weights.
    """

    repository: str
    kind: str
    longest: int
    megabytes: float


TEXT_ENCODERS = {
    "minilm": TextEncoder("sentence-transformers/all-MiniLM-L6-v2", "BertModel", 256, 91),
    "clip_text": TextEncoder("openai/clip-vit-large-patch14", "CLIPTextModel", 77, 1710),
    "t5_large": TextEncoder("google-t5/t5-large", "T5EncoderModel", 512, 2950),
}
TEXT_FILES = ("config.json", "tokenizer.json", "model.safetensors")


def text_resources(name: str, cache: Path) -> list[Resource]:
    """The files of an encoder; name: of `TEXT_ENCODERS`."""
    encoder, sizes = TEXT_ENCODERS[name], (0.01, 2)
    base = f"https://huggingface.co/{encoder.repository}/resolve/main"
    return [
        Resource(f"{name}'s {file}", cache / "text" / name / file, f"{base}/{file}", size)
        for file, size in zip(TEXT_FILES, (*sizes, encoder.megabytes), strict=True)
    ]
