"""The encoder in training: a transformers model, its tokenizer and the text contract."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel

from trident.encoder.pooling import normalize, pool
from trident.encoder.text import Side, TextContract
from trident.encoder.tokenization import TextTokenizer, pad
from trident.encoder.weights import load_model, usable_positions
from trident.errors import ModelError
from trident_train.model.frozen_layers import FrozenLayers
from trident_train.model.kernel_twin import FEWEST_TEXTS, kernel_twin
from trident_train.processes import gather_rows, share_of

MOST_PADDING = 0.15  # of a row's own tokens; see length_groups
FEWEST_TOKENS = 256  # a smaller run costs more in calls than its padding does

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoder:
    """A model (plain, or with adapters) that turns token ids into embeddings by the rules of the contract."""

    model: Any  # transformers.PreTrainedModel or peft.PeftModel
    tokenizer: TextTokenizer
    accelerator: Any = None  # accelerate.Accelerator: its processes share the texts of ``embed``; None: this one only
    frozen: FrozenLayers | None = None  # layers of the model that nothing trains; None: all are run each time

    @classmethod
    def load(cls, folder: Path, contract: TextContract) -> Encoder:
        """Return the encoder of a model folder, in float32 on the CPU.

        Raises:
            ModelError: If the folder cannot be loaded, or is too short for the contract.
        """
        model = load_backbone(folder)
        positions = usable_positions(model)
        longest = max(contract.query_max_tokens, contract.product_max_tokens)
        if positions is not None and longest > positions:
            raise ModelError(
                f"text.*_max_tokens must be <= {positions}, the positions of {folder}, got {longest}: set "
                "both to less (trident train --set text.product_max_tokens=..., evaluate --text product_max_tokens=...)"
            )
        return cls(model, TextTokenizer.load(folder, contract))

    def forward(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the embeddings (B, D) of B rows of token ids; gradients flow.

        Rows of similar length are run together, so that little work goes into padding; the order is the caller's.
        """
        groups = length_groups([len(row) for row in rows])
        parts = [self._forward_padded([rows[number] for number in group]) for group in groups]
        place = torch.empty(len(rows), dtype=torch.int64)  # (B,)
        place[torch.tensor([number for group in groups for number in group])] = torch.arange(len(rows))
        return torch.cat(parts)[place.to(parts[0].device)]

    def _forward_padded(self, rows: Sequence[Sequence[int]]) -> Tensor:
        if self.frozen is None:
            hidden, attention_mask = self._forward_whole(rows)
        else:
            hidden, attention_mask = self.frozen.forward(rows)
        embedding: Tensor = normalize(pool(hidden.float(), attention_mask, self.tokenizer.contract.pooling))
        return embedding

    def _forward_whole(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        batch = pad(rows, pad_id=self.tokenizer.pad_id)
        device = next(self.model.parameters()).device
        input_ids = torch.from_numpy(batch.input_ids).to(device)  # (B, L)
        attention_mask = torch.from_numpy(batch.attention_mask).to(device)  # (B, L)
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, L, D)
        return hidden, attention_mask

    def embed(
        self, texts: Sequence[str], side: Side, *, batch_size: int = 64, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of N raw texts, without gradients and in evaluation mode.

        Each distinct text is embedded once, by one of the processes; batches hold texts of similar length. On a CPU
        many texts are embedded by the kernels, where they are installed and run the model: the same within 1e-5.

        Args:
            texts: Queries or product titles.
            side: Which.
            batch_size: Texts a batch.
            progress: Called with the number of distinct texts done after each batch.
        """
        distinct = list(dict.fromkeys(texts))
        embeddings = self.embed_rows(self.tokenizer.token_ids(distinct, side), batch_size=batch_size, progress=progress)
        position = {text: number for number, text in enumerate(distinct)}
        return embeddings[[position[text] for text in texts]]

    def embed_rows(
        self, rows: Sequence[Sequence[int]], *, batch_size: int = 64, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of N rows of token ids; as ``embed`` for the rest."""
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]), reverse=True)
        rank, processes = share_of(self.accelerator)
        mine = order[rank::processes]
        parts = [np.empty((0, self.model.config.hidden_size), dtype=np.float32)]
        frozen = self.frozen
        layers = None if frozen is None else range(frozen.count, self.model.config.num_hidden_layers)
        twin = kernel_twin(self.model, self.tokenizer.contract, layers=layers) if len(mine) >= FEWEST_TEXTS else None
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(mine), batch_size):
                chosen = [rows[number] for number in mine[start : start + batch_size]]
                if twin is None:
                    parts.append(self.forward(chosen).cpu().numpy())
                elif frozen is not None:
                    parts.append(twin.embed_states(frozen.states(chosen, keep=True)))
                else:
                    parts.append(twin.embed_ids(chosen, pad_id=self.tokenizer.pad_id))
                if progress is not None:
                    progress(len(chosen))
        self.model.train(was_training)
        together = gather_rows(np.concatenate(parts), self.accelerator)
        embeddings = np.empty_like(together)
        embeddings[[number for start in range(processes) for number in order[start::processes]]] = together
        return embeddings


