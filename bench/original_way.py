"""The training loop of PEFT's guide "LoRA for semantic similarity tasks", to be measured against.

Source: huggingface/peft, examples/feature_extraction/peft_lora_embedding_semantic_search.py. Tokenising is done in
advance and there is no data loader, both of which favour it; everything a step computes is the original's.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from accelerate.utils import set_seed
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, get_scheduler

from trident.encoder.base_model import find_model
from trident.encoder.tokenization import TextTokenizer, pad
from trident_train.loop.batches import BatchPlan, TokenizedPairs
from trident_train.model.encoder import Encoder
from trident_train.recipe import TrainRecipe

Precision = Literal["no", "fp16", "bf16"]
DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class OriginalWay:
    """Both sides of every pair padded to one length and embedded each for itself.

    Args:
        recipe: Model, adapters, batch size, epochs and learning rate.
        pairs: The train split.
        precision: Of the forward pass: the original has float16 on a GPU.
        length: Every text is padded to it, in tokens.
    """

    def __init__(self, recipe: TrainRecipe, pairs: TokenizedPairs, precision: Precision, *, length: int) -> None:
        """Load the model as transformers does by default, add adapters, pad all texts."""
        self.precision = precision
        self.length = length
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        folder = find_model(recipe.base_model)
        set_seed(recipe.seed)
        lora = LoraConfig(
            r=recipe.lora.rank,
            lora_alpha=recipe.lora.alpha,
            lora_dropout=recipe.lora.dropout,
            target_modules=list(recipe.lora.targets),
            bias="none",
        )
        backbone = AutoModel.from_pretrained(str(folder), dtype=torch.float32)
        self.model: Any = get_peft_model(backbone, lora).to(self.device)
        self.tokenizer = TextTokenizer.load(folder, recipe.text)
        self.queries = self._padded([pairs.query_rows[row] for row in pairs.pair_query.tolist()])
        self.products = self._padded([pairs.product_rows[row] for row in pairs.pair_product.tolist()])
        self.labels = torch.from_numpy(pairs.labels)  # (P,)
        options = recipe.optimizer
        self.optimizer = torch.optim.Adam(
            [parameter for parameter in self.model.parameters() if parameter.requires_grad], lr=options.learning_rate
        )
        steps = -(-len(pairs.labels) // options.batch_size) * options.epochs
        self.scheduler = get_scheduler("linear", self.optimizer, num_warmup_steps=0, num_training_steps=steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")

    @property
    def encoder(self) -> Encoder:
        """The model as it is now."""
        return Encoder(self.model, self.tokenizer)

    def step(self, plan: BatchPlan) -> None:
        """Train on one batch."""
        rows = torch.tensor(plan.pairs)
        labels = self.labels[rows].to(self.device)
        self.model.train()
        with torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "no"):
            queries = self._embed(*(part[rows] for part in self.queries))
            products = self._embed(*(part[rows] for part in self.products))
        cosine = (queries * products).sum(1)
        loss = (labels * (1 - cosine) + ((1 - labels) * cosine).clamp(min=0.0)).square().mean()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.optimizer.zero_grad()

    def tokens(self, plan: BatchPlan) -> int:
        """Return the tokens that a batch runs through the model, padding included."""
        return 2 * len(plan.pairs) * self.length

    def _embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return unit embeddings (B, D) of (B, L) token ids: the mean over the tokens that the mask keeps."""
        input_ids, attention_mask = input_ids.to(self.device), attention_mask.to(self.device)
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, L, D)
        mask = attention_mask.unsqueeze(-1).float()  # (B, L, 1)
        mean = (hidden.float() * mask).sum(1) / mask.sum(1).clamp(min=1e-9)  # (B, D)
        return functional.normalize(mean, dim=1)

    def _padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        batch = pad(rows, pad_id=self.tokenizer.pad_id, length=self.length)
        return torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)
