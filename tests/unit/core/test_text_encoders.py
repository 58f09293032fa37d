"""Frozen text encoders: what is read is the network's own, whatever stands beside it in a batch;
conditions of such texts; and a run that is told them. The encoder is small and random, as
transformers saves one.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from support.runs import numbers, only_run, tiny_run

from bench.core.compat import import_vision
from bench.core.data.captions import Captions
from bench.core.data.text_encoders import read_texts
from bench.core.model.backbone import SiT
from bench.core.model.conditions import FrozenTexts
from bench.core.model.sizes import Size
from bench.core.model.streams import generator
from bench.core.model.tokens import TokenGrid
from bench.run import RUN

WORDS = ["[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "square", "circle", "large"]
TEXTS = ["a red square", "a large blue circle", "blue"]


def staged(cache):
    """A BertModel of two layers and a tokenizer of words, where minilm's would lie."""
    folder = cache / "text" / "minilm"
    transformers, tokenizers = import_vision("transformers"), import_vision("tokenizers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=special
    )
    tokenizer.enable_padding(length=20)  # as published files ask for
    tokenizer.save(str(folder / "tokenizer.json"))
    return cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return staged(tmp_path_factory.mktemp("cache"))


def test_each_text_is_read_as_the_network_reads_it_alone(cache):
    features = read_texts("minilm", TEXTS, cache)
    assert features.tokens.shape == (4, 6, 16) and features.counts.tolist() == [5, 6, 3, 2]
    network = import_vision("transformers").BertModel.from_pretrained(cache / "text" / "minilm")
    network.eval()
    for row, text in enumerate([*TEXTS, ""]):
        ids = [1, *(WORDS.index(word) for word in text.split()), 2]
        with torch.no_grad():
            alone = network(input_ids=torch.tensor([ids])).last_hidden_state[0]
        found = features.tokens[row].float()
        torch.testing.assert_close(found[: len(ids)], alone, atol=2e-3, rtol=1e-3)  # float16
        assert not found[len(ids) :].any()
    again = read_texts("minilm", TEXTS, cache)  # from the cache
    assert again == features and torch.equal(again.tokens, features.tokens)
    assert read_texts("minilm", TEXTS[:2], cache) != features


def test_a_model_is_told_a_text_by_its_number(cache):
    features = read_texts("minilm", TEXTS, cache)
    told = FrozenTexts(features)
    grid, size = TokenGrid((4, 4), 2, 1), Size("nano", 2, 16, 2)
    net = SiT(grid, size, told).initialise(generator(0, "init", 0))
    assert int(net.null) == 3 and "y_embedder.features" not in net.state_dict()
    pooled, context, beside = net.y_embedder(torch.tensor([1, 2, 3]))
    assert beside is None
    assert pooled.shape == (3, 16) and context.shape == (3, 6, 16)
    # by hand: tokens normalised, their mean over what the text has
    embedder, read = net.y_embedder, features.tokens[2, :3].float()
    read = F.layer_norm(read, (16,))
    torch.testing.assert_close(context[1, :3], embedder.tokens(read) + embedder.places.weight[:3])
    hidden = F.silu(embedder.hidden(read.mean(dim=0)))
    torch.testing.assert_close(pooled[1], embedder.pooled(hidden))
    with torch.device("meta"):  # where FLOPs are counted
        counted = SiT(grid, size, told)
        counted.y_embedder(torch.tensor([0]))


def captioned(root):
    draw = np.random.default_rng(0)
    root.mkdir()
    for i in range(24):
        pixels = draw.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        said = f"a {('red', 'blue')[i % 2]} {('square', 'circle')[i // 2 % 2]} {i}"
        (root / f"{i}.txt").write_text(said, encoding="utf-8")
    return root


def test_a_run_is_told_features_and_says_so(cache, tmp_path, capsys):
    root = captioned(tmp_path / "pictures")
    words = tiny_run(
        tmp_path / "runs", "data=captions", f"data.root={root}", "data.size=8", "data.text=minilm",
        "method=selfflow", "size=nano", "batch=8", "images=32", "log_images=8", f"cache={cache}",
    )  # fmt: skip
    assert RUN.main(words) == 0
    assert "told as minilm's features" in capsys.readouterr().out
    run = only_run(tmp_path / "runs")
    assert [line["images"] for line in numbers(run)] == [8, 16, 24, 32]
    told = Captions("captions", str(root), 8, 4, 64, 0.1, "minilm", cache=cache)
    bytewise = Captions("captions", str(root), 8, 4, 64, 0.1, cache=cache)
    assert set(told.fingerprints()) - set(bytewise.fingerprints()) == {"texts"}
    numbered = told.conditions("heldout")
    different = sorted({*told.texts["train"], *told.texts["heldout"]})
    assert [different[i] for i in numbered] == told.texts["heldout"]
    assert torch.equal(told.prompts.rows, numbered) and int(told.prompts.null) == len(different)


def test_what_cannot_be_read_is_said(cache, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"data\.text=bert is unknown \(choices: bytes, minilm"):
        read_texts("bert", TEXTS, cache)
    monkeypatch.setattr("bench.core.store.staging.unreachable", lambda url: "no network")
    with pytest.raises(
        ValueError, match=r"clip_text's model\.safetensors(?s:.*)prepare text=clip_text"
    ):
        read_texts("clip_text", TEXTS, cache)
    folder = staged(tmp_path) / "text" / "minilm"
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match=r"is no BertModel .* bench\.prepare text=minilm"):
        read_texts("minilm", ["other"], tmp_path)
    monkeypatch.setattr("bench.core.data.text_encoders.MOST_FEATURES", 100)
    with pytest.raises(
        ValueError, match=r"features of 4 texts of up to 6 tokens .* data\.text=bytes"
    ):
        read_texts("minilm", [*TEXTS[:2], "red"], cache)
