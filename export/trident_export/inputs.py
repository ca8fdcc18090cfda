"""What an export reads, all of it checked before any work, and without PyTorch: a wrong path is told at once."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass

from trident.attributes.inference import infer, require_columns
from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.meeting import meet
from trident.data.pairs import Pairs, pairs_of_catalogue, read_pairs
from trident.encoder.base_model import find_model
from trident.generation.generation import TEST_PAIRS_FILE
from trident.lexical.logged_queries import BlockList, read_queries, suggested_queries
from trident.live.known import position_of
from trident.quality.gate import check_reason
from trident_export.catalogue.taken import read_record
from trident_export.job import AskedQueries, ExportOrder
from trident_export.judge.served_queries import served_queries
from trident_export.run_folder import (
    VALIDATION_PAIRS_FILE,
    base_model_of,
    require_run,
    require_stage,
    require_unseen,
    source_names,
)
from trident_export.stages.gate import require_comparable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportInputs:
    """The products, what the run holds out, and what people asked."""

    catalogue: Catalogue
    pairs: Pairs
    queries: list[str]  # of the pairs, each once, that a server takes
    asked: AskedQueries


def read_inputs(order: ExportOrder) -> ExportInputs:
    """Return what an export is made of.

    Raises:
        TridentError: If something of it cannot become a generation here.
    """
    check_reason(order.force)
    require_run(order.run)
    require_stage(order.run, "encoder", "the run")
    if order.reranker is not None:
        require_stage(order.reranker, "reranker", "the run of --reranker")
    for run in (order.run, order.reranker):
        if run is not None and (base := base_model_of(run)) is not None:
            find_model(base)
    position_of(order.output, order.holds)
    require_comparable(order.output, force=order.force)
    if order.vectors is not None:
        read_record(order.vectors)
    where = order.run / TEST_PAIRS_FILE
    pairs = read_pairs(where)
    if order.reranker is not None:
        chosen_by = order.run / VALIDATION_PAIRS_FILE
        held_out = pairs.queries + (read_pairs(chosen_by).queries if chosen_by.is_file() else [])
        require_unseen(order.run, order.reranker, held_out)
    asked = _asked_queries(order)
    catalogue = read_catalogue(order.catalogue, order.config.reading(), attributes=True)
    require_columns(catalogue.attributes, order.config.attributes, order.catalogue)
    infer(catalogue.attributes.select(list(order.config.attributes)), order.config.attributes, order.catalogue)
    pairs, own = pairs_of_catalogue(pairs, source_names(order.run), catalogue)
    if own:
        logger.info(
            "judged by the pairs of %s, whose products the catalogue %s has", " and ".join(own), order.catalogue
        )
    _tell_meeting(order, pairs, catalogue)
    return ExportInputs(catalogue, pairs, served_queries(pairs.queries, where), asked)


def _asked_queries(order: ExportOrder) -> AskedQueries:
    config = order.config.suggestions
    if not config.made:
        return AskedQueries()
    blocked = BlockList() if order.block_list is None else BlockList.read(order.block_list)
    if order.queries is None:
        return AskedQueries(blocked=blocked)
    return AskedQueries(list(suggested_queries(read_queries(order.queries), min_count=config.min_queries)), blocked)


def _tell_meeting(order: ExportOrder, pairs: Pairs, catalogue: Catalogue) -> None:
    """Refuse held-out pairs whose ids the catalogue spells otherwise, and say which products it lacks."""
    meeting = meet(itertools.compress(pairs.product_ids, pairs.labels.tolist()), catalogue)
    where = order.run / TEST_PAIRS_FILE
    if meeting.spelt:
        meeting.require(where, order.catalogue, "mend the ids of the pairs and train again, or those of the catalogue")
    if text := meeting.text(where, order.catalogue):
        logger.warning("%s", text)
