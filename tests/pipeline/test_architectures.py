"""Training and export of what is no BERT: XLM-R, ModernBERT, and MPNet, which the kernels do not run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trident_kernels
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
)

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.graph_files import CODES_FILE
from trident.encoder.kernel_encoder import KernelEncoder
from trident.encoder.pairs import PairRow
from trident.encoder.served_encoder import load_encoder
from trident.encoder.tokenization import TextTokenizer
from trident.generation.generation import ENCODER_FOLDER, Generation
from trident.ranking.pair_scorer import GraphScorer, reranker_fault
from trident.search.searcher import Searcher
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.graphs.pair_graph import PairGraph, export_pair_graph
from trident_export.job import ExportOrder
from trident_export.merge.reranker import load_classifier
from trident_export.pipeline import export_generation
from trident_train.recipe import LoraRecipe, TrainRecipe
from trident_train.run import train

WORDS = [
    *("alba", "borex", "cindra", "kettle", "toaster", "headphones", "laptop", "sofa", "lamp", "rake", "novel"),
    *("red", "blue", "green", "black", "white", "steel", "crimson", "navy", "olive", "ebony", "ivory", "chrome"),
]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 3}


def sentencepiece() -> Tokenizer:
    """Return a tokenizer as XLM-R's is, its vocabulary written out: pieces of SentencePiece with their logarithms."""
    pieces = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(f"\u2581{word}", -5.0) for word in WORDS] + [(each, -12.0) for each in f"\u2581{LETTERS}"]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def byte_pairs() -> Tokenizer:
    """Return a tokenizer as ModernBERT's is: pairs of bytes, a word with the space before it."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = []
    for word in WORDS:
        made = "\u0120"
        for letter in word:
            if made + letter not in vocabulary:
                merges.append((made, letter))
                vocabulary.append(made + letter)
            made += letter
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(vocabulary)}, merges))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def xlm_roberta(vocabulary: int) -> PreTrainedConfig:
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return XLMRobertaConfig(
        vocab_size=vocabulary, max_position_embeddings=130, type_vocab_size=1, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, **SIZES, **ids,
    )  # fmt: skip


def modernbert(vocabulary: int) -> PreTrainedConfig:
    ids = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    return ModernBertConfig(
        vocab_size=vocabulary, max_position_embeddings=256, local_attention=4, global_attn_every_n_layers=2,
        initializer_range=0.1, **SIZES, **ids,
    )  # fmt: skip


def mpnet(vocabulary: int) -> PreTrainedConfig:
    return MPNetConfig(
        vocab_size=vocabulary, max_position_embeddings=130, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, **SIZES,
    )  # fmt: skip


KINDS: dict[str, tuple[Callable[[], Tokenizer], Callable[[int], PreTrainedConfig], tuple[str, ...]]] = {
    "xlm-roberta": (sentencepiece, xlm_roberta, ("query", "key", "value")),
    "modernbert": (byte_pairs, modernbert, ("Wqkv", "Wi")),
    "mpnet": (sentencepiece, mpnet, ("q", "k", "v")),
}
RUN_BY_KERNELS = ("xlm-roberta", "modernbert")


def exported(name: str, recipe: TrainRecipe, catalogue: Path, folder: Path) -> None:
    """Train a tiny model with adapters and export it into ``folder``, in float32 and 8 bits."""
    tokenizer_of, config_of, targets = KINDS[name]
    base = folder / "base"
    tokenizer = tokenizer_of()
    padding = "[PAD]" if name == "modernbert" else "<pad>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=padding).save_pretrained(str(base))
    torch.manual_seed(0)
    vocabulary = -(-tokenizer.get_vocab_size() // 64) * 64  # rounded up, as those of real models are
    AutoModel.from_config(config_of(vocabulary)).save_pretrained(str(base))
    optimizer = replace(recipe.optimizer, epochs=2)
    train(replace(recipe, base_model=str(base), lora=LoraRecipe(targets=targets), optimizer=optimizer), folder / "run")
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=("int8",)))
    export_generation(ExportOrder(folder / "run", catalogue, folder / "generations", config))


@pytest.fixture(scope="module", params=[*RUN_BY_KERNELS, pytest.param("mpnet", marks=pytest.mark.slow)])
def named(
    request: pytest.FixtureRequest, tiny_recipe: TrainRecipe, tiny_data: Path, made_once: Callable[..., Path]
) -> tuple[str, Generation]:
    name = str(request.param)
    made = made_once(f"tiny-{name}", lambda folder: exported(name, tiny_recipe, tiny_data / "products.csv", folder))
    (folder,) = (path.parent for path in (made / "generations").glob("*/manifest.json"))
    return name, Generation.load(folder)


def test_every_stage_proves_itself(named: tuple[str, Generation]) -> None:
    name, generation = named
    rows = {row["stage"]: row["proof"] for row in generation.manifest.stages}
    assert "cosine to PyTorch >= 0.999999" in rows["parity"] or "1.0000" in rows["parity"]
    assert "operators over tokens only, cosine to PyTorch >= " in rows["unpadded"]
    if name not in RUN_BY_KERNELS:
        fault = f"model_type must be bert or roberta or xlm-roberta or modernbert, got {name}"
        assert rows["kernels"] == f"not used, the graph is served: {fault}"
        assert f"not made, the graph is served: {fault}" in rows["int8 kernels"]
        return
    for instructions in trident_kernels.instructions():
        assert f"({instructions})" in rows["kernels"]
    assert rows["kernels"].startswith("cosine to PyTorch >= ")
    if trident_kernels.instructions_8_bits():
        assert "overlap@10" in rows["int8 kernels"]
        assert (generation.cpu_graph("int8").with_name(CODES_FILE)).is_file()


def test_it_is_served_by_the_kernels_and_finds_what_the_graph_does(named: tuple[str, Generation]) -> None:
    name, generation = named
    tokenizer = TextTokenizer.load(generation.version_folder("tokenizer"), generation.text_contract())
    merged, fingerprint = generation.folder / ENCODER_FOLDER, generation.manifest.encoder_fingerprint
    texts = [" ".join(WORDS[number::7]) for number in range(7)] + ["red sofa", "a", "größe 3.5", "<pad> red [PAD] sofa"]
    rows = tokenizer.token_ids(texts, "product")
    graph = load_encoder(generation.cpu_graph("fp32"), merged, tokenizer, fingerprint=fingerprint, kernels="off")
    expected = graph.embed_ids(rows, pad_id=tokenizer.pad_id)
    served = load_encoder(generation.cpu_graph("fp32"), merged, tokenizer, fingerprint=fingerprint)
    assert isinstance(served, KernelEncoder if name in RUN_BY_KERNELS else OnnxEncoder)
    np.testing.assert_allclose(served.embed_ids(rows, pad_id=tokenizer.pad_id), expected, atol=1e-5)
    if name in RUN_BY_KERNELS and trident_kernels.instructions_8_bits():
        eight = load_encoder(generation.cpu_graph("int8"), merged, tokenizer, fingerprint=fingerprint, kernels="on")
        assert isinstance(eight, KernelEncoder)
        found = eight.embed_ids(rows, pad_id=tokenizer.pad_id)
        assert (found * expected).sum(1).min() > 0.98
        alone = np.concatenate([eight.embed_ids([row], pad_id=tokenizer.pad_id) for row in rows])
        assert np.array_equal(alone, found)
    searcher = Searcher.load(generation)
    assert type(searcher.encoder) is type(served)
    hits = searcher.search(["crimson sofa", "navy lamp"])
    assert hits.counts.min() >= 10


@pytest.mark.parametrize("pooling", ["mean", pytest.param("cls", marks=pytest.mark.slow)])
def test_a_reranker_of_modernbert_runs_its_graph(pooling: str, tmp_path: Path) -> None:
    config = modernbert(128)
    config.num_labels, config.classifier_pooling = 1, pooling
    torch.manual_seed(0)
    ModernBertForSequenceClassification(config).save_pretrained(tmp_path)
    assert reranker_fault(tmp_path) == "model_type must be bert, got modernbert"
    classifier = load_classifier(tmp_path)
    export_pair_graph(PairGraph(classifier).eval(), tmp_path / "model.onnx", fingerprint="0")
    draw = np.random.default_rng(0)
    rows = [PairRow(draw.integers(5, 128, size=length).tolist(), 2) for length in (3, 30, 9, 17)]
    with torch.inference_mode():
        logits = [float(classifier(input_ids=torch.tensor([row.ids])).logits) for row in rows]
    found = GraphScorer.load(tmp_path / "model.onnx", fingerprint="0", pad_id=0, kinds=1).score(rows)
    assert found == pytest.approx(logits, abs=1e-5)
    assert np.ptp(found) > 1e-3
