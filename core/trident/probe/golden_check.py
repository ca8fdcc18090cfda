"""Does a running server give the answers that its generation gave when it was exported?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ServerError
from trident.generation.generation import Generation, generation_by_id
from trident.generation.golden import GoldenAnswer, golden_differences, score_tolerance
from trident.generation.state import ServingFolder
from trident.journal.golden_mark import golden_request
from trident.probe.served_answers import served_answers

SWITCH_S = 10.0  # a promotion writes its state this soon after the switch
POLL_S = 0.2
PROBE = "trident verify"  # a query, to learn who answers
SHOWN_DIFFERENCES = 3
HALF_PRECISION = ("tensorrt", "torch")  # variants of the encoder
VECTORS_ONLY = ("stages", "tensorrt", "torch")  # variants whose retriever sees no words
HALF_TOLERANCE = 0.01  # of a cosine there


@dataclass(frozen=True, kw_only=True)
class GoldenReport:
    """The outcome of asking the golden queries."""

    generation: str  # id that had to answer
    asked: int  # queries
    differences: tuple[str, ...]  # a line for each fault; none when every answer is right
    others: bool = False  # whether another generation, or another version, answered

    @property
    def passed(self) -> bool:
        """Whether every answer is right."""
        return not self.differences


def check_golden(url: str, generation: Generation, *, model: str = "search", variant: str = "cpu") -> GoldenReport:
    """Return how a server's answers to the golden queries compare with the stored ones.

    Args:
        url: ``host:port`` of the server's HTTP.
        generation: The one that has to answer.
        model: The ensemble to ask.
        variant: Of the server: what computes in float16, or in 8 bits, may be further from the stored scores.

    Raises:
        GenerationError: If the golden answers are missing or damaged.
        ServerError: If nobody answers, or the server refuses.
    """
    expected = [answer for answer in generation.golden() if variant not in VECTORS_ONLY or answer.by_vectors]
    mark = golden_request(generation.folder.parent)
    served = served_answers(url, expected, model=model, request_id=mark)
    differences, others = [], True
    if served.generations != (generation.id,):
        differences.append(
            f"every answer must come from generation {generation.id}, got answers of {', '.join(served.generations)}"
        )
    elif model == "search" and served.versions != (generation.serial,):
        differences.append(
            f"generation {generation.id} must answer as version {generation.serial} of '{model}', got version "
            f"{', '.join(map(str, served.versions))}"
        )
    else:
        tolerance = HALF_TOLERANCE if variant in HALF_PRECISION else score_tolerance(generation.served_precision)
        differences, others = golden_differences(expected, served.answers, tolerance=tolerance), False
    return GoldenReport(generation=generation.id, asked=len(expected), differences=tuple(differences), others=others)


def fault_of(report: GoldenReport, *, when: str) -> str | None:
    """Return why a generation must not serve, None when it may: the rule of every start and every switch.

    Args:
        report: Of its golden queries.
        when: They were asked, such as "before the switch".
    """
    if report.passed:
        return None
    more = len(report.differences) - SHOWN_DIFFERENCES
    shown = "; ".join(report.differences[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")
    return (
        f"generation {report.generation} must answer its {report.asked} golden queries as stored, got {when}: {shown}"
    )


def check_serving(generations: Path, url: str, *, switch_s: float = SWITCH_S) -> GoldenReport:
    """Return how the answers of the server on a port compare with those of the generation that has to serve there.

    That is the one of ``state.json``; without that file, as for a server of another machine, the one that answers.
    While another one answers, as in the middle of a promotion, it is asked again for a while; after a wrong answer not.

    Args:
        generations: The folder of generations.
        url: ``host:port`` of the server's HTTP.
        switch_s: How long to wait for a promotion to write its state.

    Raises:
        GenerationError: If the generation or its golden answers are missing or damaged.
        ServerError: If nobody answers, or the server refuses.
    """
    folder = ServingFolder.of(generations, port_of(url))
    deadline = time.monotonic() + switch_s
    while True:
        state = folder.state()
        expected = answering_generation(url) if state is None else state.serving
        record = folder.server()
        variant = "cpu" if record is None else record.variant
        report = check_golden(url, generation_by_id(generations, expected), variant=variant)
        if not report.others or time.monotonic() >= deadline:
            return report
        time.sleep(POLL_S)  # perhaps in the middle of a promotion, between the switch and the state


def check_with(check: Callable[[], GoldenReport], more: Callable[[], None]) -> GoldenReport:
    """Return what a check found; where it passed, only once something more did not raise.

    Raises:
        TridentError: As either does.
    """
    report = check()
    if report.passed:
        more()
    return report


def answering_generation(url: str) -> str:
    """Return the id of the generation that a server's answers come from.

    Raises:
        ServerError: If nobody answers, or the server refuses.
    """
    found = served_answers(url, [GoldenAnswer(query=PROBE, product_ids=[], scores=[])], k=1).generations
    return found[0]


def port_of(url: str) -> int:
    """Return the port of ``host:port``.

    Raises:
        ServerError: If there is none.
    """
    port = url.rpartition(":")[2]
    if not port.isascii() or not port.isdigit():
        raise ServerError(f"--url must be HOST:PORT of the server's HTTP, such as 127.0.0.1:8000, got '{url}'")
    return int(port)
