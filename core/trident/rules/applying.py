"""Checks rules against the generations that they will hold for, and publishes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trident.attributes.schema import SCHEMA_FILE, Schema
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.errors import DataError, ServerError
from trident.generation.generation import Generation, find_generation, generation_by_id
from trident.generation.state import ServerRecord, ServingFolder, serving_folders
from trident.ranking.settings import DENSE, RANKING_FILE, RankingSettings
from trident.rules.checking import contradictions, named_products, unknown_fields, unknown_products
from trident.rules.published import PublishedRules, published_path, write_published
from trident.rules.ruleset import RuleSet, RulesFile

ONE_PROCESS = "cpu"  # the variant whose model sees the query; see trident.server.models


@dataclass(frozen=True)
class Checked:
    """What is wrong with rules, a line each: ``faults`` keep them from being applied, ``notes`` do not."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]


def check_rules(found: RulesFile, generation: Generation | None) -> Checked:
    """Return what is wrong with rules.

    A product that is not there is a note: products come and go, and a rule waits for its product.

    Args:
        found: A file's.
        generation: That must have the fields, and should have the products; None: only the rules are looked at.

    Raises:
        TridentError: If the generation's catalogue is damaged.
    """
    faults = [*found.faults, *contradictions(found.rules)]
    if generation is None:
        return Checked(tuple(faults), ())
    folder = generation.version_folder("retriever")
    faults += unknown_fields(found.rules, Schema.load(folder / SCHEMA_FILE))
    named = named_products(found.rules)
    there = Catalogue.load(folder / CATALOGUE_FILE).texts[0].rows_of(named) if named else {}
    of = f" (generation {generation.id})"
    notes = [*unknown_products(found.rules, there), *_idle_synonyms(found.rules, folder)]
    return Checked(tuple(faults), tuple(f"{line}{of}" for line in notes))


def _idle_synonyms(rules: RuleSet, folder: Path) -> list[str]:
    """Return a line where a generation looks for no words, and so for no synonyms.

    Args:
        rules: Of a file.
        folder: Of its retriever.

    Raises:
        GenerationError: If its settings are damaged.
    """
    if not rules.synonyms:
        return []
    settings = RankingSettings.load(folder) if (folder / RANKING_FILE).is_file() else DENSE
    if settings.mode == "lexical" or (settings.mode == "hybrid" and settings.weight != 0):
        return []
    why = f"mode {settings.mode}" + (", weight 0 for words" if settings.mode == "hybrid" else "")
    return [f"synonyms change nothing where a search names no mode that looks for words: vectors alone rank, {why}"]


def serving_generation(generations: Path) -> Generation:
    """Return the generation that a running server answers with; the newest where none runs.

    Raises:
        GenerationError: If there is none.
    """
    for folder, _ in _running(generations):
        state = folder.state()
        if state is not None:
            return generation_by_id(generations, state.serving)
    return find_generation(generations)


def apply_rules(generations: Path, found: RulesFile, source: str) -> tuple[PublishedRules, Checked]:
    """Publish rules: what is asked from now on is answered by them, in every instance of every server of the folder.

    Args:
        generations: The folder of generations.
        found: A file's.
        source: Its name.

    Raises:
        DataError: If they are wrong; the old ones hold then.
        ServerError: If a running server could not follow.
        OSError: If they cannot be written.
    """
    for folder, record in _running(generations):
        if (why := _cannot_follow(record)) is not None:
            raise ServerError(
                f"rules of {generations} are not applied: the server on HTTP port {folder.path.name} {why}"
            )
    checked = check_rules(found, serving_generation(generations))
    if checked.faults:
        more = f", and {len(checked.faults) - 1} more: see trident rules check" if len(checked.faults) > 1 else ""
        raise DataError(f"rules {source} are not applied: {checked.faults[0]}{more}")
    return write_published(published_path(generations), found.rules, source), checked


def require_answered(rules: RuleSet, *, variant: str) -> None:
    """Refuse to serve without rules that hold.

    Args:
        rules: That hold.
        variant: Of the server.

    Raises:
        ServerError: Naming the option.
    """
    if len(rules) and variant != ONE_PROCESS:
        raise ServerError(
            f"{len(rules)} rules hold here, and only --variant {ONE_PROCESS} answers by rules, got {variant}: its "
            "retriever sees no queries; serve with it, or apply an empty file first"
        )


def _cannot_follow(record: ServerRecord) -> str | None:
    if record.cache:
        return (
            "has a response cache, which does not know rules and would go on answering as before: stop it, apply the "
            "rules and start it again, or serve without --cache"
        )
    if record.variant != ONE_PROCESS:
        return f"runs --variant {record.variant}, whose retriever sees no queries: serve with --variant {ONE_PROCESS}"
    return None


def _running(generations: Path) -> list[tuple[ServingFolder, ServerRecord]]:
    """Return the servers of a folder that are alive; one that was killed leaves its record."""
    found = []
    for folder in serving_folders(generations):
        record = folder.server()
        if record is not None and _is_alive(record.supervisor_pid):
            found.append((folder, record))
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
