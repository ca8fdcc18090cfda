"""A generation of a generation and its log: the same catalogue, with an empty tail."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.evaluation import passing_rows
from trident.attributes.filters import parse_filter
from trident.compaction.by_itself import CompactionByItself
from trident.compaction.compact import Makers, compact
from trident.errors import ExportError, LiveError, TridentError
from trident.generation.generation import Generation
from trident.generation.staging import held_alone
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.live.compactions import Compactions
from trident.live.operations import Entry, Product, Tombstone, encode_record
from trident.live.preparing import read_state, recover, replay
from trident.quality.measuring import measure_quality
from trident.search.searcher import Searcher
from trident.server.runtime_repository import check_identities

MAKERS = Makers(measure_quality)


@pytest.fixture
def generations(priced: Generation, tmp_path: Path) -> Path:
    """Return a folder with a copy of the tiny generation with attributes and a log."""
    folder = tmp_path / "generations"
    shutil.copytree(priced.folder, folder / priced.id)
    recover(LiveFolder.of(folder))
    return folder


def write(generations: Path, *entries: tuple[str, Entry]) -> None:
    folder = LiveFolder.of(generations)
    log = Log.open(folder.log)
    log.append([encode_record(product, entry) for product, entry in entries])
    Published(folder.published).write(log.last, log.lineage)
    log.close()


def titled(title: str, **more: object) -> Product:
    return Product(title=title, attributes=dict(more))


def test_the_catalogue_over_a_compacted_generation_is_the_same(generations, generation):
    write(
        generations,
        ("new", titled("alba kettle red", price=3, colours=["red", "green"])),
        ("0001", Tombstone(version=4)),
        ("0002", titled("something else")),
        ("0003", replace(titled("Alba kettle green", price=9), version=2)),
        ("gone", titled("never mind")),
        ("gone", Tombstone()),
    )
    old = Generation.load(generations / generation.id)
    made = compact(generations, old, MAKERS)
    made.verify_files()
    old.verify_files()
    check_identities(made)
    assert made.holds is not None
    assert (made.holds.number, made.manifest.products, made.serial) == (6, 144, old.serial + 1)
    before, ids = read_state(generations, old.id)
    after, _ = read_state(generations, made.id)
    for product in ids:
        one, other = before.find(product), after.find(product)
        if isinstance(one, Product) and isinstance(other, Product):
            assert (one.title, one.attributes) == (other.title, other.attributes), product
            assert (one.version, one.number) == (other.version, other.number)
        else:
            assert one == other
    attributes = Attributes.load(made.version_folder("retriever"))
    assert attributes.schema.by_name.keys() == {"price", "brand", "colours"}
    cheap = parse_filter({"price": {"lte": 3}, "brand": {"missing": True}}, attributes.schema)
    ids = Searcher.load(made).retriever.product_ids
    assert {ids[int(row)] for row in passing_rows(cheap, attributes)} == {"new"}
    snapshot = replay(LiveFolder.of(generations), made, report=lambda _: None)
    assert (snapshot.count, snapshot.tail_rows, snapshot.gone_count) == (144, 0, 0)
    found = Searcher.load(made).answers(["alba kettle red"], k=144)[0].product_ids
    assert "new" in found
    assert not {"0001", "gone"} & set(found)
    write(generations, ("late", titled("a sofa")))
    snapshot = replay(LiveFolder.of(generations), made, report=lambda _: None)
    assert (snapshot.count, snapshot.tail_rows) == (145, 1)


def test_a_compaction_that_changes_nothing_is_refused(generations, generation):
    old = Generation.load(generations / generation.id)
    with pytest.raises(LiveError, match=r"nothing to compact: generation \w+ goes to number 0, as the log does"):
        compact(generations, old, MAKERS)
    write(generations, ("new", titled("a kettle")))
    made = compact(generations, old, MAKERS)
    with pytest.raises(LiveError, match=r"goes to number 1, as the log does"):
        compact(generations, made, MAKERS)


def test_an_upsert_and_its_delete_give_another_generation(generations, generation):
    write(generations, ("new", titled("a kettle")), ("new", Tombstone()))
    made = compact(generations, Generation.load(generations / generation.id), MAKERS)
    assert made.id != generation.id
    assert made.holds is not None
    assert made.holds.number == 2


def test_an_attribute_that_the_generation_does_not_have_is_not_lost_in_silence(generations, generation):
    write(generations, ("new", titled("a kettle", weight=3)))
    words = r"the log does not fit the attributes of generation \w+: product 'new': the catalogue has no field 'weight'"
    with pytest.raises(ExportError, match=words):
        compact(generations, Generation.load(generations / generation.id), MAKERS)


def test_two_at_once_are_refused(generations, generation):
    write(generations, ("new", titled("a kettle")))
    lock = LiveFolder.of(generations).path / ".compacting"
    with held_alone(lock, ""), pytest.raises(TridentError, match=r"another compaction of .* is under way: wait"):
        compact(generations, Generation.load(generations / generation.id), MAKERS)


def test_a_catalogue_without_a_product_is_no_generation(generations, generation):
    write(generations, *((f"{number:04d}", Tombstone()) for number in range(144)))
    with pytest.raises(LiveError, match=r"every product is deleted: a generation needs one at least"):
        compact(generations, Generation.load(generations / generation.id), MAKERS)


def test_one_that_begins_by_itself_and_fails_is_written_down_and_the_next_waits(generations, generation):
    write(generations, ("new", titled("a kettle")))
    folder, said = LiveFolder.of(generations), []
    replay(folder, Generation.load(generations / generation.id), report=lambda _: None)  # which makes the vector
    serving = ServingFolder.of(generations, 8000)
    serving.path.mkdir(parents=True)
    serving.write_state(generation.id, None)
    assert not CompactionByItself(generations, 8000, report=said.append).look(), "the tail is not half full"
    compaction = CompactionByItself(generations, 8000, report=said.append, share=1 / 50_000)
    assert compaction.look()
    assert not compaction.look()
    found = Compactions.read(folder)
    assert found.failures == 1
    assert found.reason.startswith("status 1: ")
    assert "serve" in found.reason
    assert said[0] == f"the tail has 1 of 50,000 vectors: compacting generation {generation.id}"
    assert said[1].startswith("the compaction failed, 1 in a row (status 1: ")
    assert said[1].endswith("; the next one in 300 s")
    assert found.failed(folder, "again").failures == 2
    assert Compactions.read(folder).succeeded(folder).failures == 0


def test_a_compacted_generation_is_on_the_disk_before_it_counts(generations, generation, disk):
    write(generations, ("new", titled("a kettle")))
    made = compact(generations, Generation.load(generations / generation.id), MAKERS)
    assert not [path for path in disk.unsynced if path.startswith(str(generations)) and "/.live" not in path]
    assert disk.synced_after(generations)
    assert Generation.load(generations / made.id).id == made.id
