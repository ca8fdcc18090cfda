"""Holds a running server against PyTorch and exact search over real queries, and counts its encoder batches.

    trident serve --generations generations/ &
    python bench/served_equals_exact.py --generations generations/ --pairs ../shared/data/esci/pairs.csv

Prints one JSON document: mean top-10 overlap, largest difference of a score of a product that both found, and the mean
encoder batch under 24 concurrent clients, from the server's own metrics. Exits 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.pairs import read_pairs
from trident.encoder.text import TextContract
from trident.generation.generation import ENCODER_FOLDER, Generation, find_generation
from trident.index.exact_search import exact_search
from trident_client import SearchClient
from trident_train.model.encoder import Encoder

QUERIES = 200
K = 10
CLIENTS = 24
SEARCHES = 2400
TARGETS = {"overlap_at_10": 0.99, "mean_encoder_batch": 4.0}
LARGEST_DIFFERENCE = 1e-3


def compare(generation: Generation, queries: list[str], client: SearchClient) -> dict[str, float]:
    """Return the overlap and the largest score difference between the server and exact search in PyTorch."""
    encoder_folder = generation.folder / ENCODER_FOLDER
    encoder = Encoder.load(encoder_folder, TextContract.load(encoder_folder))
    catalogue = Catalogue.load(generation.repository / "retriever" / str(generation.serial) / CATALOGUE_FILE)
    vectors = encoder.embed(catalogue.titles, "product", progress=show_progress("products", len(catalogue)))  # (N, D)
    exact = exact_search(vectors, encoder.embed(queries, "query"), K)
    overlaps, differences = [], [0.0]
    for row, result in enumerate(client.search_many(queries, k=K)):
        expected = {
            catalogue.product_ids[product]: score
            for product, score in zip(exact.rows[row].tolist(), exact.scores[row].tolist(), strict=True)
        }
        found = {hit.product_id: hit.score for hit in result.hits}
        both = expected.keys() & found.keys()
        overlaps.append(len(both) / K)
        differences += [abs(expected[product] - found[product]) for product in both]
    return {"overlap_at_10": float(np.mean(overlaps)), "largest_score_difference": max(differences)}


def mean_encoder_batch(metrics_url: str, queries: list[str], client: SearchClient) -> float:
    """Return rows an execution of the encoder while 24 clients search."""
    before = encoder_counters(metrics_url)
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda number: client.search(queries[number % len(queries)]), range(SEARCHES)))
    after = encoder_counters(metrics_url)
    return (after[0] - before[0]) / (after[1] - before[1])


def encoder_counters(metrics_url: str) -> tuple[float, float]:
    """Return rows and executions of the encoder so far, from the Prometheus metrics."""
    with urllib.request.urlopen(f"http://{metrics_url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    pattern = r'^{}{{model="pipeline"[^}}]*}} ([\d.e+]+)$'
    names = ("nv_inference_count", "nv_inference_exec_count")
    rows, executions = (sum(map(float, re.findall(pattern.format(name), text, re.MULTILINE))) for name in names)
    return rows, executions


def show_progress(label: str, total: int):
    """Return a function that writes how far the work is to standard error."""
    done = 0

    def advance(items: int) -> None:
        nonlocal done
        done += items
        sys.stderr.write(f"\r{label}: {done:,} of {total:,}")

    return advance


def main() -> int:
    """Run both comparisons and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=Path, required=True)
    parser.add_argument("--generation", help="id; the newest by default")
    parser.add_argument("--pairs", type=Path, required=True, help="their queries are asked")
    parser.add_argument("--url", default="127.0.0.1:8001")
    parser.add_argument("--metrics-url", default="127.0.0.1:8002")
    options = parser.parse_args()
    generation = find_generation(options.generations, options.generation)
    queries = list(dict.fromkeys(read_pairs(options.pairs).queries))
    with SearchClient(options.url, timeout_s=60) as client:
        result = compare(generation, queries[:QUERIES], client)
        result["mean_encoder_batch"] = mean_encoder_batch(options.metrics_url, queries, client)
    result |= {"generation": generation.id, "queries": min(QUERIES, len(queries)), "clients": CLIENTS}
    sys.stdout.write(json.dumps(result) + "\n")
    missed = [name for name, target in TARGETS.items() if result[name] < target]
    return 1 if missed or result["largest_score_difference"] > LARGEST_DIFFERENCE else 0


if __name__ == "__main__":
    sys.exit(main())
