"""Tensor names and limits of the server; a test holds them equal to the server's own."""

from __future__ import annotations

QUERY = "query"
TEXT = "text"
SIDE = "side"
K = "k"
EF = "ef"
MIN_SCORE = "min_score"
OPTIONS = "options"
PREFIX = "prefix"
DEADLINE = "deadline_unix_ms"  # a request parameter
EMBEDDING = "embedding"
PRODUCT_ID = "product_id"
SCORE = "score"
TITLE = "title"
COUNT = "count"
DETAILS = "details"
SUGGESTION = "suggestion"
SOURCE = "source"
GENERATION = "generation"

K_DEFAULT = 10
K_MAX = 1000
SUGGEST_K_MAX = 100
EF_MAX = 10_000
MAX_BATCH = 64  # rows a request; longer lists are sent in several
