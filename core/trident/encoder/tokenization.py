"""Texts to token ids, through the text contract; the one tokenizer of training, export and serving."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trident.encoder.text import Side, TextContract
from trident.errors import ModelError

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class TokenBatch:
    """Padded token ids of a batch.

    ``input_ids`` is (B, L) int64, padded with the tokenizer's padding id; ``attention_mask`` is (B, L) int64, 1 for a
    token and 0 for padding.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]


TOGETHER = 1024  # texts whose tokens are in memory at once, with all that a tokenizer says of them
LONG_TOKEN = 8  # characters: a text of more for each token that is kept is longer than that, as a rule
BEGINNINGS = "\u2581\u0120"  # what SentencePiece and byte-level BPE put before a word
CONTINUED = "##"  # what WordPiece puts before what is no beginning


class TextTokenizer:
    """A fast tokenizer bound to a text contract.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``; its own truncation and padding are switched off.
        contract: Templates and maximum lengths.
        pad_id: The id that pads a batch.
    """

    def __init__(self, tokenizer: Tokenizer, contract: TextContract, *, pad_id: int) -> None:
        """Keep the tokenizer; see the class for the arguments."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)
        self.contract = contract
        self.pad_id = pad_id

    @classmethod
    def load(cls, folder: Path, contract: TextContract) -> TextTokenizer:
        """Read ``tokenizer.json`` of a model folder.

        Raises:
            ModelError: If the file is missing or cannot be parsed, the tokenizer has no padding token, or it has more
                tokens than the model of the folder.
        """
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            raise ModelError(
                f"model folder {folder} has no {TOKENIZER_FILE}: save a fast tokenizer there, "
                f"for example AutoTokenizer.from_pretrained(...).save_pretrained({str(folder)!r})"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises bare Exception for a file it cannot parse
            raise ModelError(f"tokenizer {path} cannot be parsed: {error}") from error
        _require_vocabulary(tokenizer, path)
        return cls(tokenizer, contract, pad_id=_padding_id(tokenizer, path))

    def token_ids(self, texts: Sequence[str], side: Side) -> list[list[int]]:
        """Return the token ids of raw texts, cut off at the contract's length, special tokens included, not padded.

        Raises:
            DataError: If a text is empty.
        """
        rendered = [self.contract.render(text, side) for text in texts]
        limit = self.contract.max_tokens(side)
        ids: list[list[int]] = []
        for start in range(0, len(rendered), TOGETHER):
            ids += self._ids(rendered[start : start + TOGETHER], limit)
        return ids

    def _ids(self, rendered: list[str], limit: int) -> list[list[int]]:
        """Return the ids of some texts; those that are long by their characters are not tokenized whole first."""
        ids: list[list[int]] = [[]] * len(rendered)
        long = [number for number, text in enumerate(rendered) if len(text) > limit * LONG_TOKEN]
        short = [number for number, text in enumerate(rendered) if len(text) <= limit * LONG_TOKEN]
        for number, row in zip(short, self._whole([rendered[number] for number in short]), strict=True):
            ids[number] = row
        long += [number for number in short if len(ids[number]) > limit]
        for number, row in zip(long, self._cut_off([rendered[number] for number in long], limit), strict=True):
            ids[number] = row
        return ids

    def _whole(self, rendered: list[str]) -> list[list[int]]:
        if len(rendered) == 1:  # no threads for a lone text
            return [self._tokenizer.encode(rendered[0]).ids]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(rendered)]  # keeps no offsets

    def _cut_off(self, rendered: list[str], limit: int) -> list[list[int]]:
        """Return ids that are cut off one by one: short batches never pay for it, and no state is left behind."""
        encodings = self._tokenizer.encode_batch(rendered, add_special_tokens=False) if rendered else []
        for encoding in encodings:
            encoding.truncate(limit - self._special_tokens)
        return [self._tokenizer.post_process(encoding).ids for encoding in encodings]

    def token_ids_each(self, asked: Sequence[tuple[str, Side]]) -> list[list[int]]:
        """Return what ``token_ids`` gives for each text and its side; the texts of a side are tokenized together.

        Raises:
            DataError: If a text is empty.
        """
        ids: list[list[int]] = [[]] * len(asked)
        for wanted in sorted({side for _, side in asked}):
            places = [place for place, (_, side) in enumerate(asked) if side == wanted]
            for place, row in zip(places, self.token_ids([asked[place][0] for place in places], wanted), strict=True):
                ids[place] = row
        return ids

    def encode(self, texts: Sequence[str], side: Side, *, length: int | None = None) -> TokenBatch:
        """Return the padded batch of raw texts.

        Args:
            texts: B queries or B product titles.
            side: Which template and length to use.
            length: Pad to this many tokens (a fixed query length for TensorRT); None pads to the longest row.

        Raises:
            DataError: If a text is empty.
        """
        return pad(self.token_ids(texts, side), pad_id=self.pad_id, length=length)

    def whole_words(self) -> list[str]:
        """Return the words that are one token where they begin a text: words that people write."""
        return [
            token.lstrip(BEGINNINGS)
            for token in self._tokenizer.get_vocab()
            if not token.startswith(CONTINUED) and token.lstrip(BEGINNINGS).isalpha()
        ]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's definition, hexadecimal."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()


def unpadded(input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> list[list[int]]:
    """Return the token ids of each row of a padded batch, both (B, L), without the padding at their ends."""
    lengths = attention_mask.sum(axis=1).tolist()
    return [ids[:length] for ids, length in zip(input_ids.tolist(), lengths, strict=True)]


def pad(rows: Sequence[Sequence[int]], *, pad_id: int, length: int | None = None) -> TokenBatch:
    """Return B rows of token ids as one batch (B, L), L being ``length`` or that of the longest row.

    Raises:
        ValueError: If a row is longer than ``length``.
    """
    longest = max((len(row) for row in rows), default=0)
    if length is not None and longest > length:
        raise ValueError(f"a row of {longest} tokens does not fit a length of {length}")
    input_ids = np.full((len(rows), length or longest), pad_id, dtype=np.int64)  # (B, L)
    attention_mask = np.zeros_like(input_ids)  # (B, L)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = row
        attention_mask[number, : len(row)] = 1
    return TokenBatch(input_ids, attention_mask)


def _require_vocabulary(tokenizer: Tokenizer, path: Path) -> None:
    """Hold the tokenizer against the model beside it: a token id past its embedding ends in an error, or in garbage."""
    try:
        size = json.loads((path.parent / "config.json").read_text(encoding="utf-8")).get("vocab_size")
    except FileNotFoundError:  # a run's tokenizer lies beside its adapter
        return
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"model configuration {path.parent / 'config.json'} cannot be read: {error}") from error
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    token = max(vocabulary, key=vocabulary.__getitem__)
    if isinstance(size, int) and vocabulary[token] >= size:
        raise ModelError(
            f"tokenizer {path} must fit the {size:,} embeddings of the model (vocab_size in config.json), got token "
            f"{token!r} with id {vocabulary[token]}: take the tokenizer that belongs to the weights"
        )


def _padding_id(tokenizer: Tokenizer, path: Path) -> int:
    for token in ("[PAD]", "<pad>", "<|endoftext|>"):
        token_id = tokenizer.token_to_id(token)
        if token_id is not None:
            return int(token_id)
    raise ModelError(f"tokenizer {path} has no padding token ([PAD] or <pad>): add one")
