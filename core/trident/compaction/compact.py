"""Makes a generation of a generation and its log alone, by the same encoder; everything else goes on meanwhile.

Graphs, weights and the vectors of unchanged products are taken over; index, golden answers, figures and what is known
of versions are made anew. It must answer as the snapshot does that it was made from.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from trident.attributes.attributes import Attributes
from trident.attributes.building import ARRAYS_FILE, write_attributes
from trident.attributes.inference import columns_of
from trident.attributes.schema import SCHEMA_FILE
from trident.cluster.store import store_of
from trident.compaction.merged import Merged, merge
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.pairs import Pairs, read_pairs
from trident.encoder.base_model import file_sha256
from trident.errors import DataError, ExportError, LiveError
from trident.generation.durable import put_in_place
from trident.generation.generation import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    TEST_PAIRS_FILE,
    Generation,
    Identity,
    generation_id,
    walk,
    write_manifest,
)
from trident.generation.golden import GoldenAnswer, golden_differences, save_golden
from trident.generation.holds import Position
from trident.generation.serials import generations_lock, next_serial
from trident.generation.staging import held_alone, scratch_folder
from trident.index.files import (
    CODES_FILE,
    CUTS_FILE,
    GRAPH_FILES,
    MEMBERS_FILE,
    RECORD_FILE,
    SCALES_FILE,
    VECTORS_FILE,
)
from trident.index.index import VectorIndex
from trident.index.ways import Cuts
from trident.journal.folder import LiveFolder
from trident.journal.retention import lease
from trident.lexical.files import ARRAYS_FILE as LEXICAL_ARRAYS_FILE
from trident.lexical.files import RECORD_FILE as LEXICAL_RECORD_FILE
from trident.lexical.files import save_lexical
from trident.lexical.index import LexicalIndex, field_texts
from trident.live.base import CatalogueBase
from trident.live.known import CATALOGUE_MODEL, KEPT_DAYS, KNOWN_FILE, known_at, save_known
from trident.live.preparing import read_state, vector_file
from trident.live.state import State
from trident.live.vectors import VectorFile
from trident.retrieval.retriever import Retriever
from trident.retrieval.words import WORD_FILES, Words
from trident.rights import give_rights
from trident.search.searcher import Searcher

BUILT_BY_INDEX = "index/"  # parts of that prefix
COMPACTED = "compacted"  # among a manifest's parents: the generation that it was made of
KEPT_FIGURES = ("calibration", "reranked")  # of what is taken over: maps of scores, the second stage
TOLERANCE = 1e-4  # of a cosine between the snapshot's answers and the new generation's

Measure = Callable[[Pairs, Searcher], dict[str, Any]]


@dataclass(frozen=True)
class Makers:
    """What the export makes, too: figures on held-out pairs; and how long what is known of a product is kept."""

    measure: Measure
    kept_days: float = KEPT_DAYS
    threads: int = 1
    report: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class _Compaction:
    """What is compacted."""

    folder: LiveFolder
    old: Generation
    state: State
    position: Position
    merged: Merged


def compact(generations: Path, generation: Generation, makers: Makers) -> Generation:
    """Return a new generation that holds what another one and the log hold at the published number.

    Args:
        generations: The folder of generations.
        generation: The one that serves.
        makers: What it is made with.

    Raises:
        LiveError: If nothing came since the generation, another compaction is under way, or the log does not fit.
        ExportError: If it does not answer as what it was made from.
        TridentError: If a part is missing or damaged; nothing has changed then.
    """
    folder = LiveFolder.of(generations)
    lineage = folder.lineage()
    if lineage is None:
        raise LiveError(f"{folder.path} has no log: there is nothing to compact")
    busy = f"another compaction of {generations} is under way: wait until it has ended"
    with held_alone(folder.path / ".compacting", busy), ExitStack() as leased:
        state, _ = read_state(generations, generation.id)
        leased.enter_context(lease(folder, state.number))
        base = state.base
        assert isinstance(base, CatalogueBase)
        if not state.changes:
            raise LiveError(
                f"nothing to compact: generation {generation.id} goes to number {state.number:,}, as the log does"
            )
        merged = merge(base, state)
        if not merged.catalogue.product_ids:
            raise LiveError("every product is deleted: a generation needs one at least")
        makers.report(f"compacting {len(state.changes):,} changed products up to number {state.number:,}")
        plan = _Compaction(folder, generation, state, lineage.position(state.number), merged)
        return _build(generations, plan, makers)


def is_compacted(generation: Generation) -> bool:
    """Return whether a generation was made here, and by no export."""
    return COMPACTED in generation.manifest.parents


def _build(generations: Path, plan: _Compaction, makers: Makers) -> Generation:
    old = plan.old
    with scratch_folder(generations, "compaction") as staging:
        made = staging / "generation"
        shutil.copytree(old.folder, made, copy_function=_link)
        (made / MANIFEST_FILE).unlink()
        searcher = Searcher.load(old, threads=makers.threads)
        file = vector_file(plan.folder, old)
        part = made / "model_repository" / CATALOGUE_MODEL / str(old.serial)
        index = _write_index(plan, part, searcher, file, makers)
        _write_attributes(plan, part)
        file.close()
        hashes = {name: value for name, value in old.manifest.parts.items() if not name.startswith(BUILT_BY_INDEX)}
        counted = [path for path in _index_files(part) if path.name != CUTS_FILE]  # which holds times
        hashes |= {f"{BUILT_BY_INDEX}{path.name}": file_sha256(path) for path in counted}
        identity = Identity.load(old.version_folder(CATALOGUE_MODEL))
        words = _write_words(old, part)
        retriever = Retriever(index, plan.merged.catalogue, identity, Attributes.load(part), words)
        renewed = Searcher(searcher.tokenizer, searcher.encoder, retriever, searcher.second_stage)
        golden = renewed.golden(list(dict.fromkeys(answer.query for answer in old.golden())))
        expected = _expected(plan, searcher, [answer for answer in golden if answer.by_vectors])
        _require_equal(expected, _by_comparing(index, plan, searcher, expected))
        _renew(made / GOLDEN_FILE, lambda path: save_golden(golden, path))
        pairs = read_pairs(made / TEST_PAIRS_FILE)
        quality = {name: old.manifest.quality[name] for name in KEPT_FIGURES if name in old.manifest.quality}
        quality |= makers.measure(pairs, replace(renewed, second_stage=None))
        hashes["catalogue"] = file_sha256(part / CATALOGUE_FILE)
        hashes["attributes"] = file_sha256(part / ARRAYS_FILE)
        hashes["attributes/schema"] = file_sha256(part / SCHEMA_FILE)
        hashes |= {f"lexical/{name}": file_sha256(part / name) for name in WORD_FILES if (part / name).is_file()}
        hashes["golden"] = file_sha256(made / GOLDEN_FILE)
        hashes["known"] = file_sha256(part / KNOWN_FILE)
        hashes["holds"] = _text(plan.position)
        new_id = generation_id(hashes)
        with generations_lock(generations):
            target = generations / new_id
            if target.exists():
                return Generation.load(target)
            identity = replace(
                Identity.load(old.version_folder(CATALOGUE_MODEL)), id=new_id, serial=next_serial(generations)
            )
            _rename_versions(made, old.serial, identity)
            manifest = replace(
                old.manifest,
                id=new_id,
                serial=identity.serial,
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                parts=hashes,
                parents={**old.manifest.parents, COMPACTED: old.id},
                products=len(plan.merged.catalogue),
                quality=quality,
                gate=[],
                files={},
                holds=asdict(plan.position),
            )
            write_manifest(made, manifest)
            give_rights(made)
            put_in_place(made, target)
    return Generation.load(target)


def _write_index(plan: _Compaction, part: Path, searcher: Searcher, file: VectorFile, makers: Makers) -> VectorIndex:
    """Write catalogue, index and what is known into the retriever's folder, and return the index."""
    old, merged = plan.old, plan.merged
    before = searcher.retriever.index
    vectors = merged.vectors(searcher.retriever.index, file, lambda titles: searcher.embed(titles, "product"))
    fingerprint = old.manifest.encoder_fingerprint
    for path in _index_files(part):
        path.unlink()
    index = VectorIndex.build(
        vectors,
        config=before.config,
        encoder_fingerprint=fingerprint,
        threads=makers.threads,
        links=store_of(old) is None,
    )
    index.cuts = before.cuts if index.has_graph else Cuts(exact_up_to=index.unique_count)
    index.save(part)
    _renew(part / CATALOGUE_FILE, merged.catalogue.save)
    known = known_at(plan.folder.path.parent, plan.position, days=makers.kept_days)
    _renew(part / KNOWN_FILE, lambda path: save_known(known, path))
    return VectorIndex.load(part, encoder_fingerprint=fingerprint)


