"""The stages that prove what the kernels compute, which a CPU serves with where it can: in float32, and in 8 bits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.graph_files import CODES_FILE, GRAPH_FILES
from trident.encoder.kernel_encoder import KernelEncoder, kernels_fault
from trident.encoder.served_encoder import ServedEncoder
from trident.errors import ExportError, ModelError
from trident.ranking.pair_scorer import PAIR_CODES_FILE, PREFIX, KernelScorer, reranker_fault
from trident_export.graphs.int8_codes import write_codes
from trident_export.job import ExportJob
from trident_export.judge.parity import Expected, ProbeTexts, prove_parity
from trident_export.judge.precisions import Reference, judge_precision, measure_speed
from trident_export.judge.rerank_quality import PairReference

TEXTS = 64  # of each side
PAIRS = 64  # that are scored alone and together


def prove_kernels(job: ExportJob, graph: OnnxEncoder, probes: ProbeTexts, expected: Expected) -> None:
    """Hold the kernels of each instruction set that this processor has against PyTorch; nothing is written.

    Args:
        job: The export, with a merged model.
        graph: The same encoder in float32.
        probes: Texts to compare with.
        expected: What PyTorch embeds them as.

    Raises:
        ExportError: If they embed a text otherwise.
        ModelError: If they cannot run what they say they can.
    """
    with job.stages.stage("kernels") as notes:
        fault = kernels_fault(job.merged)
        if fault is not None:
            notes.proof = f"not used, the graph is served: {fault}"
            return
        import trident_kernels  # here: there is a fault where it is not installed

        encoders = [
            KernelEncoder.load(job.merged, probes.tokenizer.contract, threads=graph.threads, instructions=name)
            for name in trident_kernels.instructions()  # the fastest first, which is what serves
        ]
        cosines = []
        for kernels in encoders:
            parity = prove_parity(
                *(kernels, expected, probes.first(TEXTS)),
                what=f"what the kernels of {kernels.instructions} compute",
            )
            cosines.append(f"{parity.smallest_cosine:.7f} ({kernels.instructions})")
        notes.proof = f"cosine to {expected.name} >= {', '.join(cosines)}"
        notes.speed = _speed(graph, encoders[0])


def export_codes(job: ExportJob, graph: Path, unpadded: OnnxEncoder, reference: Reference) -> None:
    """Write the integers of the 8-bit graph for the kernels, where these find and rank what float32 does.

    They are judged as the graph was: sums in another order round to other integers, so that embeddings are as near to
    those of float32 as the graph's are, but not the same. The file is not there afterwards where the kernels cannot run
    it, or fail.

    Args:
        job: The export, with a merged model; its configuration has the targets, and threads.
        graph: The padded 8-bit graph.
        unpadded: The 8-bit encoder that is served without them.
        reference: What float32 finds.
    """
    contract, output, config = reference.tokenizer.contract, job.parts / CODES_FILE, job.config

    def make() -> Path:
        write_codes(graph, job.merged, output)
        return output

    def load(codes: Path) -> ServedEncoder:
        return KernelEncoder.load(job.merged, contract, codes=codes, threads=config.threads)

    with job.stages.stage("int8 kernels") as notes:
        fault = kernels_fault(job.merged, graph)  # of 8 bits: the integers are made of the graph's
        if fault is not None:
            notes.proof = f"not made, the graph is served: {fault}"
            return
        proof = judge_precision(
            *("int8", make, reference),
            load=load,
            overlap_target=config.precision.overlap_target,
        )
        notes.path, notes.proof = output, proof.line()
        if proof.shipped:
            notes.speed = _speed(unpadded, load(output))
        else:
            output.unlink(missing_ok=True)


def export_pair_codes(job: ExportJob, folder: Path, reference: PairReference) -> KernelScorer | None:
    """Write the integers of the 8-bit graph for the kernels where they rank as float32 does; return their scorer.

    The file is not there afterwards where the kernels cannot run it, or fail: None.

    Args:
        job: The export.
        folder: Of the reranker, with the padded 8-bit graph.
        reference: What float32 says.

    Raises:
        ExportError: If a pair's logit depends on what else is in its batch.
    """
    graph, codes = folder / GRAPH_FILES["int8"], folder / PAIR_CODES_FILE
    with job.stages.stage("reranker int8 kernels") as notes:
        fault = reranker_fault(folder, graph)  # of 8 bits: the integers are made of the graph's
        if fault is not None:
            notes.proof = f"not made: {fault}"
            return None
        codes.parent.mkdir()
        try:
            write_codes(graph, folder, codes, prefix=PREFIX)
            scorer = KernelScorer.load(folder, codes=codes, threads=job.config.threads)
            kept, notes.proof = reference.judged(scorer, job.config.precision.overlap_target)
        except (ExportError, ModelError) as error:
            kept, notes.proof = False, f"not shipped: {error}"
        if not kept:
            shutil.rmtree(codes.parent)
            return None
        rows = reference.found.rows(reference.tokenizer, 4)[:PAIRS]
        alone = np.concatenate([scorer.score([row]) for row in rows])
        if not np.array_equal(alone, scorer.score(rows)):
            raise ExportError("the 8-bit kernels must give a pair the same logit alone and in a batch, to the last bit")
        notes.path = codes
        notes.proof += "; logits do not differ from batch to batch"
    return scorer


def _speed(graph: OnnxEncoder, kernels: ServedEncoder) -> str:
    speed = measure_speed({"graph": graph, "kernels": kernels})
    return ", ".join(
        f"{shape} {ms:.1f} ms (graph {speed['graph'][shape]:.1f})" for shape, ms in speed["kernels"].items()
    )
