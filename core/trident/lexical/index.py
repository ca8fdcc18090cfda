"""The lexical index of a catalogue: what people type to the rows whose words it has, scored by BM25."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes, NumberColumn
from trident.errors import ConfigError
from trident.lexical.analyzer import Analyzer, AnalyzerConfig
from trident.lexical.postings import Bm25, Postings, Rows, Sums
from trident.lexical.vocabulary import Vocabulary

MOST_TOKENS = 64  # of a query, different ones that the catalogue has; what comes after them is not looked at
CODE_ROWS = 50  # products that share a model number at most: more share a kind, not a number
EXACT, NEAR = 2, 1  # what a model number is worth in a product: all of it, or its beginning or its parts
LARGEST_WEIGHT = 10
WORDS_OF_SMALL = 20_000  # products; of more, a word that stands in one title only is no spelling to correct to


@dataclass(frozen=True, kw_only=True)
class LexicalConfig:
    """What a lexical index is made of and how its scores are made."""

    analyzer: AnalyzerConfig = field(default_factory=AnalyzerConfig)
    bm25: Bm25 = field(default_factory=Bm25)
    title: int = 1  # how often a title's tokens count
    fields: dict[str, int] = field(default_factory=dict)  # attribute -> how often its tokens count beside the title's

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, weight in {"title": self.title, **self.fields}.items():
            if not 0 <= weight <= LARGEST_WEIGHT:
                raise ConfigError(f"lexical weight of {name} must be 0 to {LARGEST_WEIGHT}, got {weight}")
        if not self.title and not any(self.fields.values()):
            raise ConfigError("lexical: the title or an attribute must have a weight above 0, got none")


@dataclass(frozen=True, eq=False)
class Tokenized:
    """Documents as numbers of tokens: titles, and the fields beside them; made once, indexed with many parameters.

    Attributes:
        vocabulary: The V different tokens.
        titles: N lists of numbers.
        fields: N lists of each field.
        words: How many titles have each word of letters.
    """

    vocabulary: Vocabulary
    titles: list[list[int]]
    fields: dict[str, list[list[int]]]
    words: Counter[str]

    def documents(self, config: LexicalConfig) -> list[list[int]]:
        """Return N lists in which tokens stand as often as they count."""
        documents = self.titles if config.title == 1 else [each * config.title for each in self.titles]
        for name, weight in config.fields.items():
            if weight:
                documents = [one + more * weight for one, more in zip(documents, self.fields[name], strict=True)]
        return documents


def tokenize(titles: Iterable[str], fields: Mapping[str, Iterable[str]], analyzer: Analyzer) -> Tokenized:
    """Return titles, and the texts of fields of the same products, as numbers of tokens."""
    numbers: dict[str, int] = {}
    words: Counter[str] = Counter()

    def of(texts: Iterable[str], *, count_words: bool) -> Iterator[list[int]]:
        for text in texts:
            yield [numbers.setdefault(token, len(numbers)) for token in analyzer.tokens(text)]
            if count_words:
                words.update(dict.fromkeys(analyzer.words(text), 1))

    of_titles = list(of(titles, count_words=True))
    of_fields = {name: list(of(texts, count_words=False)) for name, texts in fields.items()}
    vocabulary = Vocabulary.of(list(numbers))
    order = np.empty(len(numbers), dtype=np.int64)  # by number of its coming
    order[[numbers[text] for text in vocabulary.all()]] = np.arange(len(numbers))
    place = order.tolist()
    for documents in (of_titles, *of_fields.values()):
        for row, each in enumerate(documents):
            documents[row] = [place[number] for number in each]
    return Tokenized(vocabulary, of_titles, of_fields, words)


@dataclass(frozen=True)
class LexicalQuery:
    """What was typed, as the index has it.

    Attributes:
        tokens: Numbers of its tokens that the catalogue has, each once.
        codes: Rows of products that have a model number of it, and what that is worth: ``EXACT`` or ``NEAR``.
    """

    tokens: tuple[int, ...]
    codes: Mapping[int, int]


class LexicalIndex:
    """BM25 over N products.

    Args:
        config: Of tokens and scores.
        vocabulary: The V tokens.
        postings: Of them.
        words: Words of letters, in order, which spelling is corrected to.
        word_counts: How many titles have each.
    """

    def __init__(
        self,
        config: LexicalConfig,
        vocabulary: Vocabulary,
        postings: Postings,
        words: Vocabulary,
        word_counts: NDArray[np.int64],
    ) -> None:
        """Keep the parts."""
        self.config = config
        self.analyzer = Analyzer(config.analyzer)
        self.vocabulary, self.postings = vocabulary, postings
        self.words, self.word_counts = words, word_counts

    @classmethod
    def build(
        cls,
        titles: Sequence[str],
        config: LexicalConfig,
        fields: Mapping[str, Iterable[str]] | None = None,
    ) -> LexicalIndex:
        """Return the index over titles.

        Args:
            titles: N of them.
            config: Of tokens and scores.
            fields: N texts of each attribute that has a weight.
        """
        return cls.of(tokenize(titles, fields or {}, Analyzer(config.analyzer)), config)

    @classmethod
    def of(cls, tokenized: Tokenized, config: LexicalConfig) -> LexicalIndex:
        """Return the index over documents that are tokens already, by the same analyzer."""
        postings = Postings.build(tokenized.documents(config), len(tokenized.vocabulary), config.bm25)
        least = 2 if len(tokenized.titles) > WORDS_OF_SMALL else 1
        words = Vocabulary.of([word for word, count in tokenized.words.items() if count >= least])
        counts = np.array([tokenized.words[word] for word in words.all()], dtype=np.int64)
        return cls(config, tokenized.vocabulary, postings, words, counts)

    @property
    def count(self) -> int:
        """N."""
        return self.postings.count

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the numbers of the tokens of a text that the catalogue has, each once, in their order."""
        numbers = map(self.vocabulary.find, dict.fromkeys(self.analyzer.tokens(text)))
        return tuple(number for number in numbers if number >= 0)[:MOST_TOKENS]

    def query(self, text: str) -> LexicalQuery:
        """Return what was typed in the form in which it is searched."""
        return LexicalQuery(self.tokens(text), self.codes(text))

    def sums(self, query: LexicalQuery) -> Sums:
        """Return BM25 of every row."""
        return self.postings.sums(query.tokens)

    def search(
        self, text: str, depth: int, permitted: Rows | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the best rows for a text, at most ``depth``, and their scores; see ``Sums.best``."""
        sums = self.postings.sums(self.tokens(text))
        rows = sums.best(depth, permitted)
        return rows, sums.scores[rows]

    def knows(self, word: str) -> bool:
        """Return whether a folded word of letters stands in the catalogue, in any form."""
        return self.vocabulary.find(self.analyzer.stem(word)) >= 0

    def codes(self, text: str) -> dict[int, int]:
        """Return the rows that have model numbers of a text, and what each is worth there.

        A model number that no title has counts where a title's begins so, else where its parts stand. One that is part
        of a longer one that was found is passed over.
        """
        return worth_of_codes(self.analyzer.codes(text), self.code_rows)

    def code_rows(self, code: str, is_word: bool) -> tuple[NDArray[np.int32], int]:
        """Return the rows that have a model number, and what it is worth there; none where too many have it.

        Args:
            code: One of ``Analyzer.codes``.
            is_word: Whether it was typed as one word.
        """
        none = np.zeros(0, dtype=np.int32)
        number = self.vocabulary.find(code)
        if number >= 0:
            return (self.postings.rows_of(number), EXACT) if self._is_rare(number) else (none, EXACT)
        longer = self.vocabulary.with_prefix(code)
        if len(longer):
            if len(longer) > CODE_ROWS:
                return none, NEAR
            rows = np.unique(np.concatenate([self.postings.rows_of(each) for each in longer]))
            return (rows, NEAR) if len(rows) <= CODE_ROWS else (none, NEAR)
        parts = [self.vocabulary.find(part) for part in dict.fromkeys(self.analyzer.parts(code))]
        if not is_word or len(parts) < 3 or min(parts) < 0:  # two parts stand together by chance
            return none, NEAR
        parts.sort(key=self.postings.frequency)
        rows = self.postings.rows_of(parts[0])
        for part in parts[1:]:
            rows = rows[np.isin(rows, self.postings.rows_of(part), assume_unique=True)]
        return (rows, NEAR) if len(rows) <= CODE_ROWS else (none, NEAR)

    def _is_rare(self, number: int) -> bool:
        return self.postings.frequency(number) <= CODE_ROWS


def worth_of_codes(
    codes: Mapping[str, bool], rows_of: Callable[[str, bool], tuple[NDArray[Any], int]]
) -> dict[int, int]:
    """Return the rows that have model numbers, and what these are worth there together.

    Args:
        codes: The longest first, and whether each was typed as one word. One that is part of a longer one that was
            found is passed over.
        rows_of: Finds the rows of one, and what it is worth there.
    """
    worth: dict[int, int] = {}
    taken: list[str] = []
    for code, is_word in codes.items():
        if any(code in longer for longer in taken):
            continue
        rows, value = rows_of(code, is_word)
        if len(rows):
            taken.append(code)
            for row in rows.tolist():
                worth[row] = worth.get(row, 0) + value
    return worth


def field_texts(attributes: Attributes, name: str) -> Iterator[str]:
    """Yield the text of an attribute of each product, empty where it has none.

    Raises:
        ConfigError: If it is no text.
    """
    fields = {each.name for each in attributes.schema.fields}
    if name not in fields or isinstance(attributes.column(name), NumberColumn):
        texts = [each for each in sorted(fields) if not isinstance(attributes.column(each), NumberColumn)]
        raise ConfigError(f"lexical.fields must name attributes of text ({', '.join(texts) or 'none'}), got '{name}'")
    column = attributes.column(name)
    for row in range(attributes.count):
        value = column.value(row)
        yield " ".join(value) if isinstance(value, list) else "" if value is None else str(value)
