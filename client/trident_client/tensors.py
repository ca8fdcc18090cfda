"""Tensor names and limits of the server; a test holds them equal to the server's own."""

from __future__ import annotations

QUERY = "query"
TEXT = "text"
SIDE = "side"
K = "k"
EF = "ef"
MIN_SCORE = "min_score"
EMBEDDING = "embedding"
PRODUCT_ID = "product_id"
SCORE = "score"
TITLE = "title"
COUNT = "count"
GENERATION = "generation"

K_DEFAULT = 10
K_MAX = 1000
EF_MAX = 10_000
# Optional inputs of search: whole numbers or not, lowest, highest, what they are; arguments bear the names.
KNOBS = {
    K: (int, 1, K_MAX, ""),
    EF: (int, 1, EF_MAX, ""),
    MIN_SCORE: (float, -1, 1, ", a cosine"),
}
FOUND = (PRODUCT_ID, SCORE, TITLE, COUNT)  # what search answers with, beside the generation
MAX_BATCH = 64  # rows a request; longer lists are sent in several
