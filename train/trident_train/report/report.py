"""What a run found out: ``report.json``, and what each arm says of each test pair."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from trident.data.catalogue import Catalogue
from trident.lexical.index import LexicalConfig
from trident.quality.metrics import catalogue_ndcg_by_query, ndcg_by_query
from trident_train.data.audit import Audit
from trident_train.data.sources import Source
from trident_train.judge.evaluate import Ranking, Row, rank_bm25, rank_encoder, rank_random
from trident_train.judge.hybrid import HybridData, rank_served, tuned_bm25

if TYPE_CHECKING:  # what a report says is read without PyTorch
    from accelerate import Accelerator

    from trident_train.loop.loop import Trained
    from trident_train.loop.selection import Score
    from trident_train.model.encoder import Encoder
    from trident_train.reranker.judging import ClassifierQuality

JUDGED_NDCG, CATALOGUE_NDCG = "ndcg_at_10", "catalogue_ndcg_at_10"
PRETRAINED, FIRST_STAGE = "pretrained", "first stage"  # the arm that a trained one is held against, by stage
VERSIONS_OF = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy")


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """What a run found out; ``report.json`` holds the same.

    Attributes:
        method: "none", "lora" or "full".
        base_model: As the recipe names it.
        test: One row an arm and source: random, BM25, pretrained, and the trained one (named after its method); where
            catalogues are ranked also BM25 tuned and hybrid, the trained one's vectors with words.
        pretrained_validation: Of the pretrained model.
        trained: Epochs, the best one, the score of the weights that were kept; None if nothing was trained.
        improved: Whether the kept weights score better than the pretrained ones; None if nothing was trained.
        audits: By source.
        train_pairs: Over all sources.
        validation_pairs: Over all sources.
        trained_weights: How many.
        total_weights: Of the model, adapters not counted.
        saved_bytes: Size of the weights in the run folder.
        peak_memory_bytes: Of the GPU where there is one, else resident memory of the whole process.
        train_seconds: Sum over epochs, without validation.
        seconds: Wall time of the run since it was last started.
        resumed_from_step: None if the run was not interrupted.
        environment: Machine, device, processes and versions.
        stage: "encoder" or "reranker".
        classifier: Of a reranker: how good first stage and reranker are as classifiers of the test pairs.
    """

    method: str
    base_model: str
    test: tuple[Row, ...]
    pretrained_validation: Score
    trained: Trained | None
    improved: bool | None
    audits: dict[str, Audit]
    train_pairs: int
    validation_pairs: int
    trained_weights: int
    total_weights: int
    saved_bytes: int
    peak_memory_bytes: int
    train_seconds: float
    seconds: float
    resumed_from_step: int | None
    environment: dict[str, str]
    stage: str = "encoder"
    classifier: tuple[ClassifierQuality, ...] = ()


def before_arm(report: dict[str, Any]) -> str:
    """Return the arm that was there before training, of ``report.json``."""
    return FIRST_STAGE if report.get("stage") == "reranker" else PRETRAINED


@dataclass
class TestArms:
    """The arms of the table as they are judged on the test splits."""

    __test__ = False  # no test class, whatever its name starts with

    sources: Sequence[Source]
    rows: list[Row] = field(default_factory=list)
    scores: dict[str, list[Ranking]] = field(default_factory=dict)  # by arm, in the order of the sources
    _configs: dict[str, LexicalConfig] = field(default_factory=dict)  # of tuned BM25, by source

    def add(self, name: str, rank: Callable[[Source], Ranking], *, whole: bool = False) -> None:
        """Judge an arm on every source; ``whole`` ranks the catalogue whether the recipe asks for it or not."""
        for source in self.sources:
            pairs, catalogue = source.parts.test, source.catalogue if whole else source.ranked_catalogue()
            ranking = rank(source)
            self.rows.append(ranking.row(name, pairs, catalogue, data=source.name))
            self.scores.setdefault(name, []).append(ranking)

    def add_references(self) -> None:
        """Judge random scores and BM25; where every source has a catalogue, BM25 as an export would tune it, too."""
        self.add("random", lambda source: rank_random(source.parts.test, source.ranked_catalogue()))
        self.add("BM25", lambda source: rank_bm25(source.parts.test, source.ranked_catalogue()))
        if self._ranks_catalogues:
            self.add("BM25 tuned", lambda source: rank_bm25(source.parts.test, _catalogue(source), self._tuned(source)))

    def add_encoder(self, name: str, encoder: Encoder) -> None:
        """Judge an encoder."""
        self.add(name, lambda source: rank_encoder(encoder, source.parts.test, source.ranked_catalogue()))

    def add_served(self, name: str, encoder: Encoder) -> None:
        """Judge an encoder; where every source has a catalogue, its vectors with words beside them, too."""
        if not self._ranks_catalogues:
            self.add_encoder(name, encoder)
            return
        hybrid: dict[str, Ranking] = {}

        def rank(source: Source) -> Ranking:
            data = HybridData(source.parts.validation, source.parts.test, _catalogue(source))
            served = rank_served(encoder, data, self._tuned(source))
            hybrid[source.name] = served.hybrid
            return served.dense

        self.add(name, rank)
        self.add("hybrid", lambda source: hybrid[source.name])

    def _tuned(self, source: Source) -> LexicalConfig:
        if source.name not in self._configs:
            self._configs[source.name] = tuned_bm25(source.parts.validation, _catalogue(source))
        return self._configs[source.name]

    @property
    def _ranks_catalogues(self) -> bool:
        return all(source.ranked_catalogue() is not None for source in self.sources)

    def by_source(self) -> tuple[Row, ...]:
        """Return the rows, source by source."""
        return tuple(row for source in self.sources for row in self.rows if row.data == source.name)

    def save_scores(self, path: Path) -> None:
        """Write a Parquet file with a row for each test pair: ``data``, and a float32 column for each arm."""
        columns = {"data": [source.name for source in self.sources for _ in range(len(source.parts.test))]}
        arms = {
            name: np.concatenate([ranking.scores for ranking in rankings]).astype(np.float32)
            for name, rankings in self.scores.items()
        }
        pyarrow.parquet.write_table(pa.table({**columns, **arms}), path, compression="zstd")

    def save_queries(self, path: Path) -> None:
        """Write a Parquet file with a row for each test query that has a relevant product.

        Beside ``data`` and ``query`` it has the columns ``ARM ndcg_at_10`` and ``ARM catalogue_ndcg_at_10``, float64,
        for each arm; the latter is null where a source is not ranked against a catalogue.
        """
        rows = []
        for number, source in enumerate(self.sources):
            pairs = source.parts.test
            by_query: dict[str, dict[str, float | None]] = {}
            for arm, rankings in self.scores.items():
                ranking = rankings[number]
                whole = {} if ranking.found is None else catalogue_ndcg_by_query(pairs, ranking.found)
                for query, value in ndcg_by_query(pairs, ranking.scores).items():
                    figures = {f"{arm} {JUDGED_NDCG}": value, f"{arm} {CATALOGUE_NDCG}": whole.get(query)}
                    by_query.setdefault(query, {}).update(figures)
            rows += [{"data": source.name, "query": query, **figures} for query, figures in by_query.items()]
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, compression="zstd")


def _catalogue(source: Source) -> Catalogue:
    catalogue = source.ranked_catalogue()
    assert catalogue is not None
    return catalogue


def peak_memory_bytes() -> int:
    """Return the peak memory so far: of the GPU where there is one, else resident memory of this process."""
    import torch  # here: reading a report needs none

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def environment(accelerator: Accelerator) -> dict[str, str]:
    """Return what the figures were measured on."""
    import torch  # as above

    device = str(accelerator.device)
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    found = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "device": device,
        "processes": str(accelerator.num_processes),
        "threads": str(torch.get_num_threads()),
        "precision": str(accelerator.mixed_precision),
        "python": platform.python_version(),
    }
    return found | {name: importlib.metadata.version(name) for name in VERSIONS_OF}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
