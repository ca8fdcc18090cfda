"""What embeds on a CPU: the kernels where they run the model, its graph on ONNX Runtime elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.graph_files import CODES_FILE, FP32_FILES, INT8_FILES
from trident.encoder.kernel_encoder import KernelEncoder, codes_fingerprint, kernels_fault
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ConfigError, ModelError

logger = logging.getLogger(__name__)

ServedEncoder = OnnxEncoder | KernelEncoder
KERNELS = ("auto", "on", "off")  # what the setting of that name may be


def load_encoder(
    graph: Path, merged: Path, tokenizer: TextTokenizer, *, fingerprint: str, threads: int = 1, kernels: str = "auto"
) -> ServedEncoder:
    """Return the encoder that a CPU serves.

    Args:
        graph: The ONNX file; the kernels compute what one of float32 or of 8 bits does, these from the codes beside it.
        merged: The folder of the merged model.
        tokenizer: Of the same encoder.
        fingerprint: Of weights, tokenizer and text contract, which the encoder must have.
        threads: Rows of a batch run on as many cores, >= 1.
        kernels: ``auto`` (where they can run the model), ``on`` (refuse where they cannot) or ``off``.

    Raises:
        ModelError: If the encoder is missing, damaged, of another fingerprint, or cannot run on what was asked for.
        ConfigError: If ``kernels`` is none of the three.
    """
    if kernels not in KERNELS:
        raise ConfigError(f"kernels must be {', '.join(KERNELS)}, got '{kernels}'")
    if not graph.is_file():  # it serves where the kernels cannot
        raise ModelError(f"encoder {graph} does not exist: export the model first")
    codes = graph.with_name(CODES_FILE) if graph.name in INT8_FILES else None
    fault = "they are switched off" if kernels == "off" else _fault(graph, merged, codes)
    if fault is not None:
        if kernels == "on":
            raise ModelError(f"the kernels must run {graph}, and cannot: {fault}")
        logger.debug("the encoder %s runs on ONNX Runtime, not on the kernels: %s", graph, fault)
        return OnnxEncoder.load(graph, threads=threads, encoder_fingerprint=fingerprint)
    found = encoder_fingerprint(part_fingerprints(merged, tokenizer))
    if found != fingerprint:
        raise ModelError(
            f"merged model {merged}, the tokenizer and the text contract beside it must be encoder "
            f"{fingerprint[:12]}, got {found[:12]}: export the model again"
        )
    if codes is not None and (found_in := codes_fingerprint(codes)) != fingerprint:
        raise ModelError(
            f"the integers of {codes} must be of encoder {fingerprint[:12]}, got "
            f"{'none' if found_in is None else found_in[:12]}: export the model again"
        )
    encoder = KernelEncoder.load(merged, tokenizer.contract, codes=codes, threads=threads)
    logger.debug("the encoder runs on the kernels (%s) in the place of %s", encoder.instructions, graph)
    return encoder


def _fault(graph: Path, merged: Path, codes: Path | None) -> str | None:
    if graph.name not in FP32_FILES | INT8_FILES:
        return f"they compute in float32 or 8 bits, {graph.name} does not"
    return kernels_fault(merged, codes)
