"""The one home of tensor names, defaults and limits: ONNX graph, config.pbtxt, model.py and tests use these."""

from __future__ import annotations

QUERY = "query"  # BYTES (B, 1), search
TEXT = "text"  # BYTES (B, 1), embed
SIDE = "side"  # BYTES (B, 1), embed, optional: "query" or "product"
K = "k"  # INT64 (B, 1), search, optional
EF = "ef"  # INT64 (B, 1), search, optional
MIN_SCORE = "min_score"  # FP32 (B, 1), search, optional
OPTIONS = "options"  # BYTES (B, 1), search, optional: one JSON object

PREFIX = "prefix"  # BYTES (B, 1), suggest: what was typed so far

DEADLINE = "deadline_unix_ms"  # request parameter: when the client stops waiting, milliseconds since 1970

INPUT_IDS = "input_ids"  # INT64 (B, L)
ATTENTION_MASK = "attention_mask"  # INT64 (B, L)
EMBEDDING = "embedding"  # FP32 (B, D), unit length

PRODUCT_ID = "product_id"  # BYTES (B, k), "" where there is no product
SCORE = "score"  # FP32 (B, k), cosine, best first, EMPTY_SCORE where there is no product
TITLE = "title"  # BYTES (B, k), "" where there is no product
COUNT = "count"  # INT32 (B, 1), products or suggestions found
DETAILS = "details"  # BYTES (B, 1), one JSON object, what else is to be said of an answer
SUGGESTION = "suggestion"  # BYTES (B, k), suggest, "" where there is none
SOURCE = "source"  # BYTES (B, k), suggest: "query" or "phrase"
GENERATION = "generation"  # BYTES (B, 1), id of the generation that answered

K_DEFAULT = 10
K_MAX = 1000
SUGGEST_K_MAX = 100
EF_MAX = 10_000
MAX_BATCH = 64  # rows a request; models put more together
QUERY_MAX_BYTES = 10_000  # longer text is a mistake, not a query
OPTIONS_MAX_BYTES = 100_000
EMPTY_SCORE = -2.0  # below every cosine; JSON has no NaN
