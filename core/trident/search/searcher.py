"""A generation's whole pipeline in this process: tokenizer, encoder, index. What a server answers, without a server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.encoder.served_encoder import ServedEncoder, load_encoder
from trident.encoder.text import Side, TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import GenerationError
from trident.generation.generation import (
    RERANKER_FOLDER,
    WEIGHTS,
    Generation,
    Identity,
)
from trident.generation.golden import GOLDEN_K, GoldenAnswer
from trident.generation.own_encoder import own_encoder
from trident.ranking.pair_scorer import load_scorer
from trident.ranking.reranking import Reranker
from trident.ranking.trees import Trees
from trident.retrieval.live_retriever import live_retriever
from trident.retrieval.opened import open_retriever
from trident.retrieval.options import RankingKnobs, SearchOptions, read_options
from trident.retrieval.requests import SearchKnobs, with_texts
from trident.retrieval.retriever import Hits, Retriever
from trident.search.second_stage import RERANKED, SecondStage, check_rerank
from trident.stage_times import stage

BY_VECTORS = '{"mode":"dense","spelling":false}'  # options of a golden query that every variant answers alike
FIRST_STAGE_BY_VECTORS = '{"mode":"dense","rerank":0,"spelling":false}'  # the same where there is a second stage


@dataclass(frozen=True)
class Searcher:
    """The parts of one generation; ``load`` one."""

    tokenizer: TextTokenizer
    encoder: ServedEncoder
    retriever: Retriever
    second_stage: SecondStage | None = None

    @classmethod
    def load(cls, generation: Generation, *, threads: int = 1, precision: str | None = None) -> Searcher:
        """Return the pipeline of a generation.

        Args:
            generation: Whose files are read; they are not checked against the manifest.
            threads: Of the encoder, and of the flat search where the index has one.
            precision: Of the graph; None: the one that the CPU server runs.

        Raises:
            TridentError: If a part is missing, damaged or of another encoder.
        """
        tokenizer, encoder = own_encoder(generation, precision=precision, threads=threads)
        retriever = Retriever.load(generation.version_folder("retriever"), flat_threads=threads)
        folders = (generation.folder / RERANKER_FOLDER, generation.version_folder("retriever"))
        return cls(tokenizer, encoder, retriever, _second_stage(folders, retriever, threads=threads))

    @classmethod
    def load_parts(
        cls, repository: Path, identity: Identity, *, threads: int = 1, index_threads: int = 1, kernels: str = "auto"
    ) -> Searcher:
        """Return the pipeline of a generation in the repository that a server reads.

        Args:
            repository: Holds the version folders of the tokenizer, the encoder and the retriever.
            identity: That all of them must have; it names the version and the graph.
            threads: Of the encoder.
            index_threads: Of the flat search, where the index has one.
            kernels: Whether they embed: ``auto``, ``on`` or ``off``; see ``load_encoder``.

        Raises:
            TridentError: If a part is missing, damaged or of another generation.
        """
        parts = ("tokenizer", "encoder", "retriever")
        folders = tuple(repository / part / str(identity.serial) for part in parts)
        for folder in folders:
            if (found := Identity.load(folder)) != identity:
                raise GenerationError(
                    f"{folder} must be of generation {identity.id} (serial {identity.serial}, encoder "
                    f"{identity.encoder_fingerprint[:12]}), got {found.id} (serial {found.serial}, encoder "
                    f"{found.encoder_fingerprint[:12]}): export again"
                )
        tokenizer = TextTokenizer.load(folders[0], TextContract.load(folders[0]))
        encoder = load_encoder(
            folders[1] / identity.graph,
            folders[1] / WEIGHTS,
            tokenizer,
            fingerprint=identity.encoder_fingerprint,
            threads=threads,
            kernels=kernels,
        )
        retriever = open_retriever(folders[2], flat_threads=index_threads)
        of_second = (folders[1] / RERANKER_FOLDER, folders[2])
        second = _second_stage(of_second, retriever, threads=threads, kernels=kernels)
        alone = cls(tokenizer, encoder, retriever)
        live = live_retriever(retriever, lambda titles: alone.embed(titles, "product"))
        return cls(tokenizer, encoder, live, second)

    def for_lone(self, threads: int) -> Searcher:
        """Return the same pipeline for a lone query, whose encoder, search and second stage are cut up among threads.

        Raises:
            TridentError: If a graph cannot be opened again.
        """
        encoder, retriever = self.encoder.for_lone(threads), self.retriever.for_lone(threads)
        second = None if self.second_stage is None else self.second_stage.for_lone(threads)
        return Searcher(self.tokenizer, encoder, retriever, second)

    def check(self, knobs: Sequence[SearchKnobs]) -> None:
        """Raise what a search with these knobs would raise, so that a bad request is found before it joins others.

        Raises:
            DataError: Naming the key that asks for what this generation does not answer.
        """
        self.retriever.check_pages(knobs)
        self.retriever.check_probabilities(knobs)
        check_rerank(knobs, self.second_stage, self.retriever.identity.id)

    def embed(self, texts: Sequence[str], side: Side = "query") -> NDArray[np.float32]:
        """Return the embeddings (N, D), unit length, of N raw texts."""
        return self.encoder.embed_ids(self.tokenizer.token_ids(texts, side), pad_id=self.tokenizer.pad_id)

    def embed_each(self, texts: Sequence[tuple[str, Side]]) -> NDArray[np.float32]:
        """Return the embeddings (N, D), unit length, of N raw texts, each of its own side."""
        with stage("tokenize"):
            token_ids = self.tokenizer.token_ids_each(texts)
        with stage("encode"):
            return self.encoder.embed_ids(token_ids, pad_id=self.tokenizer.pad_id)

    def search(self, queries: Sequence[str], knobs: Sequence[SearchKnobs] | None = None, *, threads: int = 1) -> Hits:
        """Return the products of each query, each by its own knobs; None: the defaults.

        Raises:
            DataError: If a query is empty, or a second stage is asked for that there is not.
        """
        chosen = [SearchKnobs()] * len(queries) if knobs is None else knobs
        check_rerank(chosen, self.second_stage, self.retriever.identity.id)
        spelled = self.retriever.spelled(with_texts(chosen, [(query, "query") for query in queries]))
        embeddings = self.embed([self.retriever.text_for_vectors(knob) for knob in spelled])
        if self.second_stage is None:
            return self.retriever.retrieve(embeddings, spelled, threads=threads)
        hits = self.retriever.retrieve(embeddings, self.second_stage.widened(spelled), threads=threads)
        return self.second_stage.reranked(queries, spelled, hits)

    def answers(self, queries: Sequence[str], *, k: int = GOLDEN_K) -> list[GoldenAnswer]:
        """Return the answers to queries in the form of golden ones."""
        return answers_of(queries, self.search(queries, [SearchKnobs(k=k)] * len(queries)))

    def answer_again(self, golden: Sequence[GoldenAnswer]) -> list[GoldenAnswer]:
        """Return the answers to golden queries as they were asked."""
        asked = [_knobs_of(answer.options) for answer in golden]
        queries = [answer.query for answer in golden]
        return answers_of(queries, self.search(queries, asked)) if queries else []

    def golden(self, queries: Sequence[str]) -> list[GoldenAnswer]:
        """Return the golden answers to queries: as they are served, and by vectors alone where more had a part."""
        answers = []
        for query in queries:
            (served,) = self.answers([query])
            asked = SearchKnobs(k=GOLDEN_K, ranking=RankingKnobs(explain=self.retriever.words is not None))
            hits = self.search([query], [asked])
            details = json.loads(hits.details[0, 0]) if hits.details[0, 0] else {}
            parts = details.get("explain", [])
            if self.second_stage is not None and details.get(RERANKED):
                served = replace(served, mixed=self.second_stage.decided(query, hits, details))
            elif "corrected" in details or any(part["bm25"] is not None or part["model_numbers"] for part in parts):
                served = replace(served, fused=[round(part["fused"], 6) for part in parts])
            answers.append(_rounded(served))
        options = BY_VECTORS if self.second_stage is None else FIRST_STAGE_BY_VECTORS
        others = [replace(answer, options=options, fused=[], mixed=[]) for answer in answers if not answer.by_vectors]
        return answers + [_rounded(replace(found, options=options)) for found in self.answer_again(others)]


def _knobs_of(options: str) -> SearchKnobs:
    """Return what a golden query is asked with."""
    values = np.array([[options.encode() or b"{}"]], dtype=np.object_)
    (read,) = read_options(values, SearchOptions)
    return SearchKnobs(k=GOLDEN_K, ranking=RankingKnobs.of(read), rerank=read.rerank)


def _rounded(answer: GoldenAnswer) -> GoldenAnswer:
    return replace(answer, scores=[round(score, 6) for score in answer.scores])


def _second_stage(
    folders: tuple[Path, Path], retriever: Retriever, *, threads: int = 1, kernels: str = "auto"
) -> SecondStage | None:
    """Return the second stage of a generation; None: it has none.

    Args:
        folders: Of the reranker, and of the retriever, where trees are.
        retriever: Of the same generation.
        threads: Of the reranker.
        kernels: As for the encoder.

    Raises:
        TridentError: If it is missing, damaged or of another generation.
    """
    identity = retriever.identity
    if not identity.reranker:
        return None
    precision = identity.reranker_precision
    scorer, tokenizer = load_scorer(
        folders[0], fingerprint=identity.reranker, precision=precision, threads=threads, kernels=kernels
    )
    trees = Trees.load(folders[1], sha256=identity.trees) if identity.trees else None
    return SecondStage.of(Reranker(scorer, tokenizer), retriever.calibration, identity, trees)


def answers_of(queries: Sequence[str], hits: Hits) -> list[GoldenAnswer]:
    """Return hits in the form of golden answers."""
    answers = []
    for row, query in enumerate(queries):
        count = int(hits.counts[row, 0])
        ids: list[Any] = hits.product_ids[row, :count].tolist()
        answers.append(
            GoldenAnswer(
                query=query,
                product_ids=[product.decode() for product in ids],
                scores=[float(score) for score in hits.scores[row, :count]],
            )
        )
    return answers
