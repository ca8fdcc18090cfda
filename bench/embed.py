"""Embeds the same titles with sentence-transformers and with Trident, in one process and one go.

    python bench/embed.py --generation generations/ID --catalogue ../shared/data/icecat/products.csv.gz

sentence-transformers' ``encode`` runs the generation's own merged model, on all cores, with its defaults. Prints one
JSON document: titles a second of each way, ratios, and the smallest cosine between embeddings. The ways take turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from trident.data.catalogue import read_catalogue
from trident.encoder.served_encoder import KERNELS, load_encoder
from trident.encoder.text import SLOT, TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.generation.generation import ENCODER_FOLDER, Generation
from trident_export.catalogue.embedding import EmbeddingStore, embed_catalogue

TITLES = 4000
ROUNDS = 3

Way = Callable[[list[str]], NDArray[np.float32]]


def ways(generation: Generation, threads: int, kernels: str) -> dict[str, Way]:
    """Return what embeds titles, by name."""
    folder = generation.folder / ENCODER_FOLDER
    library = SentenceTransformer(str(folder), device="cpu")
    contract = TextContract.load(folder)
    library.max_seq_length = contract.max_tokens("product")  # the folder's is that of the longer side
    tokenizer = TextTokenizer.load(folder, contract)
    before, after = contract.product_template.split(SLOT)

    def trident(precision: str) -> Way:
        graph = generation.cpu_graph(precision)
        encoder = load_encoder(
            graph, folder, tokenizer, fingerprint=generation.manifest.encoder_fingerprint, kernels=kernels
        )

        def embed(titles: list[str]) -> NDArray[np.float32]:
            with tempfile.TemporaryDirectory() as scratch:
                return np.array(
                    embed_catalogue(
                        titles,
                        tokenizer,
                        encoder,
                        EmbeddingStore(Path(scratch), ""),
                        threads=threads,
                        progress=lambda _: None,
                    )
                )

        return embed

    return {
        "sentence_transformers": lambda titles: library.encode([f"{before}{title}{after}" for title in titles]),
        **{f"trident_{precision}": trident(precision) for precision in shipped(generation)},
    }


def shipped(generation: Generation) -> list[str]:
    """Return the precisions that a catalogue can be embedded in here, float32 first."""
    return [precision for precision in ("fp32", "int8") if generation.graph(precision).is_file()]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generation", type=Path, required=True, help="folder of a generation")
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--titles", type=int, default=TITLES, help="spread over the catalogue")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kernels", choices=KERNELS, default="auto", help="off: the graphs embed")
    options = parser.parse_args()
    every = read_catalogue(options.catalogue).titles
    titles = every[:: max(1, len(every) // options.titles)][: options.titles]
    generation = Generation.load(options.generation)
    if "int8" not in shipped(generation):
        sys.stderr.write(f"not here: trident_int8: it was not shipped with generation {generation.id}\n")
    seconds: dict[str, list[float]] = {}
    found: dict[str, NDArray[np.float32]] = {}
    for number in range(ROUNDS):
        for name, embed in ways(generation, options.threads, options.kernels).items():
            embed(titles[:64])  # the first call of a library does work that is not the task's
            started = time.perf_counter()
            found[name] = embed(titles)
            seconds.setdefault(name, []).append(time.perf_counter() - started)
            sys.stderr.write(
                f"round {number + 1} of {ROUNDS}: {name} {len(titles) / seconds[name][-1]:,.0f} titles/s\n"
            )
    speed = {name: len(titles) / float(np.median(values)) for name, values in seconds.items()}
    base = "sentence_transformers"
    result = {
        "titles": len(titles),
        "titles_per_second": {name: round(value) for name, value in speed.items()},
        "ratio": {name: round(value / speed[base], 2) for name, value in speed.items() if name != base},
        "smallest_cosine": {
            name: round(float((vectors * found[base]).sum(1).min()), 6)
            for name, vectors in found.items()
            if name != base
        },
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
