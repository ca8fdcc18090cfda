"""The training loop, on Accelerate: batches, loss, steps, a validation score each epoch, the best weights kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import get_scheduler

from trident_train.loop.batches import BatchPlan, TokenizedBatch, TokenizedPairs, gather_batch, plan_epoch
from trident_train.loop.checkpoints import Checkpoint, CheckpointFolder
from trident_train.loop.selection import Score
from trident_train.losses import EmbeddedBatch, cosent_loss, cosine_loss, infonce_loss, taught_loss
from trident_train.model.encoder import Encoder, TwoSides
from trident_train.processes import Share
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
    step: int  # the last one
    seconds: float  # training only
    pairs: int  # seen
    mean_loss: float
    score: float  # on the validation split: the mean of ``validation``, each source as much as another
    validation: dict[str, float]  # by metric


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the loop gives back: the weights to keep are already in the model."""

    best_epoch: int  # by the validation score
    best_score: float
    epochs: tuple[Epoch, ...]


@dataclass
class Progress:
    """Where a run is: what a checkpoint holds beside weights and optimiser."""

    epoch: int = 1  # under way
    batches: int = 0  # of it done
    step: int = 0  # done, over all epochs
    losses: list[float] = field(default_factory=list)  # of the epoch's steps
    pairs: int = 0  # of the epoch seen
    seconds: float = 0.0  # of the epoch
    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)  # trainable weights of the best epoch

    def best_epoch(self) -> Epoch:
        """Return the best epoch; ties go to the earlier."""
        return max(self.epochs, key=lambda epoch: (epoch.score, -epoch.epoch))


