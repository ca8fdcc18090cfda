"""What a generation's second stage asks of the server that it is served by."""

from __future__ import annotations

from trident.errors import GenerationError
from trident.generation.generation import Generation, Identity
from trident.search.second_stage import CACHED_ANSWERS
from trident.server.models import ONE_PROCESS


def require_second_stage(generation: Generation, *, variant: str, cache: bool) -> None:
    """Refuse a server that would answer otherwise than the generation does.

    Raises:
        GenerationError: Naming the option.
    """
    identity = Identity.load(generation.version_folder("pipeline"))
    if identity.rerank and variant != ONE_PROCESS:
        raise GenerationError(
            f"generation {generation.id} reranks {identity.rerank} candidates by default, which only --variant "
            f"{ONE_PROCESS} does, got {variant}: serve it so, or export with --set rerank=0"
        )
    if cache and identity.rerank and identity.rerank_budget_ms is not None:
        raise GenerationError(
            f"generation {generation.id} has a budget of {identity.rerank_budget_ms:g} ms for its second stage, which "
            "--cache excludes: a cut answer would be kept for good; leave --cache out, or export without the budget"
        )


def environment(*, cache: bool) -> dict[str, str]:
    """Return the variable that tells the served models whether their answers are cached."""
    return {CACHED_ANSWERS: "1" if cache else ""}
