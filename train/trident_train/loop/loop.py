"""The training loop, on Accelerate: batches, loss, steps, a validation score each epoch, the best weights kept."""

from __future__ import annotations

import copy
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
from trident_train.losses import EmbeddedBatch, cosent_loss, cosine_loss, distillation_loss, infonce_loss
from trident_train.model.encoder import Encoder, TwoSides
from trident_train.processes import Share
from trident_train.recipe import Keep, LossRecipe, TrainRecipe


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
    score: float  # on the validation split: of ``validation``, by the recipe's rule
    validation: dict[str, float]  # by metric


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the loop gives back: the weights to keep are already in the model."""

    best_epoch: int  # by the validation score
    keep: Keep  # its weights, or the mean of all epochs'
    best_scale: float  # share of the learned change that was kept
    best_score: float
    scales: dict[str, float]  # validation score of each scale tried
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
    best: dict[str, Tensor] = field(default_factory=dict)  # trainable weights of the best epoch, or the mean of all

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
        self.adam = torch.optim.AdamW(trainable, lr=options.learning_rate, weight_decay=options.weight_decay)
        plans = (len(self.plan(epoch)) for epoch in range(1, options.epochs + 1))
        self.epoch_steps = [-(-batches // options.gradient_accumulation) for batches in plans]
        self.scheduler = self.schedule(1)
        self.two_sides, self.optimizer = self.accelerator.prepare(TwoSides(self.encoder), self.adam)
        self.progress = Progress()
        self.start = _trainable_weights(self.encoder.model)
        self.unused = copy.deepcopy(self.optimizer.state_dict())

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(self.epoch_steps)

    def schedule(self, epoch: int) -> Any:
        """Return what sets the learning rate: of an epoch that begins anew, else of the whole run."""
        options = self.recipe.optimizer
        steps = self.epoch_steps[epoch - 1] if options.restarts else self.steps
        warmup = round(steps * options.warmup_share)
        return get_scheduler(options.schedule, self.adam, num_warmup_steps=warmup, num_training_steps=steps)

    def plan(self, epoch: int) -> list[BatchPlan]:
        """Return the batches of an epoch."""
        return plan_epoch(
            self.sources,
            self.recipe.loss,
            batch_size=self.recipe.optimizer.batch_size,
            seed=self.recipe.seed,
            epoch=epoch,
            mined=self.recipe.negatives.mined,
            batches=self.recipe.optimizer.batches,
        )

    def run(self) -> Trained:
        """Train from where the run is to its end; leave the best weights in the model."""
        progress, options = self.progress, self.recipe.optimizer
        while progress.epoch <= options.epochs and not self.stalled():
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
            self.keep_weights()
            self.progress = progress = Progress(
                epoch=progress.epoch + 1, step=progress.step, epochs=progress.epochs, best=progress.best
            )
            self.report(done)
            self.save()
        return self.select()

    def stalled(self) -> bool:
        """Return whether the last ``patience`` epochs brought no better score."""
        patience, epochs = self.recipe.selection.patience, self.progress.epochs
        return patience is not None and bool(epochs) and len(epochs) - self.progress.best_epoch().epoch >= patience

    def keep_weights(self) -> None:
        """Take the weights of the epoch that is done for the best, if they are, or into the mean of all epochs'.

        Source: Izmailov et al. 2018, Averaging weights leads to wider optima and better generalization; of epochs that
        begin anew, Wortsman et al. 2022, Model soups, section 2 (uniform).
        """
        progress, weights = self.progress, _trainable_weights(self.encoder.model)
        done = len(progress.epochs)
        if self.recipe.selection.keep == "mean" and done > 1:
            progress.best = {name: mean.lerp(weights[name], 1 / done) for name, mean in progress.best.items()}
        elif done == 1 or progress.best_epoch() is progress.epochs[-1]:
            progress.best = weights

    def run_epoch(self) -> None:
        """Train for the rest of the epoch under way."""
        progress, options = self.progress, self.recipe.optimizer
        if options.restarts and not progress.batches:
            _restore(self.encoder.model, self.start)
            self.optimizer.load_state_dict(copy.deepcopy(self.unused))
            self.scheduler = self.schedule(progress.epoch)
        self.two_sides.train()
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
            with nullcontext() if last else self.accelerator.no_sync(self.two_sides):
                loss = loss_of(self.embed(batch), self.recipe.loss) / len(group)
                self.accelerator.backward(loss)
            total += loss.item()
        self.accelerator.clip_grad_norm_(self.two_sides.parameters(), self.recipe.optimizer.max_gradient_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return total

    def embed(self, batch: TokenizedBatch) -> EmbeddedBatch:
        """Return the batch with its distinct texts embedded, each by one of the processes."""
        query_share = Share.of([len(row) for row in batch.query_rows], self.accelerator)
        product_share = Share.of([len(row) for row in batch.product_rows], self.accelerator)
        queries, products = self.two_sides(
            [batch.query_rows[number] for number in query_share.mine],
            [batch.product_rows[number] for number in product_share.mine],
        )
        return batch.embedded(
            query_share.gather(queries, len(batch.query_rows)), product_share.gather(products, len(batch.product_rows))
        )

    def select(self) -> Trained:
        """Put the weights to keep into the model, at the scale that scores best; ties go to the larger scale."""
        best, keep = self.progress.best_epoch(), self.recipe.selection.keep
        scores = {}
        for scale in sorted(self.recipe.selection.scales, reverse=True):
            _restore(self.encoder.model, self.scaled(scale))
            known = scale == 1.0 and keep == "best"
            scores[scale] = best.score if known else self.validate(self.encoder).value
        scale = max(scores, key=lambda one: (scores[one], one))
        _restore(self.encoder.model, self.scaled(scale))
        return Trained(
            best_epoch=best.epoch,
            keep=keep,
            best_scale=scale,
            best_score=scores[scale],
            scales={f"{one:g}": score for one, score in scores.items()},
            epochs=tuple(self.progress.epochs),
        )

    def scaled(self, scale: float) -> dict[str, Tensor]:
        """Return the weights to keep with a share of their change since the start.

        Of LoRA's product B A only B is scaled (it starts at zero), so that the product is scaled once.

        Source: Wortsman et al. 2022, Robust fine-tuning of zero-shot models, equation 1.
        """
        best = self.progress.best
        if scale == 1.0:
            return best
        return {
            name: value if "lora_A" in name else self.start[name].lerp(value, scale) for name, value in best.items()
        }

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
        self.scheduler = self.schedule(min(state["progress"]["epoch"], self.recipe.optimizer.epochs))
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
    if recipe.name == "cosent":
        return cosent_loss(batch, temperature=recipe.temperature)
    if recipe.name == "distillation":
        loss = distillation_loss(batch, margin=recipe.margin, temperature=recipe.temperature)
    else:
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
