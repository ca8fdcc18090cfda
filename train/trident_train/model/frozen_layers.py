"""Layers below the first adapter: training never changes them, so a text goes through them once a run.

Their hidden states are kept in memory, in float32, 1.5 KB a token of MiniLM's. A training step begins at the first
adapted layer, runs nothing below it and keeps nothing of it for the way back; judging begins there too.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from trident.encoder.kernel_encoder import KernelEncoder
from trident.encoder.text import TextContract
from trident.encoder.tokenization import pad
from trident_train.model.kernel_twin import kernel_twin
from trident_train.recipe import TrainRecipe

SPLIT = ("bert", "roberta", "xlm-roberta")  # kinds of models that are run in two parts
KEPT_BYTES = 2 * 2**30  # of hidden states at most, in each process
RUN_TEXTS = 64  # that go through the layers together
MIB = 2**20

logger = logging.getLogger(__name__)

States = NDArray[np.float32]


@dataclass
class FrozenLayers:
    """The first layers of a model, what they gave for each text, and the layers above them.

    Attributes:
        count: How many they are.
        lower: A model of them alone: its last hidden state is what is kept.
        upper: A model of the layers above, which reads hidden states as ``inputs_embeds``; its layers are those of the
            model that is trained.
        kernels: ``lower`` on the kernels; None where they do not run it.
        pad_id: Of the tokenizer.
        kept_bytes: Where to stop keeping; what comes then goes through the layers whenever it is asked for.
    """

    count: int
    lower: Any
    upper: Any
    kernels: KernelEncoder | None
    pad_id: int
    kept_bytes: int = KEPT_BYTES
    kept: dict[tuple[int, ...], States] = field(default_factory=dict)  # token ids -> (L, D)
    size_bytes: int = 0  # of ``kept``

    @classmethod
    def of(cls, model: Any, recipe: TrainRecipe, contract: TextContract, *, pad_id: int) -> FrozenLayers | None:
        """Return the layers of a model that nothing trains; None where there are none.

        None, too, for a model of another kind than ``SPLIT``: all its layers are run in every step, and a line says so.

        Args:
            model: As ``arm_of`` returns it, on its device.
            recipe: What is trained.
            contract: Gives the pooling.
            pad_id: Of the tokenizer.
        """
        if recipe.method != "lora" or recipe.lora.top_layers is None:
            return None
        count = model.config.num_hidden_layers - recipe.lora.top_layers
        if count == 0:
            return None
        kind = model.config.model_type
        if kind not in SPLIT:
            logger.info("all layers are run in every step: lora.top_layers saves those below for %s", ", ".join(SPLIT))
            return None
        bare: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        kernels = kernel_twin(model, contract, layers=range(count))
        lower, upper = _part(bare, range(count)), _part(bare, range(count, len(bare.encoder.layer)))
        return cls(count, lower, upper, kernels, pad_id)

    def keep(self, rows: Sequence[Sequence[int]]) -> None:
        """Run rows of token ids through the layers, as far as there is room for what they give."""
        new = [key for key in dict.fromkeys(map(tuple, rows)) if key not in self.kept]
        new.sort(key=len, reverse=True)
        for start in range(0, len(new), RUN_TEXTS):
            self.states(new[start : start + RUN_TEXTS], keep=True)
        words = f"layers 1 to {self.count} are run once: hidden states of {len(self.kept)} texts kept"
        left_out = sum(key not in self.kept for key in new)
        if left_out:
            words += (
                f", the others ({left_out}) are run each time: they do not fit into {self.kept_bytes / MIB:.0f} MiB"
            )
        logger.info("%s (%.0f MiB)", words, self.size_bytes / MIB)

    def states(self, rows: Sequence[Sequence[int]], *, keep: bool = False) -> list[States]:
        """Return the hidden states of each row, (L, D); those that are not there are computed, and kept if asked."""
        keys = [tuple(row) for row in rows]
        new = sorted({key for key in keys if key not in self.kept}, key=lambda key: (-len(key), key))
        found = dict(zip(new, self._run(new), strict=True)) if new else {}
        for key, states in found.items() if keep else ():
            if self.size_bytes + states.nbytes <= self.kept_bytes:
                self.kept[key] = states.copy()  # else all of its run would stay
                self.size_bytes += states.nbytes
        return [self.kept[key] if key in self.kept else found[key] for key in keys]

    def forward(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the last hidden state (B, L, D) of B rows of token ids and their mask (B, L); gradients flow.

        Training keeps nothing more: ``keep`` was called before it, so that a run that goes on has what it had. Judging,
        which is without gradients, keeps what it runs.
        """
        states = self.states(rows, keep=not torch.is_grad_enabled())
        longest = max(map(len, states))
        given = np.zeros((len(states), longest, states[0].shape[1]), dtype=np.float32)  # (B, L, D)
        mask = np.zeros((len(states), longest), dtype=np.int64)  # (B, L)
        for number, row in enumerate(states):
            given[number, : len(row)] = row
            mask[number, : len(row)] = 1
        device = next(self.upper.parameters()).device
        attention_mask = torch.from_numpy(mask).to(device)
        hidden = self.upper(inputs_embeds=torch.from_numpy(given).to(device), attention_mask=attention_mask)
        return hidden.last_hidden_state, attention_mask

    def _run(self, rows: Sequence[Sequence[int]]) -> list[States]:
        lengths = [len(row) for row in rows]
        if self.kernels is not None:
            return np.split(self.kernels.states(rows), np.cumsum(lengths)[:-1])
        batch = pad(rows, pad_id=self.pad_id)
        device = next(self.lower.parameters()).device
        modes = [(module, module.training) for module in self.lower.modules()]
        self.lower.eval()
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            ids, mask = (torch.from_numpy(part).to(device) for part in (batch.input_ids, batch.attention_mask))
            hidden = self.lower(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, D)
        for module, mode in modes:
            module.training = mode
        return [row[:length] for row, length in zip(hidden.float().cpu().numpy(), lengths, strict=True)]


class _Given(torch.nn.Module):
    """Stands for the embeddings where hidden states are given."""

    def forward(self, inputs_embeds: Tensor, **_: Any) -> Tensor:
        """Return what is given."""
        return inputs_embeds


def _part(bare: Any, layers: range) -> Any:
    """Return a BERT of some of a model's layers, which stay the model's own; without a pooler."""
    part, encoder = copy.copy(bare), copy.copy(bare.encoder)
    encoder._modules = {**bare.encoder._modules, "layer": torch.nn.ModuleList([bare.encoder.layer[n] for n in layers])}
    part._modules = {**bare._modules, "encoder": encoder}
    if layers.start:
        part._modules["embeddings"] = _Given()
    if "pooler" in part._modules:
        part._modules["pooler"] = None
    return part
