"""The files that let sentence-transformers load a merged encoder and give the same embeddings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trident.encoder.text import SLOT, TextContract


def write_modules(folder: Path, contract: TextContract, *, dimension: int) -> None:
    """Write ``modules.json`` and its companions into a folder with a transformers model.

    A template that ends in the text becomes a prompt of sentence-transformers; its ``max_seq_length`` is the
    contract's length for products, the longer side.

    Args:
        folder: The model folder.
        contract: Pooling, templates and lengths.
        dimension: D, the width of an embedding.
    """
    library = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{library}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{library}.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{library}.Normalize"},
    ]
    _write(folder / "modules.json", modules)
    longest = max(contract.query_max_tokens, contract.product_max_tokens)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": contract.lowercase})
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    pooling = {
        "word_embedding_dimension": dimension,
        "pooling_mode_mean_tokens": contract.pooling == "mean",
        "pooling_mode_cls_token": contract.pooling == "cls",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    _write(folder / "1_Pooling" / "config.json", pooling)
    prompts = {
        side: template.removesuffix(SLOT)
        for side, template in (("query", contract.query_template), ("document", contract.product_template))
        if template.endswith(SLOT) and template != SLOT
    }
    _write(folder / "config_sentence_transformers.json", {"prompts": prompts, "similarity_fn_name": "cosine"})


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
