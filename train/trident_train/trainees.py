"""What is trained: an encoder, or a reranker over the candidates of a first stage; how each is made, judged and saved.

Until its first step a trainee is the pretrained model: adapters start at zero. What it is held against is that model
itself, or for a reranker the first stage without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query
from trident.encoder.tokenization import TextTokenizer
from trident_train.data.sources import Source
from trident_train.judge.evaluate import Ranking
from trident_train.loop.batches import TokenizedPairs
from trident_train.loop.loop import Training
from trident_train.loop.selection import Score, validation_score
from trident_train.model.arms import arm_of
from trident_train.model.encoder import Encoder, PretrainedEncoder
from trident_train.model.frozen_layers import FrozenLayers
from trident_train.model.negatives import NegativeMiner
from trident_train.recipe import TrainRecipe
from trident_train.report.report import FIRST_STAGE, PRETRAINED, TestArms
from trident_train.report.run_files import BASE_FILE, read_json, read_recipe, read_trained_queries
from trident_train.reranker.distillation import (
    Lesson,
    Teacher,
    learn,
    load_teacher,
    made_pairs,
    require_unseen,
    run_fingerprint,
    with_made,
)
from trident_train.reranker.first_stage import FirstStage, first_stage, mine
from trident_train.reranker.judging import ClassifierQuality, JudgedSplit, classifier_quality, mean_score, score_of
from trident_train.reranker.model import CrossEncoder, reranker_arm
from trident_train.reranker.training import RerankerTraining

Mine = Callable[[Pairs], list[tuple[int, str]]]  # (row of a pair, title) for the queries of a train split


@dataclass(frozen=True)
class Setting:
    """What a trainee is made in; ``tell`` is called with the name of long work that begins."""

    recipe: TrainRecipe
    accelerator: Accelerator
    sources: Sequence[Source]
    tell: Callable[[str], None]

    def teacher(self) -> Teacher | None:
        """Return the reranker whose logits are learnt; None where nobody teaches.

        Raises:
            TridentError: If it is no reranker, cannot be used, or was trained on what this run holds out.
        """
        run = self.recipe.reranker.teacher
        if run is None or self.recipe.method == "none":
            return None
        self.tell("loading the teacher")
        base_fingerprint = read_json(run / BASE_FILE)["weights_fingerprint"]
        found = load_teacher(run, read_recipe(run), base_fingerprint)
        held_out = [part for source in self.sources for part in (source.parts.validation, source.parts.test)]
        require_unseen(run, read_trained_queries(run), [query for part in held_out for query in part.queries])
        model = found.model.to(self.accelerator.device)
        return Teacher(CrossEncoder(model, found.tokenizer, self.accelerator), run_fingerprint(run, base_fingerprint))

    def mine_of(self, stage: FirstStage, source: Source) -> Mine:
        """Return what mines the candidates of a first stage."""
        known = source.recipe.every_positive_known
        return lambda train: mine(stage, train, self.recipe.negatives, every_positive_known=known)

    def lesson(self, source: Source, mined: Mine | None) -> Lesson:
        """Return the train split of a source, with made queries where the recipe wants them, and what is mined."""
        train, made = source.parts.train, 0
        if self.recipe.reranker.made_queries and source.catalogue is not None:
            splits = [each.parts for each in self.sources]
            parts = [part for each in splits for part in (each.train, each.validation, each.test)]
            asked = {normalized_query(query) for part in parts for query in part.queries}
            pairs = made_pairs(source.catalogue, asked, self.recipe.reranker.made_queries)
            train, made = with_made(train, pairs), len(pairs)
        return Lesson(train, made, [] if mined is None else mined(train), source.recipe.repeat)

    def tokenized(
        self, lessons: Sequence[Lesson], tokenizer: TextTokenizer, teacher: Teacher | None
    ) -> list[TokenizedPairs]:
        """Return lessons as token ids; where somebody teaches, with the logits that are learnt."""
        sources = [lesson.tokenized(tokenizer) for lesson in lessons]
        return sources if teacher is None else learn(sources, lessons, teacher, self.recipe, self.tell)


@dataclass
class EncoderTrainee:
    """The first stage: an encoder of texts."""

    setting: Setting
    encoder: Encoder
    pretrained: PretrainedEncoder | None  # gone once it is judged: it remembers every text
    teacher: Teacher | None
    total_weights: int
    before: str = PRETRAINED + " model"

    @classmethod
    def load(cls, setting: Setting, base: Path) -> EncoderTrainee:
        """Return the encoder of a base model, its trainable weights chosen."""
        encoder = Encoder.load(base, setting.recipe.text)
        total = sum(parameter.numel() for parameter in encoder.model.parameters())
        model = arm_of(encoder.model, setting.recipe).to(setting.accelerator.device)
        tokenizer = encoder.tokenizer
        frozen = FrozenLayers.of(model, setting.recipe, setting.recipe.text, pad_id=tokenizer.pad_id)
        before = PretrainedEncoder(model, tokenizer, setting.accelerator, frozen)
        encoder = Encoder(model, tokenizer, setting.accelerator, frozen)
        return cls(setting, encoder, before, setting.teacher(), total)

    @property
    def model(self) -> Any:
        """The model that is saved."""
        return self.encoder.model

    def score_before(self) -> Score:
        """Return the validation score without training."""
        assert self.pretrained is not None
        return self._score(self.pretrained)

    def training(self, **hooks: Any) -> Training:
        """Return the loop; ``hooks`` are those of ``Training``."""
        assert self.pretrained is not None
        setting = self.setting
        setting.tell("tokenising")
        miners = self._miners(self.pretrained)
        lessons = [setting.lesson(source, miners.get(source.name)) for source in setting.sources]
        return Training(
            accelerator=setting.accelerator,
            encoder=self.encoder,
            sources=setting.tokenized(lessons, self.encoder.tokenizer, self.teacher),
            recipe=setting.recipe,
            validate=self._score,
            **hooks,
        )

    def add_before(self, arms: TestArms) -> None:
        """Judge the pretrained model on the test splits."""
        assert self.pretrained is not None
        arms.add_encoder(PRETRAINED, self.pretrained)
        self.pretrained = None

    def add_trained(self, arms: TestArms, name: str) -> None:
        """Judge the trained model on the test splits."""
        arms.add_served(name, self.encoder)

    def classifier(self) -> tuple[ClassifierQuality, ...]:
        """Return nothing: cosines are no classifier's."""
        return ()

    def _score(self, encoder: Encoder) -> Score:
        self.setting.tell("judging the validation split")
        return validation_score(encoder, self.setting.sources, self.setting.recipe.selection)

    def _miners(self, pretrained: PretrainedEncoder) -> dict[str, Mine]:
        """Return what mines the catalogue of each source, by name; nothing where nothing is mined."""
        setting = self.setting
        mined = {each.name: each.catalogue for each in setting.sources if setting.recipe.negatives.mined}
        catalogues = {name: catalogue for name, catalogue in mined.items() if catalogue is not None}
        if catalogues:
            setting.tell("mining hard negatives")
        if setting.recipe.reranker.first_stage is not None:  # of one source
            (source,) = setting.sources
            stage = first_stage(setting.recipe, pretrained, catalogues[source.name], source.parts)
            return {source.name: setting.mine_of(stage, source)}
        options = setting.recipe.negatives
        miners = {name: NegativeMiner(catalogue, pretrained) for name, catalogue in catalogues.items()}
        return {name: partial(miner.mine, recipe=options) for name, miner in miners.items()}


