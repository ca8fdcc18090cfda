"""The second stage: one run for all, rounds within budgets, what is remembered, the order that comes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from trident.bench.run import forgetting
from trident.encoder.pairs import PairRow
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ModelError
from trident.ranking.reranking import ROUND_PAIRS, PairCache, Reranker, Task, reranked_order

WORDS = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"])}


def words() -> TextTokenizer:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return TextTokenizer(tokenizer, TextContract(query_max_tokens=8, product_max_tokens=8), pad_id=0)


class SharedWords:
    """Scores a pair by the tokens that both sides have, and takes a hundredth of a second for each on its clock."""

    def __init__(self) -> None:
        self.time = 0.0
        self.runs: list[int] = []

    def clock(self) -> float:
        return self.time

    def score(self, rows: Sequence[PairRow]) -> np.ndarray:
        self.runs.append(len(rows))
        self.time += 0.01 * len(rows)
        both = [set(row.ids[: row.query_tokens]) & set(row.ids[row.query_tokens :]) for row in rows]
        return np.array([len(each) for each in both], dtype=np.float32)

    def for_lone(self, threads: int) -> SharedWords:
        self.lone_threads = threads
        return self


@pytest.fixture
def scorer() -> SharedWords:
    return SharedWords()


@pytest.fixture
def reranker(scorer: SharedWords) -> Reranker:
    return Reranker(scorer, words(), clock=scorer.clock)


TITLES = ["a", "a b", "c", "a b c", "d", "b", "e f", "a c", "h", "g", "a h", "b h"]


def test_pairs_of_all_queries_are_one_run(reranker: Reranker, scorer: SharedWords) -> None:
    logits = reranker.score([Task("a b", TITLES[:4]), Task("c", []), Task("c", TITLES[2:])])
    assert [each.tolist() for each in logits] == [[2, 3, 1, 3], [], [2, 2, 1, 1, 1, 2, 1, 1, 1, 1]]
    assert scorer.runs == [14]
    assert (reranker.counts.searches, reranker.counts.cut, reranker.counts.pairs) == (2, 0, 14)


def test_a_pair_is_scored_once(reranker: Reranker, scorer: SharedWords) -> None:
    first = reranker.score([Task("a b", TITLES)])
    again = reranker.score([Task("a b", TITLES[::-1]), Task("b a", TITLES[:1])])
    assert again[0].tolist() == first[0].tolist()[::-1]
    assert scorer.runs == [12, 1]
    assert (reranker.cache.hits, reranker.cache.misses) == (12, 13)


def test_who_asks_alone_has_the_same_pairs_and_counts(reranker: Reranker, scorer: SharedWords) -> None:
    lone = reranker.for_lone(2)
    assert scorer.lone_threads == 2
    first = lone.score([Task("a b", TITLES)])
    assert reranker.score([Task("a b", TITLES)])[0].tolist() == first[0].tolist()
    assert scorer.runs == [12]
    assert reranker.counts is lone.counts
    assert (lone.counts.searches, lone.counts.pairs) == (2, 12)


def test_the_least_used_pairs_are_forgotten() -> None:
    cache = PairCache(2)
    cache.put([("q", b"1"), ("q", b"2")], [1.0, 2.0])
    assert cache.get([("q", b"1")]) == [1.0]
    cache.put([("q", b"3")], [3.0])
    assert cache.get([("q", b"1"), ("q", b"2"), ("q", b"3")]) == [1.0, None, 3.0]


def test_a_benchmark_keeps_no_pair(scorer: SharedWords) -> None:
    """Server and yardstick would ask otherwise often for what they know already."""
    with forgetting():
        measured = Reranker(scorer, words(), clock=scorer.clock)
    for _ in range(2):
        measured.score([Task("a b", TITLES)])
    assert scorer.runs == [12, 12]
    usual = Reranker(scorer, words(), clock=scorer.clock)
    for _ in range(2):
        usual.score([Task("a b", TITLES)])
    assert scorer.runs == [12, 12, 12]


def test_a_budget_cuts_from_the_end_and_is_shared(reranker: Reranker, scorer: SharedWords) -> None:
    """Two requests with 160 ms: rounds of four pairs each, 80 ms a round; who has no budget gets everything."""
    tasks = [Task("a", TITLES, 0.161), Task("b", TITLES, 0.161)]
    logits = reranker.score(tasks)
    assert [len(each) for each in logits] == [ROUND_PAIRS, ROUND_PAIRS]
    assert scorer.time == pytest.approx(0.16)
    assert reranker.counts.cut == 2
    more = reranker.score([Task("c", TITLES, 0.161), Task("d", TITLES)])
    assert [len(each) for each in more] == [8, 12]
    assert more[1].tolist() == reranker.score([Task("d", TITLES)])[0].tolist()


def test_time_that_went_by_before_counts(reranker: Reranker, scorer: SharedWords) -> None:
    start = reranker.now()
    scorer.time += 5.0  # embedding and search
    assert [len(each) for each in reranker.score([Task("a", TITLES, 4.0)], since=start)] == [0]
    assert scorer.runs == []
    assert [len(each) for each in reranker.score([Task("a", TITLES, 6.0)], since=start)] == [12]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_no_number_is_refused(reranker: Reranker, scorer: SharedWords, value: float) -> None:
    class Broken(SharedWords):
        def score(self, rows: Sequence[PairRow]) -> np.ndarray:
            logits = super().score(rows)
            logits[1] = value
            return logits

    broken = Reranker(Broken(), words())
    with pytest.raises(ModelError, match=r"must be a finite number, got (nan|inf) for query 'a' and product 'a b': "):
        broken.score([Task("a", TITLES)])


def test_equal_logits_keep_their_order_and_the_rest_stays_behind() -> None:
    logits = np.array([1.0, 3.0, 1.0, 3.0], dtype=np.float32)
    assert reranked_order(logits, 6).tolist() == [1, 3, 0, 2, 4, 5]
    assert reranked_order(logits[:0], 3).tolist() == [0, 1, 2]
