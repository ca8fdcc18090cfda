"""The graphs of a generation by precision, and what makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.tokenization import TextTokenizer, TokenBatch
from trident_export.fp16 import convert_fp16
from trident_export.fp16_range import check_range
from trident_export.int8 import quantize_int8

CALIBRATION_TITLES = 256


def make_graph(name: str, source: Path, output: Path, calibration: Sequence[TokenBatch]) -> Path:
    """Write the graph of a lower precision beside the float32 one, and return its file.

    Raises:
        ExportError: If the graph cannot be converted, or float16 does not hold its values.
    """
    if name == "fp16":
        convert_fp16(source, output)
        check_range(source, output, calibration)
    else:
        quantize_int8(source, output, calibration)
    return output


def calibration_batches(tokenizer: TextTokenizer, titles: Sequence[str]) -> list[TokenBatch]:
    """Return batches of titles, spread over the catalogue, and of their first words, which are as long as queries."""
    chosen = titles[:: max(1, len(titles) // CALIBRATION_TITLES)][:CALIBRATION_TITLES]
    queries = [" ".join(title.split()[: 1 + number % 5]) for number, title in enumerate(chosen)]
    starts = range(0, len(chosen), 16)
    return [
        *(tokenizer.encode(chosen[start : start + 16], "product") for start in starts),
        *(tokenizer.encode(queries[start : start + 16], "query") for start in starts),
    ]
