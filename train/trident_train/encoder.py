"""The encoder in training: a transformers model, its tokenizer and the text contract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel

from trident.errors import ModelError
from trident.pooling import normalize, pool
from trident.text import Side, TextContract
from trident.tokenization import TextTokenizer, pad

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoder:
    """A model (plain, or with adapters) that turns token ids into embeddings by the rules of the contract."""

    model: Any  # transformers.PreTrainedModel or peft.PeftModel
    tokenizer: TextTokenizer

    @classmethod
    def load(cls, folder: Path, contract: TextContract) -> Encoder:
        """Return the encoder of a model folder, in float32 on the CPU.

        Raises:
            ModelError: If the folder cannot be loaded, or is too short for the contract.
        """
        model = load_backbone(folder)
        positions = getattr(model.config, "max_position_embeddings", None)
        longest = max(contract.query_max_tokens, contract.product_max_tokens)
        if positions is not None and longest > positions:
            raise ModelError(f"text.*_max_tokens must be <= {positions}, the positions of {folder}, got {longest}")
        return cls(model, TextTokenizer.load(folder, contract))

    def forward(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the embeddings (B, D) of B rows of token ids, padded to the longest; gradients flow."""
        batch = pad(rows, pad_id=self.tokenizer.pad_id)
        device = next(self.model.parameters()).device
        input_ids = torch.from_numpy(batch.input_ids).to(device)  # (B, L)
        attention_mask = torch.from_numpy(batch.attention_mask).to(device)  # (B, L)
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, L, D)
        embedding: Tensor = normalize(pool(hidden.float(), attention_mask, self.tokenizer.contract.pooling))
        return embedding

    def embed(
        self, texts: Sequence[str], side: Side, *, batch_size: int = 64, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of N raw texts, without gradients and in evaluation mode.

        Each distinct text is embedded once; batches hold texts of similar length.

        Args:
            texts: Queries or product titles.
            side: Which.
            batch_size: Texts a batch.
            progress: Called with the number of distinct texts done after each batch.
        """
        distinct = list(dict.fromkeys(texts))
        rows = self.tokenizer.token_ids(distinct, side)
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]), reverse=True)
        parts = []
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                parts.append(self.forward([rows[number] for number in chosen]).cpu().numpy())
                if progress is not None:
                    progress(len(chosen))
        self.model.train(was_training)
        embeddings = np.empty((len(rows), parts[0].shape[1]), dtype=np.float32)
        embeddings[order] = np.concatenate(parts)
        position = {text: number for number, text in enumerate(distinct)}
        return embeddings[[position[text] for text in texts]]


def load_backbone(folder: Path) -> Any:
    """Return the bare transformers model of a folder in float32; custom code of a model is never run.

    Raises:
        ModelError: If transformers cannot load it.
    """
    try:
        return AutoModel.from_pretrained(str(folder), dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"model folder {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
