"""Puts merchandisers' rules into the knobs of the queries that they speak of."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trident.encoder.text import Side
from trident.errors import DataError
from trident.retrieval.live_retriever import LiveRetriever
from trident.retrieval.options import Page
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Retriever
from trident.rules.effects import CompiledRules
from trident.rules.published import RULES, RulesReader

logger = logging.getLogger(__name__)


class ServedRules:
    """The rules that hold, over the products of one retriever; call ``refresh`` before each batch.

    Args:
        retriever: Of a generation, or of a live catalogue.
    """

    def __init__(self, retriever: Retriever) -> None:
        """Read them, where this process is told of some."""
        path = os.environ.get(RULES)
        self._retriever = retriever
        self._reader = RulesReader(Path(path)) if path else None
        self._rules: CompiledRules | None = None
        self._told = ""  # why the file could not be read at the last batch
        self.refresh()

    def refresh(self) -> None:
        """Take over what was published since; what cannot be read leaves those that hold, and is logged.

        A damaged file is read again when it is another, one that the system does not give before each batch.
        """
        try:
            if self._reader is None or not self._reader.news():
                return
            rules = self._reader.read()
        except (DataError, OSError) as error:
            if self._reader is not None and (isinstance(error, OSError) or isinstance(error.__cause__, OSError)):
                self._reader.forget()
            if str(error) != self._told:
                logger.warning("the rules before go on holding: %s", error)
            self._told = str(error)
            return
        self._told = ""
        retriever = self._retriever
        compiled = CompiledRules(
            rules,
            retriever.product_ids,
            retriever.attributes.schema,
            may_come=isinstance(retriever, LiveRetriever) or not retriever.is_local,  # a store may be written to
            with_synonyms=retriever.words is not None,
            form=str if retriever.words is None else retriever.words.lexical.analyzer.form,
        )
        for line in compiled.faults:
            logger.warning("generation %s: without %s", self._retriever.identity.id, line)
        self._rules = compiled if len(rules) else None

    def applied(self, knobs: list[SearchKnobs], texts: Sequence[tuple[str, Side]]) -> list[SearchKnobs]:
        """Return the knobs of queries, those that rules speak of with what they do.

        Args:
            knobs: One a query.
            texts: The same queries.
        """
        if self._rules is None:
            return knobs
        return [self._with_rules(knob, text) for knob, (text, _) in zip(knobs, texts, strict=True)]

    def _with_rules(self, knob: SearchKnobs, text: str) -> SearchKnobs:
        assert self._rules is not None
        effect = self._rules.effect(text) if knob.rules else None
        if effect is None:
            return knob
        page = Page() if knob.page is None else knob.page
        return replace(knob, page=replace(page, effect=effect))
