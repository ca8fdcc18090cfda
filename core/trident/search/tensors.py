"""The one home of tensor names, defaults and limits: ONNX graph, config.pbtxt, model.py and tests use these."""

from __future__ import annotations

QUERY = "query"  # BYTES (B, 1), search
TEXT = "text"  # BYTES (B, 1), embed
SIDE = "side"  # BYTES (B, 1), embed, optional: "query" or "product"
K = "k"  # INT32 (B, 1), search, optional, as all knobs
EF = "ef"  # INT32 (B, 1)
MIN_SCORE = "min_score"  # FP32 (B, 1)

INPUT_IDS = "input_ids"  # INT64 (B, L)
ATTENTION_MASK = "attention_mask"  # INT64 (B, L)
EMBEDDING = "embedding"  # FP32 (B, D), unit length

PRODUCT_ID = "product_id"  # BYTES (B, k), "" where there is no product
SCORE = "score"  # FP32 (B, k), cosine, best first, NaN where there is no product
TITLE = "title"  # BYTES (B, k), "" where there is no product
COUNT = "count"  # INT32 (B, 1), products found
GENERATION = "generation"  # BYTES (B, 1), id of the generation that answered

K_DEFAULT = 10
K_MAX = 1000
EF_MAX = 10_000
MAX_BATCH = 64  # rows a request; models put more together
# Optional inputs of search: whole numbers or not, lowest, highest, what they are; fields of SearchKnobs bear the names.
KNOBS = {
    K: (int, 1, K_MAX, ""),
    EF: (int, 1, EF_MAX, ""),
    MIN_SCORE: (float, -1, 1, ", a cosine"),
}
FOUND = (PRODUCT_ID, SCORE, TITLE, COUNT)  # what search answers with, beside the generation
QUERY_MAX_BYTES = 10_000  # longer text is a mistake, not a query
