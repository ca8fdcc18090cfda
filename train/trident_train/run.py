"""Trains one recipe and leaves a run folder; see ``trident_train.report.run_folder`` for what is in it.

    trident train train/recipes/demo.toml --out runs/demo
    accelerate launch --num_processes 2 -m trident train train/recipes/movies.toml --out runs/movies

A run under way keeps its checkpoints in a hidden folder beside the run folder; the same command goes on from them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed

from trident.config import to_table
from trident.encoder.base_model import find_model, weights_fingerprint
from trident.generation.staging import staged_folder
from trident_train.data.sources import Source, read_sources
from trident_train.loop.checkpoints import CheckpointFolder
from trident_train.loop.loop import Epoch, Step, Training
from trident_train.model.arms import trained_weights
from trident_train.processes import accelerator_of, same_sums, start_tracker
from trident_train.recipe import TrainRecipe
from trident_train.report.page import write_report_page
from trident_train.report.report import TestArms, TrainReport, environment, peak_memory_bytes
from trident_train.report.run_files import (
    METRICS_FILE,
    REPORT_FILE,
    TEST_QUERIES_FILE,
    TEST_SCORES_FILE,
    TRACKING_FOLDER,
    write_json,
)
from trident_train.report.run_folder import save_run
from trident_train.trainees import EncoderTrainee, RerankerTrainee, Setting

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Other work of a run: what it is doing now."""

    name: str


Event = Step | Epoch | Stage
Report = Callable[[Event], None]


@dataclass(frozen=True)
class Run:
    """What lives as long as one call of ``train``; ``workplace`` is the hidden folder beside the run folder."""

    recipe: TrainRecipe
    workplace: Path
    accelerator: Accelerator
    sources: Sequence[Source]
    report: Report

    @property
    def metrics_path(self) -> Path:
        """Where steps and epochs are written while the run is under way."""
        return self.workplace / METRICS_FILE

    @property
    def setting(self) -> Setting:
        """What a trainee is made in."""
        return Setting(self.recipe, self.accelerator, self.sources, lambda name: self.report(Stage(name=name)))

    def hooks(self) -> dict[str, Any]:
        """Return what the loop calls for this run."""
        return {
            "report": self.record,
            "checkpoints": CheckpointFolder(self.workplace),
            "mark": lambda: self.metrics_path.stat().st_size,
        }

    def record(self, entry: Step | Epoch) -> None:
        """Write an entry where people and trackers look for it."""
        if self.accelerator.is_main_process:
            with self.metrics_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": type(entry).__name__.lower(), **dataclasses.asdict(entry)}) + "\n")
        if isinstance(entry, Step):
            values = {"train/loss": entry.loss, "train/learning_rate": entry.learning_rate}
            self.accelerator.log(values, step=entry.step)
        else:
            values = {f"validation/{name}": value for name, value in entry.validation.items()}
            self.accelerator.log({**values, "train/mean_loss": entry.mean_loss}, step=entry.step)
        self.report(entry)