def _write_attributes(plan: _Compaction, part: Path) -> None:
    """Write the attributes by the types of the old generation's.

    Raises:
        ExportError: If a product has one that is none of these, or of another type.
    """
    base = plan.state.base
    assert isinstance(base, CatalogueBase)
    ids, products = plan.merged.catalogue.product_ids, plan.merged.attributes
    try:
        checked = [base.schema.check(each, f"product '{ids[row]}'") for row, each in enumerate(products)]
    except DataError as error:
        raise ExportError(f"the log does not fit the attributes of generation {plan.old.id}: {error}") from error
    for name in (ARRAYS_FILE, SCHEMA_FILE):  # links to the old generation's: never written into
        (part / name).unlink()
    write_attributes(part, columns_of(base.schema, checked), len(checked))


def _write_words(old: Generation, part: Path) -> Words | None:
    """Write the lexical index of the products in a folder by the settings of the old one, which hold on."""
    words = Words.load(old.version_folder(CATALOGUE_MODEL))
    if words is None:
        return None
    config, attributes = words.lexical.config, Attributes.load(part)
    fields = {name: field_texts(attributes, name) for name in config.fields}
    titles = Catalogue.load(part / CATALOGUE_FILE).titles
    for name in (LEXICAL_ARRAYS_FILE, LEXICAL_RECORD_FILE):  # links to the old generation's: never written into
        (part / name).unlink()
    save_lexical(LexicalIndex.build(titles, config, fields), part, part / CATALOGUE_FILE)
    return Words.load(part)


