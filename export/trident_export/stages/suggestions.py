"""The stage that gathers what may be suggested: queries that were asked often, and phrases of the catalogue."""

from __future__ import annotations

from trident.lexical.phrases import catalogue_phrases
from trident.lexical.suggestions import SUGGESTIONS_FILE, Suggestions, first_of, write_suggestions
from trident_export.job import AskedQueries, ExportJob

SHOWN = 3


def export_suggestions(job: ExportJob, asked: AskedQueries) -> None:
    """Write the suggestions, unless none are wanted."""
    config = job.config.suggestions
    if not config.made:
        return
    with job.stages.stage("suggestions") as notes:
        phrases = catalogue_phrases(job.catalogue.titles, min_titles=config.min_titles)
        kept = [each for each in (*asked.queries, *phrases) if not asked.blocked.blocks(each.text)]
        path = job.parts / SUGGESTIONS_FILE
        write_suggestions(path, kept)
        made = Suggestions(path)
        first = first_of(made, SHOWN)
        notes.path = path
        notes.proof = f"{len(made):,}, {made.count_of('query'):,} of them queries: {', '.join(first) or 'none'}"