@dataclass
class RerankerTrainee:
    """The second stage: a cross-encoder of queries and titles."""

    setting: Setting
    reranker: CrossEncoder
    stages: list[FirstStage]  # one a source
    teacher: Teacher | None
    total_weights: int
    before: str = FIRST_STAGE
    splits: dict[str, list[JudgedSplit]] = field(default_factory=dict)  # by name, one a source each
    classified: list[ClassifierQuality] = field(default_factory=list)

    @classmethod
    def load(cls, setting: Setting, base: Path) -> RerankerTrainee:
        """Return the cross-encoder of a base model, its trainable weights chosen, and its first stage.

        Raises:
            TridentError: If the first stage cannot be used, or was trained on what this run holds out.
        """
        recipe = setting.recipe
        reranker = CrossEncoder.load(base, recipe.text, layers=recipe.reranker.layers)
        total = sum(parameter.numel() for parameter in reranker.model.parameters())
        model = reranker_arm(reranker.model, recipe).to(setting.accelerator.device)
        setting.tell("loading the first stage")
        encoder = Encoder.load(base, recipe.text)
        encoder = Encoder(encoder.model.to(setting.accelerator.device), encoder.tokenizer, setting.accelerator)
        stages = [first_stage(recipe, encoder, _catalogue(source), source.parts) for source in setting.sources]
        student = CrossEncoder(model, reranker.tokenizer, setting.accelerator)
        return cls(setting, student, stages, setting.teacher(), total)

    @property
    def model(self) -> Any:
        """The model that is saved."""
        return self.reranker.model

    def score_before(self) -> Score:
        """Return the validation score of the first stage."""
        self.setting.tell("judging the first stage on the validation split")
        most = self.setting.recipe.reranker.judged_queries
        self.splits["validation"] = [
            JudgedSplit.of(stage, source.parts.validation, queries=most)
            for stage, source in zip(self.stages, self.setting.sources, strict=True)
        ]
        return self._mean([split.before() for split in self.splits["validation"]])

    def training(self, **hooks: Any) -> Training:
        """Return the loop; ``hooks`` are those of ``Training``."""
        setting = self.setting
        setting.tell("mining the first stage's candidates")
        mines = setting.recipe.negatives.mined > 0
        lessons = [
            setting.lesson(source, setting.mine_of(stage, source) if mines else None)
            for stage, source in zip(self.stages, setting.sources, strict=True)
        ]
        return RerankerTraining(
            accelerator=setting.accelerator,
            encoder=self.reranker,  # type: ignore[arg-type]
            sources=setting.tokenized(lessons, self.reranker.tokenizer, self.teacher),
            recipe=setting.recipe,
            validate=self._score,  # type: ignore[arg-type]
            **hooks,
        )

    def add_before(self, arms: TestArms) -> None:
        """Judge the first stage on the test splits."""
        self.splits["test"] = [
            JudgedSplit.of(stage, source.parts.test, queries=len(source.parts.test))
            for stage, source in zip(self.stages, self.setting.sources, strict=True)
        ]
        self._add(arms, FIRST_STAGE, [split.before() for split in self.splits["test"]])
        self._classify(FIRST_STAGE, [split.cosines for split in self.splits["validation"]], arms)

    def add_trained(self, arms: TestArms, name: str) -> None:
        """Judge the reranked candidates, and the logits of the pairs, on the test splits."""
        reranked = self.setting.recipe.reranker.candidates
        self._add(arms, name, [split.after(self.reranker, reranked=reranked) for split in self.splits["test"]])
        validation = [
            self.reranker.score(split.pairs.queries, split.pairs.titles) for split in self.splits["validation"]
        ]
        self._classify(name, validation, arms)

    def classifier(self) -> tuple[ClassifierQuality, ...]:
        """Return how good the first stage and the reranker are as classifiers of the test pairs."""
        return tuple(self.classified)

    def _add(self, arms: TestArms, name: str, rankings: Sequence[Ranking]) -> None:
        by_source = dict(zip((source.name for source in self.setting.sources), rankings, strict=True))
        arms.add(name, lambda source: by_source[source.name], whole=True)

    def _classify(self, name: str, validation: Sequence[Any], arms: TestArms) -> None:
        for number, source in enumerate(self.setting.sources):
            judged = self.splits["validation"][number].pairs, validation[number]
            test = source.parts.test, arms.scores[name][number].scores
            self.classified.append(classifier_quality(name, judged, test, data=source.name))

    def _score(self, reranker: CrossEncoder) -> Score:
        self.setting.tell("judging the validation split")
        reranked = self.setting.recipe.reranker.candidates
        return self._mean([split.after(reranker, reranked=reranked) for split in self.splits["validation"]])

    def _mean(self, rankings: Sequence[Ranking]) -> Score:
        rows = zip(self.setting.sources, rankings, self.splits["validation"], strict=True)
        return mean_score(
            [(source.name, score_of(ranking, split, self.setting.recipe)) for source, ranking, split in rows]
        )


def _catalogue(source: Source) -> Catalogue:
    assert source.catalogue is not None  # the recipe says so
    return source.catalogue
