"""The cross-encoder in training: one logit for a query and a product's title that are read together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from trident.encoder.pairs import PairRow, join_pair, longest_pair, pad_pairs, pair_rows
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.encoder.weights import load_model, spread_layers, usable_positions
from trident.errors import ConfigError, ModelError
from trident_train.model.arms import UNREACHED, compute_again, targets_of
from trident_train.model.encoder import length_groups
from trident_train.model.kernel_twin import FEWEST_TEXTS, pair_twin
from trident_train.processes import gather_rows, share_of
from trident_train.recipe import TrainRecipe

HEADS = ("classifier", "score", "pooler")  # modules that may be new: a base model has none, or another one


@dataclass(frozen=True)
class CrossEncoder:
    """A model (plain, or with adapters) that scores pairs of token rows by the rules of the contract."""

    model: Any  # transformers.PreTrainedModel or peft.PeftModel, one label
    tokenizer: TextTokenizer
    accelerator: Any = None  # accelerate.Accelerator: its processes share the pairs of ``score``; None: this one only

    @classmethod
    def load(cls, folder: Path, contract: TextContract, *, layers: int | None = None) -> CrossEncoder:
        """Return the cross-encoder of a model folder, in float32 on the CPU; where it has no head, a new one.

        Args:
            folder: Of a model of transformers.
            contract: Lengths of query and product.
            layers: Evenly spread ones that are kept; None: all.

        Raises:
            ModelError: If the folder cannot be loaded, has fewer layers, or is too short for the contract.
        """
        model = load_classifier(folder)
        if layers is not None:
            keep_layers(model, layers, folder)
        positions = usable_positions(model.base_model)
        if positions is not None and longest_pair(contract) > positions:
            raise ModelError(
                f"a pair must have at most {positions} tokens, the positions of {folder}, got "
                f"{longest_pair(contract)}: set text.query_max_tokens and text.product_max_tokens to less"
            )
        return cls(model, TextTokenizer.load(folder, contract))

    @property
    def kinds(self) -> int:
        """Types of tokens that the model knows."""
        return int(getattr(self.model.config, "type_vocab_size", 2) or 1)

    def forward(self, query_rows: Sequence[Sequence[int]], product_rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the logits (N,) of N pairs of token rows; gradients flow."""
        return self.forward_rows([join_pair(*pair) for pair in zip(query_rows, product_rows, strict=True)])

    def forward_rows(self, rows: Sequence[PairRow]) -> Tensor:
        """Return the logits (N,) of N pairs; rows of similar length are run together."""
        groups = length_groups([len(row.ids) for row in rows])
        parts = [self._forward_padded([rows[number] for number in group]) for group in groups]
        place = torch.empty(len(rows), dtype=torch.int64)  # (N,)
        place[torch.tensor([number for group in groups for number in group])] = torch.arange(len(rows))
        return torch.cat(parts)[place.to(parts[0].device)]

    def _forward_padded(self, rows: Sequence[PairRow]) -> Tensor:
        batch = pad_pairs(rows, pad_id=self.tokenizer.pad_id, kinds=self.kinds)
        device = next(self.model.parameters()).device
        inputs = {
            "input_ids": torch.from_numpy(batch.input_ids).to(device),  # (B, L)
            "attention_mask": torch.from_numpy(batch.attention_mask).to(device),  # (B, L)
        }
        if self.kinds > 1:
            inputs["token_type_ids"] = torch.from_numpy(batch.token_type_ids).to(device)  # (B, L)
        logits: Tensor = self.model(**inputs).logits[:, 0].float()  # (B,)
        return logits

    def score(
        self,
        queries: Sequence[str],
        titles: Sequence[str],
        *,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return the logits (N,) of N queries and the titles beside them, without gradients, in evaluation mode.

        Many pairs are scored by the kernels where they run the model.
        """
        rows = pair_rows(self.tokenizer, queries, titles)
        order = sorted(range(len(rows)), key=lambda number: len(rows[number].ids), reverse=True)
        rank, processes = share_of(self.accelerator)
        mine = order[rank::processes]
        parts = [np.empty(0, dtype=np.float32)]
        twin = pair_twin(self.model) if len(mine) >= FEWEST_TEXTS else None
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            for start in range(0, len(mine), batch_size):
                chosen = [rows[number] for number in mine[start : start + batch_size]]
                parts.append(self.forward_rows(chosen).cpu().numpy() if twin is None else twin.score(chosen))
                if progress is not None:
                    progress(len(chosen))
        self.model.train(was_training)
        together = gather_rows(np.concatenate(parts), self.accelerator)
        logits = np.empty_like(together)
        logits[[number for start in range(processes) for number in order[start::processes]]] = together
        return logits


class PairScorer(torch.nn.Module):
    """The pairs of a batch in one forward call, as Accelerate's wrapper around a module needs it."""

    def __init__(self, reranker: CrossEncoder) -> None:
        """Keep the reranker; its model is the only child."""
        super().__init__()
        self.model = reranker.model
        self._tokenizer = reranker.tokenizer

    def forward(self, query_rows: Sequence[Sequence[int]], product_rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the logits (N,)."""
        return CrossEncoder(self.model, self._tokenizer).forward(query_rows, product_rows)


def reranker_arm(model: Any, recipe: TrainRecipe) -> Any:
    """Return the model with the weights trainable that the recipe's method trains; the head always is.

    Nothing of the base model is dropped while it trains: with the usual tenth of all activations gone a new head had
    learned a fourth as much after 3,000 pairs (measured, docs/log/reranking.md). Adapters drop what the recipe says.

    Raises:
        ConfigError: If no layer has one of the target names.

    Source: Hu et al. 2021, LoRA; the library is PEFT, told the task: else it would neither train nor save the head.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    compute_again(model, recipe)
    if recipe.method == "full":
        return model
    names = [name for name, _ in model.named_modules()]
    heads = [head for head in HEADS if any(name.rsplit(".", 1)[-1] == head for name in names)]
    if recipe.lora.top_layers is not None:
        raise ConfigError(f"lora.top_layers is for encoders, a reranker adapts all, got {recipe.lora.top_layers}")
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        target_modules=[each for each in targets_of(model, recipe.lora) if each not in HEADS],
        exclude_modules=rf".*{UNREACHED}.*",
        modules_to_save=heads,
        bias="none",
    )
    adapted = get_peft_model(model, config)
    adapted.peft_config["default"].base_model_name_or_path = recipe.base_model
    return adapted


def keep_layers(model: Any, layers: int, folder: Path) -> None:
    """Leave so many evenly spread transformer layers in a model, the last one among them.

    Raises:
        ModelError: If it has fewer, or does not keep them where BERT does.
    """
    stack = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    if stack is None or len(stack) < layers:
        got = "none that are found" if stack is None else len(stack)
        raise ModelError(f"reranker.layers must be at most the layers of {folder}, got {layers} of {got}")
    model.base_model.encoder.layer = torch.nn.ModuleList([stack[each] for each in spread_layers(len(stack), layers)])
    model.config.num_hidden_layers = layers


def load_classifier(folder: Path) -> Any:
    """Return the model of a folder with a head of one logit, in float32; custom code is never run.

    Raises:
        ModelError: If transformers cannot load it, or its weights do not fit its architecture.
    """

    def load() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            num_labels=1,
            dtype=torch.float32,
            trust_remote_code=False,
            attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )

    return load_model(folder, load, fresh=HEADS)
