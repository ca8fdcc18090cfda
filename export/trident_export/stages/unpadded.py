"""The stage that makes of a padded graph the one that a CPU serves, and proves that both embed alike."""

from __future__ import annotations

from pathlib import Path

from trident.encoder.encoder import OnnxEncoder
from trident.errors import ExportError, ModelError
from trident_export.graphs.unpad import convert_unpadded
from trident_export.judge.parity import SMALLEST_COSINE, SMALLEST_COSINE_INT8, Expected, ProbeTexts, prove_parity
from trident_export.judge.precisions import measure_speed
from trident_export.progress_rows import Stages

TEXTS = 64  # of each side


def export_unpadded(
    stages: Stages, precision: str, padded: OnnxEncoder, output: Path, probes: ProbeTexts, expected: Expected
) -> OnnxEncoder:
    """Return the encoder by its unpadded graph, or as it was where it has none that embeds alike.

    Args:
        stages: Takes the row of this stage.
        precision: Of the graph.
        padded: The encoder.
        output: The file to write.
        probes: Texts to compare with.
        expected: What they must be embedded as.
    """
    with stages.stage("unpadded" if precision == "fp32" else f"{precision} unpadded") as notes:
        try:
            operators = convert_unpadded(padded.path, output)
            unpadded = OnnxEncoder.load(output, threads=padded.threads, encoder_fingerprint=padded.encoder_fingerprint)
            parity = prove_parity(
                *(unpadded, expected, probes.first(TEXTS)),
                smallest_cosine=SMALLEST_COSINE_INT8 if precision == "int8" else SMALLEST_COSINE,
            )
        except (ExportError, ModelError) as error:
            output.unlink(missing_ok=True)
            notes.path, notes.proof = padded.path, f"not made, batches run with their padding: {error}"
            return padded
        notes.path = output
        cosine = f"cosine to {expected.name} >= {parity.smallest_cosine:.7f}"
        notes.proof = f"{operators} operators over tokens only, {cosine}"
        speed = measure_speed({"padded": padded, "unpadded": unpadded})
        notes.speed = ", ".join(
            f"{shape} {ms:.1f} ms (padded {speed['padded'][shape]:.1f})" for shape, ms in speed["unpadded"].items()
        )
    return unpadded
