"""The stages that make the lexical index and choose how words take part, on the validation queries of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.data.catalogue import CATALOGUE_FILE
from trident.data.pairs import Pairs
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError
from trident.generation.generation import Identity
from trident.generation.golden import GOLDEN_K
from trident.index.index import VectorIndex
from trident.lexical.analyzer import Analyzer, AnalyzerConfig
from trident.lexical.files import ARRAYS_FILE, load_lexical, save_lexical
from trident.lexical.index import LexicalIndex, field_texts, tokenize
from trident.lexical.spelling import SHORTEST, Spelling, load_known, save_known
from trident.quality.generation_scores import pairs_of, ranked_hits
from trident.quality.metrics import catalogue_ndcg_by_query
from trident.quality.ranking_choice import (
    AskedLegs,
    ByQuery,
    Judgements,
    choose_bm25,
    choose_spelling,
    choose_weak,
    choose_weight,
)
from trident.ranking.settings import RankingSettings, SpellingLegs
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Retriever
from trident.retrieval.words import ProductLegs, Words
from trident.search.searcher import Searcher
from trident_export.job import ExportJob
from trident_export.judge.served_queries import is_taken
from trident_export.run_folder import VALIDATION_PAIRS_FILE, held_out_pairs

TRAINED_WORDS_FILE = "trained_words.txt"  # of the run; older ones have none
MOST_QUERIES = 2000  # validation queries that choices are made by
PROVED_TITLES = 50  # whose own words must find them again after a reload
PROVED_DEPTH = 10
LEGS: tuple[SpellingLegs, ...] = (("lexical",), ("dense", "lexical"))


@dataclass(frozen=True, eq=False)
class Exported:
    """The encoder and the index of an export, before it has a name, and what choices are made by.

    Attributes:
        searcher: Without words.
        pairs: The validation pairs of the run, at most those of ``MOST_QUERIES`` queries.
        judged: These over the catalogue.
    """

    searcher: Searcher
    pairs: Pairs
    judged: Judgements

    @classmethod
    def of(cls, job: ExportJob, tokenizer: TextTokenizer, encoder: ServedEncoder, index: VectorIndex) -> Exported:
        """Return the parts of an export as one."""
        unnamed = Identity(id="of this export", serial=1, encoder_fingerprint=index.encoder_fingerprint)
        retriever = Retriever(index, job.catalogue, unnamed, Attributes.load(job.parts))
        pairs = _validation_pairs(job)
        return cls(Searcher(tokenizer, encoder, retriever), pairs, Judgements.of(pairs, job.catalogue))


def export_lexical(job: ExportJob, exported: Exported) -> tuple[LexicalIndex, dict[str, Any]]:
    """Write the lexical index, its parameters tuned on validation queries, load it again and prove it.

    Returns:
        The index, mapped, and what its parameters were chosen by.

    Raises:
        ConfigError: If a field that is to count is no attribute of text.
        ExportError: If it does not find again what it found before it was written.
    """
    with job.stages.stage("lexical") as notes:
        config = job.config.lexical.index()
        attributes = Attributes.load(job.parts)
        fields = {name: field_texts(attributes, name) for name in config.fields}
        tokenized = tokenize(job.catalogue.titles, fields, Analyzer(config.analyzer))
        if job.config.lexical.is_tuned:
            config, seen = choose_bm25(tokenized, config, exported.judged)
        else:
            seen = {"tuned": False, "given": True}
        made = LexicalIndex.of(tokenized, config)
        del tokenized
        catalogue = job.parts / CATALOGUE_FILE
        save_lexical(made, job.parts, catalogue)
        save_known(_known_words(job, exported.searcher.tokenizer, config.analyzer), job.parts)
        index = load_lexical(job.parts, catalogue)
        _prove(made, index, job.catalogue.titles)
        notes.path = job.parts / ARRAYS_FILE
        how = f"k1 {config.bm25.k1:g}, b {config.bm25.b:g}"
        if "gain" in seen:
            figures = f"NDCG@10 {seen['best']:.4f} of {seen['default']:.4f} on {seen['queries']} validation queries"
            how += f", tuned: {figures}" if seen["tuned"] else f", not tuned: {figures} is chance"
        notes.proof = f"{len(index.vocabulary):,} words; {how}"
    return index, seen


def choose_ranking(
    job: ExportJob, exported: Exported, index: LexicalIndex, seen: dict[str, Any]
) -> tuple[Searcher, RankingSettings]:
    """Write how words take part, as validation queries say; return what will be served, and how.

    Args:
        job: The export.
        exported: Its parts.
        index: The lexical one.
        seen: What its parameters were chosen by.
    """
    with job.stages.stage("ranking") as notes:
        asked, judged, searcher = job.config.lexical, exported.judged, exported.searcher
        vectors = _embedded(searcher, judged.queries)
        legs = AskedLegs.ask(
            judged.queries, vectors, index, ProductLegs(searcher.retriever.products(), index), asked.depth
        )
        choice = choose_weight(legs, judged)
        settings = RankingSettings(
            mode=asked.mode, depth=asked.depth, weight=choice.weight if asked.weight is None else asked.weight
        )
        words = Words(index, Spelling(index, load_known(job.parts)), settings)
        settings, spelt = _with_spelling(searcher, words, judged)
        words = replace(words, settings=settings)
        served = replace(searcher, retriever=searcher.retriever.with_words(words))
        bound, weak = _weakness(served, exported.pairs)
        chosen = {"bm25": seen, "weight": choice.seen, "spelling": spelt, "weak": weak}
        settings = replace(settings, weak_below=bound, chosen=chosen)
        settings.save(job.parts)
        notes.proof = _line(settings)
    words = replace(words, settings=settings)
    return replace(searcher, retriever=searcher.retriever.with_words(words)), settings


def _embedded(searcher: Searcher, queries: list[str]) -> NDArray[np.float32]:
    dimension = searcher.retriever.index.dimension
    return searcher.embed(queries) if queries else np.zeros((0, dimension), dtype=np.float32)


def _validation_pairs(job: ExportJob) -> Pairs:
    """Return the validation pairs of a run, of queries that a server takes; none where there is no such file."""
    found = held_out_pairs(job.order.run, VALIDATION_PAIRS_FILE, job.catalogue)
    if found is None:
        return Pairs([], [], np.zeros(0, dtype=np.int8), np.zeros(0, dtype=np.float32), [])
    pairs, _ = found
    queries = [query for query in dict.fromkeys(pairs.queries) if is_taken(query)]
    spread = np.linspace(0, len(queries) - 1, min(MOST_QUERIES, len(queries))).astype(np.int64).tolist()
    wanted = {queries[row] for row in spread}
    return pairs.take(row for row, query in enumerate(pairs.queries) if query in wanted)


def _known_words(job: ExportJob, tokenizer: TextTokenizer, config: AnalyzerConfig) -> list[str]:
    """Return words that are right though no product has them: those of training queries, and of the encoder.

    A word that the encoder has whole, such as "couch" where the shop says sofa, finds by its vector what is meant.
    """
    path, analyzer = job.order.run / TRAINED_WORDS_FILE, Analyzer(config)
    trained = path.read_text(encoding="utf-8").split() if path.is_file() else []
    whole = (word for word in tokenizer.whole_words() if len(word) >= SHORTEST)
    return sorted({*trained, *(folded for word in whole for folded in analyzer.words(word))})


def _prove(made: LexicalIndex, loaded: LexicalIndex, titles: Sequence[str]) -> None:
    rows = np.linspace(0, len(titles) - 1, min(PROVED_TITLES, len(titles))).astype(np.int64)
    for row in rows.tolist():
        (rows_made, made_scores), (rows_found, scores) = (
            index.search(titles[row], PROVED_DEPTH) for index in (made, loaded)
        )
        if not (np.array_equal(rows_made, rows_found) and np.array_equal(made_scores, scores)):
            raise ExportError(
                f"the lexical index must find after a reload what it found before, got other rows for the title "
                f"'{titles[row][:60]}': export again, and report it"
            )


def _with_spelling(searcher: Searcher, words: Words, judged: Judgements) -> tuple[RankingSettings, dict[str, Any]]:
    """Return the settings with the legs that get the corrected text, and what that was chosen by."""
    touched = [query for query in judged.queries if words.spelling.corrected(query) is not None]
    pairs = pairs_of(judged.pairs, touched)

    def judge(legs: SpellingLegs) -> ByQuery:
        corrected = replace(words, settings=replace(words.settings, spelling=legs))
        served = replace(searcher, retriever=searcher.retriever.with_words(corrected))
        return catalogue_ndcg_by_query(pairs, ranked_hits(served, touched, GOLDEN_K))

    by_legs = {legs: partial(judge, legs) for legs in LEGS}
    plain = judge(()) if touched else {}
    legs, seen = choose_spelling(plain, by_legs, len(touched))
    return replace(words.settings, spelling=legs), seen


def _weakness(served: Searcher, pairs: Pairs) -> tuple[float | None, dict[str, Any]]:
    """Return the cosine below which an answer is weak, and what that was chosen by.

    Queries of which the catalogue holds no relevant product are among those that it is chosen by.
    """
    relevant: dict[str, set[bytes]] = {}
    for query, product, label in zip(pairs.queries, pairs.product_ids, pairs.labels.tolist(), strict=True):
        if label:
            relevant.setdefault(query, set()).add(product.encode())
    queries = list(relevant)
    if not queries:
        return choose_weak(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.bool_))
    hits = served.search(queries, [SearchKnobs(k=GOLDEN_K)] * len(queries))
    is_good = [
        not relevant[query].isdisjoint(found) for query, found in zip(queries, hits.product_ids.tolist(), strict=True)
    ]
    cosines = hits.scores.max(axis=1)
    bound, seen = choose_weak(cosines, np.array(is_good))
    if bound is not None:
        weakest = np.argsort(cosines, kind="stable").tolist()
        seen["weak_queries"] = [queries[row] for row in weakest if cosines[row] < bound]
    return bound, seen


def _line(settings: RankingSettings) -> str:
    """Return what was chosen in one line."""
    seen = settings.chosen["weight"]
    if settings.weight is None:
        words = "words by rank: no validation query has a product here"
    elif "gain" in seen:
        gain = seen["gain"]
        words = (
            f"weight of words {settings.weight:g} (best {seen['best']:g}: {gain['value']:+.4f} over vectors, "
            f"{gain['low']:+.4f} to {gain['high']:+.4f}, {seen['queries']} queries)"
        )
    else:
        words = f"weight of words {settings.weight:g}"
    weak = "none is weak"
    if settings.weak_below is not None:
        counted = settings.chosen["weak"]
        weak = f"weak below {settings.weak_below:.3f} ({counted['weak']:,} of {counted['queries']:,} queries)"
    return f"{settings.mode}, {words}; spelling for {' and '.join(settings.spelling) or 'none'}; {weak}"
