"""The merged reranker as one ONNX graph: a pair's tokens, their mask and their types -> ``logit`` (B, 1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from trident.encoder.pairs import TOKEN_TYPE_IDS
from trident.encoder.weights import usable_positions
from trident.ranking.pair_scorer import LOGIT
from trident.retrieval.tensors import ATTENTION_MASK, INPUT_IDS
from trident_export.graphs.onnx_graph import Signature, export_module


class PairGraph(torch.nn.Module):
    """A classifier of one logit: what is traced.

    Args:
        classifier: A transformers model in evaluation mode.
    """

    def __init__(self, classifier: Any) -> None:
        """Keep the model."""
        super().__init__()
        self.classifier = classifier
        self.kinds = int(getattr(classifier.config, "type_vocab_size", 0) or 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return logits (B, 1) of token ids, mask and types, (B, L) int64 each."""
        inputs: dict[str, Tensor | None] = {INPUT_IDS: input_ids, ATTENTION_MASK: attention_mask}
        if self.kinds > 1:
            inputs[TOKEN_TYPE_IDS] = token_type_ids
        logits: Tensor = self.classifier(**inputs).logits
        return logits


def export_pair_graph(graph: PairGraph, output: Path, *, fingerprint: str) -> onnx.ModelProto:
    """Write the graph with dynamic batch and length, and return it.

    Raises:
        ExportError: If the exporter fails or the ONNX checker refuses the graph.
    """
    inputs = (INPUT_IDS, ATTENTION_MASK, *([TOKEN_TYPE_IDS] if graph.kinds > 1 else []))
    positions = usable_positions(graph.classifier.base_model) or 512
    signature = Signature(inputs, LOGIT, graph.classifier.config.vocab_size, positions)
    return export_module(graph.eval(), output, signature, fingerprint=fingerprint, what="reranker")
