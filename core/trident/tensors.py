"""The one home of tensor names, defaults and limits: ONNX graph, config.pbtxt, model.py and tests use these."""

from __future__ import annotations

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
EMBEDDING = "embedding"
