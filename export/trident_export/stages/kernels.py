"""The stages that prove what the kernels compute, which a CPU serves with where it can: in float32, and in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.kernel_encoder import KernelEncoder, kernels_fault
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident_export.config import ExportConfig
from trident_export.graphs.int8_codes import write_codes
from trident_export.judge.parity import prove_parity
from trident_export.judge.precisions import Reference, judge_precision, measure_speed
from trident_export.progress_rows import Stages

TEXTS = 64  # of each side


def prove_kernels(
    stages: Stages,
    merged: Path,
    graph: OnnxEncoder,
    tokenizer: TextTokenizer,
    queries: Sequence[str],
    titles: Sequence[str],
) -> None:
    """Hold the kernels of each instruction set that this processor has against the graph; nothing is written.

    Args:
        stages: Takes the row of this stage.
        merged: The folder of the merged model.
        graph: The same encoder in float32.
        tokenizer: Of the same export.
        queries: Texts to compare with.
        titles: The same.

    Raises:
        ExportError: If they embed a text otherwise.
        ModelError: If they cannot run what they say they can.
    """
    with stages.stage("kernels") as notes:
        fault = kernels_fault(merged)
        if fault is not None:
            notes.proof = f"not used, the graph is served: {fault}"
            return
        import trident_kernels  # here: there is a fault where it is not installed

        encoders = [
            KernelEncoder.load(merged, tokenizer.contract, threads=graph.threads, instructions=name)
            for name in trident_kernels.instructions()  # the fastest first, which is what serves
        ]
        cosines = []
        for kernels in encoders:
            parity = prove_parity(
                *(kernels, graph.embed, tokenizer, queries[:TEXTS], titles[:TEXTS]),
                what=f"what the kernels of {kernels.instructions} compute",
                reference="the graph",
            )
            cosines.append(f"{parity.smallest_cosine:.7f} ({kernels.instructions})")
        notes.proof = f"cosine to the graph >= {', '.join(cosines)}"
        notes.speed = _speed(graph, encoders[0])


def export_codes(
    stages: Stages,
    graph: Path,
    merged: Path,
    output: Path,
    unpadded: OnnxEncoder,
    reference: Reference,
    config: ExportConfig,
) -> None:
    """Write the integers of the 8-bit graph for the kernels, where these find and rank what float32 does.

    They are judged as the graph was: sums in another order round to other integers, so that embeddings are as near to
    those of float32 as the graph's are, but not the same.

    Args:
        stages: Takes the row of this stage.
        graph: The padded 8-bit graph.
        merged: The folder of the merged model.
        output: The file to write; not there afterwards where the kernels cannot run it, or fail.
        unpadded: The 8-bit encoder that is served without them.
        reference: What float32 finds.
        config: The targets, and threads.
    """
    contract = reference.tokenizer.contract

    def make() -> Path:
        write_codes(graph, merged, output)
        return output

    def load(codes: Path) -> ServedEncoder:
        return KernelEncoder.load(merged, contract, codes=codes, threads=config.threads)

    with stages.stage("int8 kernels") as notes:
        proof = judge_precision(
            *("int8", make, reference),
            load=load,
            overlap_target=config.precision.overlap_target,
            quality_tolerance=config.precision.quality_tolerance,
        )
        notes.path, notes.proof = output, proof.line()
        if proof.shipped:
            notes.speed = _speed(unpadded, load(output))
        else:
            output.unlink(missing_ok=True)


def _speed(graph: OnnxEncoder, kernels: ServedEncoder) -> str:
    speed = measure_speed({"graph": graph, "kernels": kernels})
    return ", ".join(
        f"{shape} {ms:.1f} ms (graph {speed['graph'][shape]:.1f})" for shape, ms in speed["kernels"].items()
    )
