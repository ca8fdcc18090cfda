"""The merged encoder as one ONNX graph: ``input_ids``, ``attention_mask`` -> ``embedding`` of unit length."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from trident.encoder.encoder import FINGERPRINT_KEY
from trident.encoder.graph_files import ONNX_FILE
from trident.encoder.pooling import normalize, pool
from trident.encoder.text import TextContract
from trident.encoder.weights import usable_positions
from trident.errors import ExportError
from trident.retrieval.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from trident_export.graphs import graph_file
from trident_export.graphs.fuse import fuse_projections

OPSET = 18  # LayerNormalization is one node from 17 on; 18 is what the exporter writes without conversion


class EncoderGraph(torch.nn.Module):
    """Backbone, pooling and normalisation: what is traced.

    Args:
        backbone: A transformers model in evaluation mode.
        contract: Gives the pooling.
    """

    def __init__(self, backbone: Any, contract: TextContract) -> None:
        """Keep the parts."""
        super().__init__()
        self.backbone = backbone
        self.pooling = contract.pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return embeddings (B, D) of token ids (B, L) int64 and their mask (B, L) int64."""
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, L, D)
        embedding: Tensor = normalize(pool(hidden, attention_mask, self.pooling))
        return embedding


@dataclass(frozen=True)
class Signature:
    """What a traced module takes and gives: ``inputs`` (B, L) int64 each, one ``output`` (B, …).

    ``vocabulary`` and ``positions`` are those of its backbone.
    """

    inputs: tuple[str, ...]
    output: str
    vocabulary: int
    positions: int


def export_onnx(graph: EncoderGraph, output: Path, *, encoder_fingerprint: str) -> onnx.ModelProto:
    """Write the graph with dynamic batch and length, and return it.

    Args:
        graph: The encoder in float32.
        output: The ``.onnx`` file; weights of more than 2 GiB lie beside it.
        encoder_fingerprint: Kept in the file's metadata, where the server looks for it.

    Raises:
        ExportError: If the exporter fails or the ONNX checker refuses the graph.
    """
    backbone = graph.backbone
    signature = Signature(
        (INPUT_IDS, ATTENTION_MASK), EMBEDDING, backbone.config.vocab_size, usable_positions(backbone) or 512
    )
    return export_module(graph, output, signature, fingerprint=encoder_fingerprint)


def export_module(
    module: torch.nn.Module, output: Path, signature: Signature, *, fingerprint: str, what: str = "encoder"
) -> onnx.ModelProto:
    """Write a module as a graph with dynamic batch and length, and return it; as ``export_onnx``."""
    ids = torch.randint(0, signature.vocabulary, (2, 7))  # (B, L)
    others = [torch.ones_like(ids)] + [torch.zeros_like(ids)] * (len(signature.inputs) - 2)
    longest = signature.positions
    axes = {0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("length", min=1, max=longest)}
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                module,
                (ids, *others),
                input_names=list(signature.inputs),
                output_names=["graph_output"],
                dynamic_shapes=dict.fromkeys(signature.inputs, axes),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"PyTorch could not export the {what} to ONNX: {str(error).splitlines()[0]}") from error
    large = sum(weight.numel() * weight.element_size() for weight in module.parameters()) > graph_file.LARGEST_BYTES
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        folder = Path(name)
        program.save(str(folder / ONNX_FILE), external_data=large)
        model = graph_file.read_graph(folder / ONNX_FILE, weights=not large)
        _rename(model, {signature.output: f"internal_{signature.output}", "graph_output": signature.output})
        _strip(model)
        fuse_projections(model, weights_in=folder)
        onnx.helper.set_model_props(model, {FINGERPRINT_KEY: fingerprint})
        graph_file.write_graph(model, output, weights_in=folder if large else None)
    return model


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    """Give tensors other names: the exporter's own values would collide with the contract's output name."""
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in [*model.graph.value_info, *model.graph.output]:
        value.name = names.get(value.name, value.name)


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes (stack traces with this machine's paths), so that equal encoders give equal files."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    del graph.metadata_props[:]
    for item in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del item.metadata_props[:]
        item.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter's progress and its dependencies' deprecation warnings off the screen."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
