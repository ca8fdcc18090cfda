"""The graphs of a generation by precision, and what makes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from trident.encoder.graph_files import data_file
from trident.encoder.tokenization import TextTokenizer, TokenBatch
from trident.errors import ExportError, first_line
from trident_export.graphs.feeds import Batch
from trident_export.graphs.fp16 import convert_fp16
from trident_export.graphs.fp16_range import check_range
from trident_export.graphs.int8 import quantize_int8

CALIBRATION_TITLES = 256


def make_graph(
    name: str,
    source: Path,
    output: Path,
    calibration: Sequence[Batch],
    *,
    probes: Iterable[Batch] = (),
    threads: int = 1,
) -> Path:
    """Write the graph of a lower precision beside the float32 one, and return its file.

    Args:
        name: Of the precision.
        source: The float32 graph.
        output: The file to write.
        calibration: Batches of real texts.
        probes: More batches whose values float16 must hold.
        threads: Of ONNX Runtime, while the sizes of activations are looked at.

    Raises:
        ExportError: If the graph cannot be converted, or float16 does not hold its values.
    """
    if data_file(source).is_file():
        raise ExportError(f"{name} is made of graphs of up to 2 GiB, {source.name} is larger: it is served in fp32")
    try:
        if name == "fp16":
            convert_fp16(source, output)
            check_range(source, output, itertools.chain(calibration, probes), threads=threads)
        else:
            quantize_int8(source, output, calibration, threads=threads)
    except ExportError:
        raise
    except Exception as error:  # those of onnx and of ONNX Runtime share no base class
        raise ExportError(f"{name} cannot be made of {source.name}: {first_line(error)}") from error
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
