"""The training loop, on Accelerate: batches, loss, steps, a validation score each epoch, the best weights kept."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import get_scheduler

from trident_train.batches import TokenizedBatch, TokenizedPairs, batches, epoch_pairs
from trident_train.encoder import Encoder
from trident_train.losses import EmbeddedBatch, cosine_loss, infonce_loss
from trident_train.recipe import LossRecipe, TrainRecipe


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimisation step, as it stands in ``metrics.jsonl``."""

    epoch: int  # from 1
    step: int  # from 1, over all epochs
    steps: int  # of the whole run
    loss: float
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch, as it stands in ``metrics.jsonl``."""

    epoch: int  # from 1
    seconds: float  # training only
    pairs: int  # seen
    mean_loss: float
    validation_roc_auc: float


@dataclass(frozen=True)
class Trained:
    """What the loop gives back: the best epoch's weights are already in the model."""

    best_epoch: int
    epochs: tuple[Epoch, ...]


def fit(
    encoder: Encoder,
    pairs: TokenizedPairs,
    recipe: TrainRecipe,
    *,
    validate: Callable[[Encoder], float],
    report: Callable[[Step | Epoch], None],
) -> Trained:
    """Train the encoder in place and leave the weights of its best epoch in it.

    Args:
        encoder: Its model's trainable weights are trained, on the device that Accelerate chooses.
        pairs: The train split.
        recipe: Loss, optimiser and schedule.
        validate: Returns the validation score of an encoder, higher is better.
        report: Called after each step and each epoch.

    Returns:
        The epochs and which was best; ties go to the earlier.
    """
    options = recipe.optimizer
    accelerator = Accelerator(mixed_precision=options.mixed_precision)
    trainable = [parameter for parameter in encoder.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=options.learning_rate, weight_decay=options.weight_decay)
    units = len(epoch_pairs(pairs, recipe.loss, seed=recipe.seed, epoch=0))
    steps = -(-units // (options.batch_size * options.gradient_accumulation)) * options.epochs
    scheduler = get_scheduler(
        options.schedule, optimizer, num_warmup_steps=round(steps * options.warmup_share), num_training_steps=steps
    )
    model, optimizer = accelerator.prepare(encoder.model, optimizer)
    training = Training(accelerator, Encoder(model, encoder.tokenizer), optimizer, scheduler, recipe, steps, report)
    inner = Encoder(accelerator.unwrap_model(model), encoder.tokenizer)

    epochs: list[Epoch] = []
    best_weights: dict[str, Tensor] = {}
    for number in range(1, options.epochs + 1):
        started = time.perf_counter()
        seen, mean_loss = training.run_epoch(pairs, number)
        seconds = time.perf_counter() - started
        score = validate(inner)
        if not epochs or score > max(earlier.validation_roc_auc for earlier in epochs):
            best_weights = _trainable_weights(inner.model)
        epochs.append(Epoch(epoch=number, seconds=seconds, pairs=seen, mean_loss=mean_loss, validation_roc_auc=score))
        report(epochs[-1])
    _restore(inner.model, best_weights)
    best = max(epochs, key=lambda epoch: (epoch.validation_roc_auc, -epoch.epoch))
    return Trained(best_epoch=best.epoch, epochs=tuple(epochs))


@dataclass
class Training:
    """What lives from step to step."""

    accelerator: Accelerator
    encoder: Encoder  # its model prepared by Accelerate
    optimizer: Any
    scheduler: Any
    recipe: TrainRecipe
    steps: int  # of the whole run
    report: Callable[[Step | Epoch], None]
    step: int = 0  # done

    def run_epoch(self, pairs: TokenizedPairs, epoch: int) -> tuple[int, float]:
        """Train for one epoch; return the pairs seen and the mean loss of its steps."""
        options = self.recipe.optimizer
        self.encoder.model.train()
        units = epoch_pairs(pairs, self.recipe.loss, seed=self.recipe.seed, epoch=epoch)
        seen, losses = 0, []
        for group in _groups(batches(pairs, units, options.batch_size), options.gradient_accumulation):
            learning_rate = self.scheduler.get_last_lr()[0]
            losses.append(self.run_step(group))
            seen += sum(len(batch.labels) for batch in group)
            self.report(
                Step(epoch=epoch, step=self.step, steps=self.steps, loss=losses[-1], learning_rate=learning_rate)
            )
        return seen, sum(losses) / len(losses)

    def run_step(self, group: Sequence[TokenizedBatch]) -> float:
        """Take one optimiser step over the batches of a group; return their mean loss."""
        total = 0.0
        for number, batch in enumerate(group, start=1):
            last = number == len(group)
            with nullcontext() if last else self.accelerator.no_sync(self.encoder.model):
                loss = loss_of(embed_batch(self.encoder, batch), self.recipe.loss) / len(group)
                self.accelerator.backward(loss)
            total += loss.item()
        self.accelerator.clip_grad_norm_(self.encoder.model.parameters(), self.recipe.optimizer.max_gradient_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.step += 1
        return total


def embed_batch(encoder: Encoder, batch: TokenizedBatch) -> EmbeddedBatch:
    """Return the batch with its distinct texts embedded; queries and products are padded apart."""
    return batch.embedded(encoder.forward(batch.query_rows), encoder.forward(batch.product_rows))


def loss_of(batch: EmbeddedBatch, recipe: LossRecipe) -> Tensor:
    """Return the recipe's loss of a batch, a scalar."""
    if recipe.name == "cosine":
        return cosine_loss(batch)
    return infonce_loss(batch, temperature=recipe.temperature)


def _groups(source: Iterator[TokenizedBatch], size: int) -> Iterator[list[TokenizedBatch]]:
    while group := list(itertools.islice(source, size)):
        yield group


def _trainable_weights(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def _restore(model: Any, weights: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