def _by_comparing(
    index: VectorIndex, plan: _Compaction, searcher: Searcher, expected: list[GoldenAnswer]
) -> list[GoldenAnswer]:
    """Return what an index answers to golden queries where every vector is compared."""
    ids, answers = plan.merged.catalogue.product_ids, []
    vectors = searcher.embed([answer.query for answer in expected])
    for row, answer in enumerate(expected):
        found = index.search_exactly(vectors[row : row + 1], max(len(answer.product_ids), 1))
        count = int(found.count[0])
        products = [ids[place] for place in found.rows[0, :count].tolist()]
        answers.append(GoldenAnswer(query=answer.query, product_ids=products, scores=found.scores[0, :count].tolist()))
    return answers


def _expected(plan: _Compaction, searcher: Searcher, golden: list[GoldenAnswer]) -> list[GoldenAnswer]:
    """Return what the catalogue that it is made from answers to the golden queries, every product compared."""
    merged = plan.merged
    file = vector_file(plan.folder, plan.old)
    try:
        vectors = merged.vectors(searcher.retriever.index, file, lambda titles: searcher.embed(titles, "product"))
    finally:
        file.close()
    queries = searcher.embed([answer.query for answer in golden])
    answers = []
    for row, answer in enumerate(golden):
        scores = vectors @ queries[row]
        best = np.lexsort((np.arange(len(scores)), -scores))[: len(answer.product_ids)]
        ids = [merged.catalogue.product_ids[place] for place in best.tolist()]
        answers.append(GoldenAnswer(query=answer.query, product_ids=ids, scores=[float(scores[each]) for each in best]))
    return answers


def _require_equal(expected: list[GoldenAnswer], found: list[GoldenAnswer]) -> None:
    differences = golden_differences(expected, found, tolerance=TOLERANCE)
    if differences:
        raise ExportError(
            f"the compacted generation must answer as the catalogue that it was made from, got {len(differences)} of "
            f"{len(found)} golden queries otherwise: {differences[0]}"
        )


def _rename_versions(made: Path, serial: int, identity: Identity) -> None:
    """Give the models' folders the new serial number, and have the ensembles' steps name it."""
    repository = made / "model_repository"
    for version in sorted(repository.glob(f"*/{serial}")):
        version.rename(version.with_name(str(identity.serial)))
        _renew(version.with_name(str(identity.serial)) / "generation.json", lambda path: identity.save(path.parent))
    for config in sorted(repository.rglob("*.pbtxt")):
        text = config.read_text(encoding="utf-8")
        pinned = re.sub(rf"(model_version: ){serial}\b", rf"\g<1>{identity.serial}", text)
        if pinned != text:
            config.unlink()
            config.write_text(pinned, encoding="utf-8")


def _index_files(part: Path) -> list[Path]:
    names = (VECTORS_FILE, CODES_FILE, SCALES_FILE, MEMBERS_FILE, *GRAPH_FILES, RECORD_FILE, CUTS_FILE)
    return [path for path in walk(part) if path.name in names]


def _renew(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file in the place of a link to the old generation's, never into that."""
    path.unlink(missing_ok=True)
    write(path)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target


def _text(position: Position) -> str:
    return json.dumps(asdict(position), sort_keys=True)