@dataclass
class Training:
    """What lives from step to step.

    Attributes:
        accelerator: Of this process.
        encoder: The plain model, whose trainable weights are trained.
        sources: The tokenised train splits.
        recipe: Loss, optimiser, schedule and selection.
        validate: Returns the validation score of an encoder, higher is better.
        report: Called after each step and each epoch.
        checkpoints: Where to keep them; None: nowhere.
        mark: Returns what a checkpoint should carry for the caller.
    """

    accelerator: Accelerator
    encoder: Encoder
    sources: Sequence[TokenizedPairs]
    recipe: TrainRecipe
    validate: Callable[[Encoder], Score]
    report: Callable[[Step | Epoch], None] = lambda _: None
    checkpoints: CheckpointFolder | None = None
    mark: Callable[[], int] = lambda: 0

    def __post_init__(self) -> None:
        """Set up optimiser and schedule."""
        options = self.recipe.optimizer
        trainable = [parameter for parameter in self.encoder.model.parameters() if parameter.requires_grad]
        # In one pass over each weight: with all of them trained, a step of MiniLM's took 0.8 s of CPU, and takes 0.03.
        fused = True if self.recipe.method == "full" else None
        adam = torch.optim.Adam(trainable, lr=options.learning_rate, fused=fused)
        plans = (len(self.plan(epoch)) for epoch in range(1, options.epochs + 1))
        self.steps = sum(-(-batches // options.gradient_accumulation) for batches in plans)  # of the whole run
        warms_up = options.schedule == "constant" and options.warmup_share > 0  # of that name it would not
        self.scheduler = get_scheduler(
            "constant_with_warmup" if warms_up else options.schedule,
            adam,
            num_warmup_steps=round(self.steps * options.warmup_share),
            num_training_steps=self.steps,
        )
        self.wrapped, self.optimizer = self.accelerator.prepare(self.module(), adam)
        self.progress = Progress()

    def module(self) -> torch.nn.Module:
        """Return what is run on a batch; its texts have gone through the layers that nothing trains."""
        if self.encoder.frozen is not None:
            rows = [row for pairs in self.sources for side in (pairs.query_rows, pairs.product_rows) for row in side]
            self.encoder.frozen.keep(rows)
        return TwoSides(self.encoder)

    def plan(self, epoch: int) -> list[BatchPlan]:
        """Return the batches of an epoch."""
        recipe = self.recipe
        return plan_epoch(
            self.sources, recipe.loss, recipe.optimizer, seed=recipe.seed, epoch=epoch, mined=recipe.negatives.mined
        )

    def run(self) -> Trained:
        """Train from where the run is to its end; leave the best weights in the model."""
        progress, options = self.progress, self.recipe.optimizer
        while progress.epoch <= options.epochs:
            self.run_epoch()
            score = self.validate(self.encoder)
            done = Epoch(
                epoch=progress.epoch,
                step=progress.step,
                seconds=progress.seconds,
                pairs=progress.pairs,
                mean_loss=sum(progress.losses) / len(progress.losses),
                score=score.value,
                validation=score.metrics,
            )
            progress.epochs.append(done)
            if progress.best_epoch() is done:
                progress.best = _trainable_weights(self.encoder.model)
            self.progress = progress = Progress(
                epoch=progress.epoch + 1, step=progress.step, epochs=progress.epochs, best=progress.best
            )
            self.report(done)
            self.save()
        return self.select()

    def run_epoch(self) -> None:
        """Train for the rest of the epoch under way."""
        progress, options = self.progress, self.recipe.optimizer
        self.wrapped.train()
        plan = self.plan(progress.epoch)
        while progress.batches < len(plan):
            group = plan[progress.batches : progress.batches + options.gradient_accumulation]
            learning_rate = self.scheduler.get_last_lr()[0]
            started = time.perf_counter()
            loss = self.run_step([gather_batch(self.sources[item.source], item) for item in group])
            progress.seconds += time.perf_counter() - started
            progress.losses.append(loss)
            progress.pairs += sum(len(item.pairs) for item in group)
            progress.batches += len(group)
            progress.step += 1
            self.report(
                Step(epoch=progress.epoch, step=progress.step, steps=self.steps, loss=loss, learning_rate=learning_rate)
            )
            if progress.step % self.recipe.checkpoint.every_steps == 0:
                self.save()

    def run_step(self, group: Sequence[TokenizedBatch]) -> float:
        """Take one optimiser step over the batches of a group; return their mean loss."""
        total = 0.0
        for number, batch in enumerate(group, start=1):
            last = number == len(group)
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                loss = self.loss(batch) / len(group)
                self.accelerator.backward(loss)
            total += loss.item()
        self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.recipe.optimizer.max_gradient_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return total

    def loss(self, batch: TokenizedBatch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        return loss_of(self.embed(batch), self.recipe.loss)

    def embed(self, batch: TokenizedBatch) -> EmbeddedBatch:
        """Return the batch with its distinct texts embedded, each by one of the processes."""
        query_share = Share.of([len(row) for row in batch.query_rows], self.accelerator)
        product_share = Share.of([len(row) for row in batch.product_rows], self.accelerator)
        queries, products = self.wrapped(
            [batch.query_rows[number] for number in query_share.mine],
            [batch.product_rows[number] for number in product_share.mine],
        )
        return batch.embedded(
            query_share.gather(queries, len(batch.query_rows)), product_share.gather(products, len(batch.product_rows))
        )

    def select(self) -> Trained:
        """Put the weights of the best epoch into the model."""
        best = self.progress.best_epoch()
        _restore(self.encoder.model, self.progress.best)
        return Trained(best_epoch=best.epoch, best_score=best.score, epochs=tuple(self.progress.epochs))

    def save(self) -> None:
        """Write a checkpoint from which ``restore`` goes on."""
        generators = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state()
        everyone = [generators]
        if self.accelerator.num_processes > 1:
            everyone = [generators] * self.accelerator.num_processes
            torch.distributed.all_gather_object(everyone, generators)
        if self.checkpoints is None or not self.accelerator.is_main_process:
            return
        progress = dataclasses.asdict(dataclasses.replace(self.progress, best={}))
        scaler = self.accelerator.scaler
        tensors = {f"now/{name}": value for name, value in _trainable_weights(self.encoder.model).items()}
        tensors |= {f"best/{name}": value for name, value in self.progress.best.items()}
        state = {
            "progress": progress,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "generators": everyone,
            "mark": self.mark(),
        }
        self.checkpoints.save(Checkpoint(self.progress.step, tensors, state))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was written."""
        state = checkpoint.state
        weights = {name.removeprefix("now/"): value for name, value in checkpoint.tensors.items() if name[:4] == "now/"}
        best = {name.removeprefix("best/"): value for name, value in checkpoint.tensors.items() if name[:5] == "best/"}
        _restore(self.encoder.model, weights)
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        epochs = [Epoch(**epoch) for epoch in state["progress"].pop("epochs")]
        self.progress = Progress(**{**state["progress"], "epochs": epochs, "best": best})
        device = self.accelerator.device
        self.progress.best = {name: value.to(device) for name, value in best.items()}
        generators = state["generators"][self.accelerator.process_index]
        torch.set_rng_state(generators["cpu"])
        if "cuda" in generators and torch.cuda.is_available():
            torch.cuda.set_rng_state(generators["cuda"])


def loss_of(batch: EmbeddedBatch, recipe: LossRecipe) -> Tensor:
    """Return the recipe's loss of a batch, a scalar."""
    if recipe.name == "cosine":
        return cosine_loss(batch)
    if recipe.name == "margin":
        return taught_loss(batch, temperature=recipe.temperature, teacher_share=recipe.teacher_share)
    loss = infonce_loss(batch, temperature=recipe.temperature)
    if recipe.cosent_weight:
        loss = loss + recipe.cosent_weight * cosent_loss(batch.judged(), temperature=recipe.temperature)
    return loss


def _trainable_weights(model: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def _restore(model: Any, weights: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(value)
