"""The stage that gathers what may be suggested: queries that were asked often, and phrases of the catalogue."""

from __future__ import annotations

from trident.lexical.logged_queries import BlockList, read_queries, suggested_queries
from trident.lexical.phrases import catalogue_phrases
from trident.lexical.suggestions import SUGGESTIONS_FILE, Suggested, Suggestions, first_of, write_suggestions
from trident_export.job import ExportJob

SHOWN = 3


def export_suggestions(job: ExportJob) -> None:
    """Write the suggestions, unless none are wanted.

    Raises:
        DataError: If the queries or the block list cannot be read.
    """
    config, order = job.config.suggestions, job.order
    if not config.made:
        return
    with job.stages.stage("suggestions") as notes:
        blocked = BlockList() if order.block_list is None else BlockList.read(order.block_list)
        queries: list[Suggested] = []
        if order.queries is not None:
            queries = list(suggested_queries(read_queries(order.queries), min_count=config.min_queries))
        phrases = catalogue_phrases(job.catalogue.titles, min_titles=config.min_titles)
        kept = [each for each in (*queries, *phrases) if not blocked.blocks(each.text)]
        path = job.parts / SUGGESTIONS_FILE
        count = write_suggestions(path, kept)
        asked = sum(each.source == "query" for each in kept)
        first = first_of(Suggestions(path), SHOWN)
        notes.path = path
        notes.proof = f"{count:,}, {asked:,} of them queries: {', '.join(first) or 'none'}"
