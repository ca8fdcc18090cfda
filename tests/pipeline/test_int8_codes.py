"""The encoder in 8 bits on the kernels: the graph's integers, sums that a plain program makes too, refusals."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trident_kernels
from safetensors.numpy import load_file, save_file
from torch import nn
from transformers import AutoModel, BertConfig, ModernBertConfig, PreTrainedConfig

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.graph_files import CODES_FILE
from trident.encoder.kernel_encoder import WEIGHTS_FILE, KernelEncoder, codes_fingerprint, kernels_fault
from trident.encoder.pooling import normalize, pool
from trident.encoder.served_encoder import load_encoder
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError, ModelError
from trident.generation.generation import Generation
from trident_export.graphs.int8_codes import write_codes

VOCABULARY = 90
IN_8_BITS = trident_kernels.instructions_8_bits() or [""]  # where there is none the tests want a refusal


@pytest.fixture
def codes(generation: Generation, tiny_merged: Path, tmp_path: Path) -> Path:
    assert write_codes(generation.graph("int8"), tiny_merged, tmp_path / CODES_FILE) == 12  # two layers of six
    return tmp_path / CODES_FILE


def rows_of(lengths: list[int]) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(5, VOCABULARY, size=length).tolist() for length in lengths]


def refused_here(folder: Path, codes: Path) -> bool:
    """Return whether this processor cannot compute in 8 bits; then it must say so."""
    if trident_kernels.instructions_8_bits():
        assert kernels_fault(folder, codes) is None
        return False
    with pytest.raises(ModelError, match="has neither AVX2 nor ARM's dot product"):
        KernelEncoder.load(folder, TextContract(), codes=codes)
    return True


class RoundedLinear(nn.Linear):
    """A linear layer that rounds as the kernels do, in double precision."""

    arrays: dict[str, np.ndarray]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = {key: torch.from_numpy(value).double() for key, value in self.arrays.items()}
        smooth = x.double() * part["columns"]
        size = smooth.abs().amax(-1, keepdim=True)
        rounded = (torch.round(smooth / size / part["step"]) + part["zero"]).clamp(0, 255) - part["zero"]
        product = rounded @ part["weight"].T * part["scale"] * size * part["step"]
        return (product if self.bias is None else product + self.bias.double()).float()


def one_layer(kind: type[PreTrainedConfig], width: int, heads: int, inner: int) -> PreTrainedConfig:
    sizes = {"vocab_size": VOCABULARY, "num_hidden_layers": 1, "max_position_embeddings": 80, "pad_token_id": 0}
    return kind(**sizes, hidden_size=width, num_attention_heads=heads, intermediate_size=inner)


@pytest.mark.parametrize("instructions", IN_8_BITS)
@pytest.mark.parametrize(
    "config",
    [
        *(one_layer(BertConfig, *sizes) for sizes in ((64, 2, 160), (42, 3, 50), (12, 3, 20))),
        *(one_layer(ModernBertConfig, *sizes) for sizes in ((64, 2, 96), (42, 3, 50))),
    ],
    ids=lambda config: f"{config.model_type} {config.hidden_size}",
)
def test_embeddings_are_those_of_a_plain_program(config: PreTrainedConfig, instructions: str, tmp_path: Path) -> None:
    """Widths that fill panels and groups of inputs, and widths that do not; a zero that is not in the middle."""
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    generator = np.random.default_rng(1)
    arrays = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and "pooler" not in name:
            inputs_of = "attention.self" if "attention.self" in name else name  # these three share their input
            columns = np.random.default_rng(sum(map(ord, inputs_of))).uniform(0.5, 2, layer.in_features)
            own = {
                "weight": generator.integers(-128, 128, (layer.out_features, layer.in_features)).astype(np.int8),
                "scale": generator.uniform(1e-3, 4e-3, layer.out_features).astype(np.float32),
                "columns": columns.astype(np.float32),
                "step": np.array([2.02 / 255], dtype=np.float32),  # a row's largest number is not halfway between two
                "zero": np.array([120], dtype=np.int32),
            }
            arrays |= {f"{name}.{key}": value for key, value in own.items()}
            layer.__class__, layer.arrays = RoundedLinear, own
    save_file(arrays, tmp_path / CODES_FILE)
    if refused_here(tmp_path, tmp_path / CODES_FILE):
        return
    rows = rows_of([*range(1, 31), 3, 7])
    kernels = KernelEncoder.load(tmp_path, TextContract(), codes=tmp_path / CODES_FILE, instructions=instructions)
    assert kernels.instructions == instructions
    found = kernels.embed_ids(rows, pad_id=0)
    with torch.inference_mode():
        each = [pool(model(torch.tensor([row])).last_hidden_state, torch.ones(1, len(row)), "mean") for row in rows]
        expected = np.asarray(normalize(torch.cat(each)).numpy())
    cosines = (found * expected).sum(1)
    assert np.median(cosines) > 0.99999
    assert cosines.min() > 0.999  # a number halfway between two integers goes to either


@pytest.mark.parametrize("instructions", IN_8_BITS)
def test_they_embed_as_the_graph_does_and_the_same_in_every_batch(
    generation: Generation, tiny_merged: Path, codes: Path, instructions: str
) -> None:
    if refused_here(tiny_merged, codes):
        return
    rows = rows_of([*range(1, 33), 3, 7, 7])
    kernels = KernelEncoder.load(tiny_merged, generation.text_contract(), codes=codes, instructions=instructions)
    together = kernels.embed_ids(rows, pad_id=0)
    graph = OnnxEncoder.load(generation.graph("int8")).embed_ids(rows, pad_id=0)
    assert (together * graph).sum(1).min() > 0.999
    float32 = KernelEncoder.load(tiny_merged, generation.text_contract()).embed_ids(rows, pad_id=0)
    assert 0.98 < (together * float32).sum(1).min() < 1 - 1e-6  # it is 8 bits that were computed in
    assert all(
        np.array_equal(kernels.embed_ids([row], pad_id=0)[0], one) for row, one in zip(rows, together, strict=True)
    )


def test_tiles_add_up_what_vectors_do(generation: Generation, tiny_merged: Path, codes: Path) -> None:
    """Sums of integers are exact: AMX and AVX-512 give the same bits, where a processor has both."""
    alike = [name for name in ("avx512", "amx") if name in IN_8_BITS]
    rows = rows_of([*range(1, 33), 3, 7, 7])
    load = partial(KernelEncoder.load, tiny_merged, generation.text_contract(), codes=codes)
    found = [load(instructions=name).embed_ids(rows, pad_id=0) for name in alike]
    assert all(np.array_equal(each, found[0]) for each in found)


def test_the_integers_stand_for_the_merged_weights(tiny_merged: Path, codes: Path) -> None:
    weights, arrays = load_file(tiny_merged / WEIGHTS_FILE), load_file(codes)
    for name in ("encoder.layer.0.attention.self.value", "encoder.layer.1.output.dense"):
        stands_for = arrays[f"{name}.weight"] * arrays[f"{name}.scale"][:, None] * arrays[f"{name}.columns"]
        step = arrays[f"{name}.scale"][:, None] * arrays[f"{name}.columns"]
        assert (np.abs(stands_for - weights[f"{name}.weight"]) <= 0.51 * step).all()


def test_a_graph_of_another_model_is_refused(generation: Generation, tiny_merged: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_merged / WEIGHTS_FILE)
    name = "encoder.layer.1.intermediate.dense.weight"
    save_file(weights | {name: weights[name] * 1.1}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(
        ExportError, match=r"encoder\.layer\.1\.intermediate\.dense must be what the graph rounded, got"
    ):
        write_codes(generation.graph("int8"), tmp_path, tmp_path / CODES_FILE)
    fewer = {key: value for key, value in weights.items() if ".layer.1." not in key}
    save_file(fewer, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ExportError, match="must be the model's linear layers, got more of them"):
        write_codes(generation.graph("int8"), tmp_path, tmp_path / CODES_FILE)
    with pytest.raises(ExportError, match=r"encoder\.layer\.0\.attention\.self\.query is missing"):
        write_codes(generation.graph("fp32"), tiny_merged, tmp_path / CODES_FILE)
    assert not (tmp_path / CODES_FILE).exists()


def test_integers_that_do_not_fit_are_refused(tiny_merged: Path, codes: Path, tmp_path: Path) -> None:
    if refused_here(tiny_merged, codes):
        return
    assert "has no absent.safetensors" in str(kernels_fault(tiny_merged, tmp_path / "absent.safetensors"))
    arrays, other = load_file(codes), tmp_path / "other.safetensors"
    name = "encoder.layer.0.attention.self.key"
    for changed, message in (
        ({f"{name}.columns": arrays[f"{name}.columns"] * 2}, f"{name} must round its input as"),
        ({f"{name}.scale": arrays[f"{name}.scale"][1:]}, rf"{name}\.scale has a shape that does not fit"),
    ):
        save_file(arrays | changed, other)
        with pytest.raises(ModelError, match=message):
            KernelEncoder.load(tiny_merged, TextContract(), codes=other)
    save_file({key: value for key, value in arrays.items() if key != f"{name}.zero"}, other)
    with pytest.raises(ModelError, match=rf"weights must have {name}\.zero"):
        KernelEncoder.load(tiny_merged, TextContract(), codes=other)
    shutil.copyfile(codes, other)
    other.write_bytes(other.read_bytes()[:-5])
    with pytest.raises(ModelError, match=r"other\.safetensors cannot be read"):
        KernelEncoder.load(tiny_merged, TextContract(), codes=other)


def test_integers_of_another_encoder_are_refused(
    generation: Generation, tokenizer: TextTokenizer, tiny_merged: Path, tmp_path: Path
) -> None:
    """Whatever the manifest says: the file itself names its encoder."""
    shutil.copytree(generation.version_folder("encoder"), tmp_path, dirs_exist_ok=True)
    graph, codes = tmp_path / generation.cpu_graph("int8").name, tmp_path / CODES_FILE
    write_codes(generation.graph("int8"), tiny_merged, codes)
    fingerprint = generation.manifest.encoder_fingerprint
    assert codes_fingerprint(codes) == fingerprint
    if refused_here(tiny_merged, codes):
        return
    assert isinstance(load_encoder(graph, tiny_merged, tokenizer, fingerprint=fingerprint), KernelEncoder)
    arrays = load_file(codes)
    for metadata, got in (({"encoder_fingerprint": "f" * 64}, "f" * 12), (None, "none")):
        save_file(arrays, codes, metadata=metadata)
        with pytest.raises(
            ModelError, match=f"must be of encoder {fingerprint[:12]}, got {got}: export the model again"
        ):
            load_encoder(graph, tiny_merged, tokenizer, fingerprint=fingerprint)
