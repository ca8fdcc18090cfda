"""What an export can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal

from trident.attributes.inference import check_asked
from trident.cluster.store import Store
from trident.data.reading import CATALOGUE_COLUMNS, EXPORT_CATALOGUE, Reading, check_columns
from trident.errors import ConfigError
from trident.generation.plan import Library
from trident.index.index import IndexConfig
from trident.lexical.analyzer import AnalyzerConfig, Language
from trident.lexical.index import LexicalConfig
from trident.lexical.logged_queries import MIN_COUNT
from trident.lexical.postings import Bm25
from trident.quality.config import GateConfig
from trident.ranking.legs import DEEPEST
from trident.ranking.settings import DEPTH, Mode, RankingSettings
from trident.ranking.trees import PLAIN_NAME
from trident.retrieval.options import RERANK_MAX
from trident_export.engine.engine import EngineOptions

LowPrecision = Literal["fp16", "int8"]


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Which graphs of lower precision are made beside float32, and what they must prove."""

    made: tuple[LowPrecision, ...] = ("fp16", "int8")
    served: Literal["fp32", "int8"] = "fp32"  # on CPUs; required when it is int8
    overlap_target: float = 0.95  # of the ten best products with float32's, mean over queries

    def __post_init__(self) -> None:
        """Check the ranges, and that what is needed is made."""
        if not 0 <= self.overlap_target <= 1:
            raise ConfigError(f"precision.overlap_target must be in [0, 1], got {self.overlap_target}")
        if self.served not in ("fp32", *self.made):
            raise ConfigError(f"precision.made must hold {self.served}, which is served, got {self.made}")


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Whether the generation holds a TensorRT plan; ``trident engine`` builds one later, where the GPU is."""

    library: Library | None = None  # that builds it; None: no plan
    precision: Literal["fp16", "fp32"] = "fp16"  # of the graph that it is built from
    options: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        """Check that the library has the options."""
        if self.library is not None:
            self.options.check(self.library)


@dataclass(frozen=True, kw_only=True)
class SuggestionsConfig:
    """What may be suggested to whoever types."""

    made: bool = True  # whether the generation has suggestions at all
    min_queries: int = MIN_COUNT  # hours in which a query was asked, or its count, from which it is suggested
    min_titles: int = 3  # that hold a phrase

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("min_queries", "min_titles"):
            if getattr(self, name) < 1:
                raise ConfigError(f"suggestions.{name} must be >= 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class LexicalOptions:
    """How words take part; what is None is chosen on the run's validation queries."""

    language: Language = "english"  # of titles and queries; none: no word is stemmed
    fields: dict[str, int] = field(default_factory=dict)  # attribute of text -> how often its words count
    k1: float | None = None  # of BM25
    b: float | None = None
    mode: Mode = "hybrid"  # of a query that does not say
    weight: float | None = None  # of words in a hybrid order, 0 to 1
    depth: int = DEPTH  # products of each leg that are put in order

    def __post_init__(self) -> None:
        """Check the ranges, and that both parameters of BM25 are given or neither."""
        if (self.k1 is None) != (self.b is None):
            raise ConfigError(f"lexical.k1 and lexical.b must both be given or neither, got {self.k1} and {self.b}")
        if not 10 <= self.depth <= DEEPEST:
            raise ConfigError(f"lexical.depth must be 10 to {DEEPEST:,} products, got {self.depth}")
        RankingSettings(weight=self.weight)
        self.index()

    @property
    def is_tuned(self) -> bool:
        """Whether validation queries choose BM25's parameters."""
        return self.k1 is None

    def index(self) -> LexicalConfig:
        """Return what the index is made by, where validation queries say nothing else."""
        bm25 = Bm25() if self.k1 is None or self.b is None else Bm25(k1=self.k1, b=self.b)
        return LexicalConfig(analyzer=AnalyzerConfig(language=self.language), bm25=bm25, fields=self.fields)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How to export."""

    index: IndexConfig = field(default_factory=IndexConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    suggestions: SuggestionsConfig = field(default_factory=SuggestionsConfig)
    lexical: LexicalOptions = field(default_factory=LexicalOptions)
    exact_up_to: int | None = None  # different vectors that are all compared; None: 50,000, or more as measured
    recall_target: float = 0.99  # recall@10 of the graph, against exact search; the shallowest that reaches it is taken
    judged_queries: int = 500  # of validation, and held-out ones, whose candidates calibrate and judge what ranks them
    reranked: int = 20  # candidates of each that a reranker is judged by, and gets where it is on
    rerank: int | None = None  # where a request does not say; None: ``reranked`` if validation queries gain, else 0
    rerank_weight: float | None = None  # of a logit beside the first stage's score; None: chosen on validation
    trees: bool = False  # fitted over what the stages say, and served where validation queries gain; needs LightGBM
    tree_attributes: tuple[str, ...] = ()  # numbers of products that trees see too, such as "price" or "rating"
    rerank_budget_ms: float | None = None  # milliseconds that they may take then; None: all they need
    reuse_graph: bool = True  # of an encoder that was exported before, from the cache; it is proven again all the same
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)  # of ONNX Runtime
    columns: dict[str, str] = field(default_factory=dict)  # catalogue: name in the contract -> name in the file
    encoding: str | None = None  # of the catalogue where it is text; None: UTF-8
    store: Store | None = None  # where the products are searched; None: in the generation's own files
    attributes: dict[str, str] = field(default_factory=dict)  # catalogue: column -> type, where it is not guessed

    def __post_init__(self) -> None:
        """Check the ranges and the names of columns."""
        check_columns(self.columns, CATALOGUE_COLUMNS, "columns")
        check_asked(self.attributes, "attributes")
        if not 0 < self.recall_target <= 1:
            raise ConfigError(f"recall_target must be in (0, 1], got {self.recall_target}")
        if self.exact_up_to is not None and self.exact_up_to < 0:
            raise ConfigError(f"exact_up_to must be >= 0 vectors, got {self.exact_up_to}")
        if self.threads < 1:
            raise ConfigError(f"threads must be >= 1, got {self.threads}")
        self._check_ranking()
        if self.engine.library is not None and self.engine.precision not in ("fp32", *self.precision.made):
            raise ConfigError(
                f"precision.made must hold {self.engine.precision}, which the engine is built from, "
                f"got {self.precision.made}"
            )

    def _check_ranking(self) -> None:
        if self.judged_queries < 1:
            raise ConfigError(f"judged_queries must be >= 1, got {self.judged_queries}")
        if not 1 <= self.reranked <= RERANK_MAX:
            raise ConfigError(f"reranked must be 1 to {RERANK_MAX} candidates, got {self.reranked}")
        if self.rerank is not None and not 0 <= self.rerank <= RERANK_MAX:
            raise ConfigError(f"rerank must be 0 to {RERANK_MAX} candidates, got {self.rerank}")
        if self.tree_attributes and not self.trees:
            raise ConfigError(f"tree_attributes need trees = true, got {', '.join(self.tree_attributes)}")
        for name in self.tree_attributes:
            if not PLAIN_NAME.fullmatch(name):
                raise ConfigError(f"tree_attributes must have letters, digits and _ only, got '{name}'")
        if self.rerank_weight is not None and not 0 < self.rerank_weight <= 1:
            raise ConfigError(f"rerank_weight must be above 0, at most 1, got {self.rerank_weight}")
        if self.rerank_budget_ms is not None and not 0 < self.rerank_budget_ms < float("inf"):
            raise ConfigError(f"rerank_budget_ms must be above 0 milliseconds, got {self.rerank_budget_ms}")

    def reading(self) -> Reading:
        """Return how the catalogue is read."""
        return Reading(columns=self.columns, encoding=self.encoding, options=EXPORT_CATALOGUE)

    def needed_for(self, precision: str) -> str:
        """Return what a precision is needed for, without which there is no generation; nothing if it is not."""
        if precision == self.precision.served:
            return "served"
        return "what the engine is built from" if self.engine.library and precision == self.engine.precision else ""
