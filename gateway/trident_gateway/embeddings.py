"""Embeddings as the openai SDK asks for them and reads them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident_client import InvalidRequestError
from trident_gateway.forms import Embedding, Embeddings, EmbeddingsForm, Usage


def texts_of(form: EmbeddingsForm, most: int) -> list[str]:
    """Return the texts of a request.

    Raises:
        InvalidRequestError: If they are token ids, too many, or no texts.
    """
    given: list[Any] = [form.input] if isinstance(form.input, str) else form.input
    if any(isinstance(each, int | list) for each in given):
        raise InvalidRequestError(
            "input must be texts, got token ids, which belong to another model's tokenizer: pass texts; with "
            "langchain-openai that is OpenAIEmbeddings(check_embedding_ctx_length=False)"
        )
    if len(given) > most:
        raise InvalidRequestError(f"input must have at most {most:,} texts, got {len(given):,}")
    return given


def answer_of(form: EmbeddingsForm, texts: list[str], vectors: NDArray[np.float32]) -> Embeddings:
    """Return the answer in the format asked for.

    Raises:
        InvalidRequestError: If other dimensions were asked for than there are.
    """
    if form.dimensions not in (None, vectors.shape[1]):
        raise InvalidRequestError(f"dimensions must be {vectors.shape[1]}, those of the model, got {form.dimensions}")
    words = sum(len(text.split()) for text in texts)
    return Embeddings(
        data=[
            Embedding(index=row, embedding=_written(vector, form.encoding_format)) for row, vector in enumerate(vectors)
        ],
        model=form.model,
        usage=Usage(prompt_tokens=words, total_tokens=words),
    )


def _written(vector: NDArray[np.float32], encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