def train(
    recipe: TrainRecipe,
    output: Path,
    *,
    overwrite: bool = False,
    restart: bool = False,
    sources: Sequence[Source] | None = None,
    report: Report = lambda _: None,
) -> TrainReport:
    """Train a recipe and write its run folder, whole or not at all.

    If an earlier call with the same recipe, data and base model was killed, training goes on from its last checkpoint.

    Args:
        recipe: What to train on what.
        output: The run folder to make.
        overwrite: Whether an existing folder may be replaced.
        restart: Whether the checkpoints of an interrupted run are thrown away.
        sources: The recipe's, as ``read_sources`` returns them; None: they are read here.
        report: Called, in the main process, after each step and epoch, and when a stage begins.

    Raises:
        TridentError: If the data, the model or the output folder cannot be used; no run folder is left behind then.
    """
    started = time.perf_counter()
    workplace = output.parent / f".{output.name}.checkpoints"
    accelerator = accelerator_of(recipe, tracking=workplace / TRACKING_FOLDER)
    main = accelerator.is_main_process
    place = staged_folder(output, overwrite=overwrite) if main else nullcontext(output)
    with place as staging, same_sums(accelerator.device):
        set_seed(recipe.seed)
        run = Run(
            recipe,
            workplace,
            accelerator,
            read_sources(recipe) if sources is None else sources,
            report if main else lambda _: None,
        )
        base = find_model(recipe.base_model)
        trainee = (RerankerTrainee if recipe.stage == "reranker" else EncoderTrainee).load(run.setting, base)
        pretrained = trainee.score_before()
        training = None if recipe.method == "none" else trainee.training(**run.hooks())
        arms = TestArms(run.sources)
        run.report(Stage(name=f"judging the {trainee.before}"))
        arms.add_references()
        trainee.add_before(arms)
        taught_by = None if trainee.teacher is None else trainee.teacher.fingerprint
        trained, resumed = None, None
        if training is not None:
            resumed = _resume(run, training, base, taught_by, restart=restart)
            trained = training.run()
            run.report(Stage(name="judging the trained model"))
            trainee.add_trained(arms, recipe.method)
        result = TrainReport(
            method=recipe.method,
            stage=recipe.stage,
            classifier=trainee.classifier(),
            base_model=recipe.base_model,
            test=arms.by_source(),
            pretrained_validation=pretrained,
            trained=trained,
            improved=None if trained is None else trained.best_score > pretrained.value,
            audits={source.name: source.audit for source in run.sources},
            train_pairs=sum(len(source.parts.train) for source in run.sources),
            validation_pairs=sum(len(source.parts.validation) for source in run.sources),
            trained_weights=trained_weights(trainee.model),
            total_weights=trainee.total_weights,
            saved_bytes=save_run(staging, recipe, base, trainee.model, run.sources, teacher=taught_by) if main else 0,
            peak_memory_bytes=peak_memory_bytes(),
            train_seconds=sum(epoch.seconds for epoch in (() if trained is None else trained.epochs)),
            seconds=time.perf_counter() - started,
            resumed_from_step=resumed,
            environment=environment(accelerator),
        )
        accelerator.end_training()
        if main:
            arms.save_scores(staging / TEST_SCORES_FILE)
            arms.save_queries(staging / TEST_QUERIES_FILE)
            write_json(staging / REPORT_FILE, to_table(result))
            for name in (METRICS_FILE, TRACKING_FOLDER):
                if (workplace / name).exists():
                    (workplace / name).rename(staging / name)
            write_report_page(staging, name=output.name)
    if main:
        shutil.rmtree(workplace, ignore_errors=True)
    return result


def _resume(run: Run, training: Training, base: Path, teacher: str | None, *, restart: bool) -> int | None:
    """Go on from the last checkpoint of the same run; return its step, None if there is none."""
    identity = {
        "recipe": _sha256(json.dumps(to_table(run.recipe), sort_keys=True)),
        "data": _sha256(repr([_content(source) for source in run.sources])),
        "base model": weights_fingerprint(base),
        "number of processes": str(run.accelerator.num_processes),
    }
    if teacher is not None:
        identity["teacher"] = teacher
    folder = CheckpointFolder(run.workplace)
    if run.accelerator.is_main_process:
        checkpoint = folder.open(identity, restart=restart)
        run.accelerator.wait_for_everyone()
    else:
        run.accelerator.wait_for_everyone()
        checkpoint = folder.open(identity, restart=False)
    if checkpoint is not None:
        training.restore(checkpoint)
        logger.info("going on from step %d of the interrupted run", checkpoint.step)
    if run.accelerator.is_main_process:
        with run.metrics_path.open("a", encoding="utf-8") as file:
            file.truncate(0 if checkpoint is None else checkpoint.state["mark"])
    step = None if checkpoint is None else checkpoint.step
    start_tracker(run.accelerator, run.recipe, tracking=run.workplace / TRACKING_FOLDER, after=step)
    return step


def _content(source: Source) -> list[object]:
    parts = (source.parts.train, source.parts.validation, source.parts.test)
    found = source.catalogue
    catalogue = () if found is None else (list(found.product_ids), list(found.titles))  # which JSON takes
    pairs = [
        (part.queries, part.product_ids, part.titles, part.labels.tolist(), part.grades.tolist()) for part in parts
    ]
    return [source.name, pairs, catalogue]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