@dataclass(frozen=True)
class PretrainedEncoder(Encoder):
    """An encoder before its first step: embeds each text once and remembers it, for everything that asks then."""

    remembered: dict[tuple[int, ...], NDArray[np.float32]] = field(default_factory=dict)

    def embed_rows(
        self, rows: Sequence[Sequence[int]], *, batch_size: int = 64, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of N rows of token ids."""
        keys = [tuple(row) for row in rows]
        new = [key for key in dict.fromkeys(keys) if key not in self.remembered]
        found = super().embed_rows(new, batch_size=batch_size, progress=progress)
        self.remembered.update(zip(new, found, strict=True))
        return np.array([self.remembered[key] for key in keys], dtype=np.float32).reshape(len(keys), found.shape[1])


class TwoSides(torch.nn.Module):
    """Both sides of a batch in one forward call, as Accelerate's wrapper around a module needs it."""

    def __init__(self, encoder: Encoder) -> None:
        """Keep the encoder; its model is the only child, under the name ``model``."""
        super().__init__()
        self.model = encoder.model
        self._tokenizer = encoder.tokenizer
        self._frozen = encoder.frozen

    def forward(
        self, query_rows: Sequence[Sequence[int]], product_rows: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Return the embeddings (Q, D) of Q rows of token ids and (P, D) of P rows."""
        encoder = Encoder(self.model, self._tokenizer, frozen=self._frozen)
        both = encoder.forward([*query_rows, *product_rows])  # which are of similar length more often than one side's
        return both[: len(query_rows)], both[len(query_rows) :]


def length_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Return row numbers in groups of similar length, longest first.

    A row joins the group of the next longer ones unless that would pad it by more than ``MOST_PADDING`` of its own
    length, or unless the group is too small to be worth a run of its own.

    Args:
        lengths: Tokens of each row.
    """
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    groups: list[list[int]] = []
    for number in order:
        group = groups[-1] if groups else []
        tokens = len(group) * lengths[group[0]] if group else 0
        padded = bool(group) and lengths[group[0]] > lengths[number] * (1 + MOST_PADDING)
        if not group or (padded and tokens >= FEWEST_TOKENS):
            groups.append([number])
        else:
            group.append(number)
    return groups


def load_backbone(folder: Path) -> Any:
    """Return the bare transformers model of a folder in float32; custom code of a model is never run.

    Raises:
        ModelError: If transformers cannot load it, or its weights do not fit its architecture.
    """

    def load() -> Any:
        return AutoModel.from_pretrained(
            str(folder),
            dtype=torch.float32,
            trust_remote_code=False,
            # on a CPU plain attention trains short texts a fifth faster than the fused one (measured 2026-11-23)
            attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # load_model refuses them, by name
        )

    return load_model(folder, load)
