"""What is searched equals what the log says: random operations against a dictionary, and a search by hand."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from made_vectors import embed_by_hash

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import columns_of
from trident.attributes.schema import Field, Schema
from trident.errors import FullError, LogError
from trident.index.index import IndexConfig, VectorIndex
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.live.changed import SnapshotAttributes
from trident.live.follower import Follower
from trident.live.merging import Searched, nearest
from trident.live.operations import Entry, Product, Tombstone, encode_record
from trident.live.vectors import VectorFile, rows_taken

DIMENSION = 8
BASE = {f"p{row}": f"title {row}" for row in range(60)}


def embed(titles):
    return embed_by_hash(titles, DIMENSION)


class Rows:
    def __init__(self, columns: Attributes) -> None:
        self.ids, self.columns = list(BASE), columns

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, product: str) -> int | None:
        return self.ids.index(product) if product in BASE else None

    def title(self, row: int) -> str:
        return BASE[self.ids[row]]


class Catalogue:
    """A log with one follower, and a dictionary of what must be there."""

    def __init__(self, path: Path, capacity: int = 5000) -> None:
        self.folder = LiveFolder(path)
        self.folder.make()
        self.log = Log.open(self.folder.log)
        self.published = Published(self.folder.published)
        self.published.write(self.log.last, self.log.lineage)
        self.index = VectorIndex.build(embed(BASE.values()), config=IndexConfig(m=8), encoder_fingerprint="f")
        schema = Schema(fields=(Field(name="price", type="number"),))
        write_attributes(path, columns_of(schema, [{}] * len(BASE)), len(BASE))
        self.columns = Attributes.load(path)
        self.capacity = capacity
        self.truth = dict(BASE)
        self.follower = self.new_follower()

    def new_follower(self, fingerprint: str = "f") -> Follower:
        path = self.folder.vectors(fingerprint, "generation")
        vectors = VectorFile(path, fingerprint=fingerprint, dimension=DIMENSION, capacity=self.capacity)
        return Follower(self.folder, Rows(self.columns), 0, vectors, embed)

    def write(self, *entries: tuple[str, Entry]) -> None:
        last = self.log.append([encode_record(product, entry) for product, entry in entries])
        self.published.write(last, self.log.lineage)
        for product, entry in entries:
            if isinstance(entry, Product):
                self.truth[product] = entry.title
            else:
                self.truth.pop(product, None)

    def found(self, query: str, k: int, follower: Follower | None = None) -> list[tuple[str, str, float]]:
        follower = follower or self.follower
        snapshot = follower.catch_up()
        searched = Searched(snapshot, self.index, follower.vectors.searched)
        hits = nearest(searched, embed([query]), [k], [None])
        answer = []
        for row, score in zip(hits.rows[0, : hits.count[0]].tolist(), hits.scores[0].tolist(), strict=False):
            if row < len(BASE):
                answer.append((list(BASE)[row], BASE[list(BASE)[row]], score))
            else:
                place = row - len(BASE)
                ids, titles = snapshot.places.ids, snapshot.places.titles
                answer.append((ids[place].decode(), titles[place].decode(), score))
        return answer

    def expected(self, query: str, k: int) -> list[float]:
        vectors = embed(self.truth.values())
        return sorted((vectors @ embed([query])[0]).tolist(), reverse=True)[:k]


def titled(title: str, **attributes: object) -> Product:
    return Product(title=title, attributes=dict(attributes))


def check(catalogue: Catalogue, follower: Follower | None = None) -> None:
    for query, k in (("title 3", 5), ("something else", 200)):
        found = catalogue.found(query, k, follower)
        assert len({product for product, _, _ in found}) == len(found) == min(k, len(catalogue.truth))
        assert all(catalogue.truth[product] == title for product, title, _ in found)
        assert np.allclose([score for _, _, score in found], catalogue.expected(query, k), atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_random_operations_are_found_as_a_dictionary_says(tmp_path, seed):
    draw, catalogue = random.Random(seed), Catalogue(tmp_path)
    for _ in range(25):
        group = []
        for _ in range(draw.randint(1, 12)):
            product = draw.choice([*BASE, *(f"n{n}" for n in range(30))])
            title = draw.choice([BASE.get(product, "a"), f"title {draw.randrange(80)}", f"new {draw.randrange(1000)}"])
            group.append((product, Tombstone() if draw.random() < 0.35 else titled(title)))
        catalogue.write(*group)
        check(catalogue)
    late = catalogue.new_follower()  # a process that starts now
    check(catalogue, late)
    assert late.snapshot.count == catalogue.follower.snapshot.count == len(catalogue.truth)


def test_an_empty_log_gives_the_base(tmp_path):
    catalogue = Catalogue(tmp_path)
    check(catalogue)
    assert catalogue.follower.snapshot.count == len(BASE)


def test_everything_gone_finds_nothing_and_one_product_comes_back(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.write(*((product, Tombstone()) for product in BASE))
    assert catalogue.found("title 3", 10) == []
    catalogue.write(("p3", titled("title 3")))
    assert [product for product, _, _ in catalogue.found("title 9", 10)] == ["p3"]


def test_an_upsert_of_the_same_title_touches_no_vector(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.write(("p3", titled("title 3", price=5)))
    snapshot = catalogue.follower.catch_up()
    assert (snapshot.tail_rows, snapshot.gone_count, catalogue.follower.vectors.used) == (0, 0, 0)
    assert SnapshotAttributes(catalogue.columns, snapshot).of_row(3, ["price"]) == {"price": 5}


def test_a_snapshot_that_is_held_stays_as_it_was(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.write(("new", titled("first")), ("p1", Tombstone()))
    before = catalogue.follower.catch_up()
    catalogue.write(("new", titled("second")), ("p1", titled("title 1")), ("p2", Tombstone()))
    after = catalogue.follower.catch_up()
    assert [before.places.titles[place] for place in np.flatnonzero(before.alive)] == [b"first"]
    assert [after.places.titles[place] for place in np.flatnonzero(after.alive)] == [b"second"]
    assert np.flatnonzero(before.gone).tolist() == [1]
    assert np.flatnonzero(after.gone).tolist() == [2]


def test_vectors_that_a_power_cut_left_wrong_are_made_again(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.write(("new", titled("first")), ("newer", titled("second")))
    check(catalogue)
    path = catalogue.folder.vectors("f", "generation")
    data = bytearray(path.read_bytes())
    data[4096 + 40] ^= 1  # within the first vector
    path.write_bytes(data)
    check(catalogue, catalogue.new_follower())
    path.unlink()
    check(catalogue, catalogue.new_follower())


def test_another_encoder_of_the_same_dimension_has_vectors_of_its_own(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.write(("new", titled("first")))
    check(catalogue)
    other = catalogue.new_follower("another")
    assert other.vectors.used == 0
    check(catalogue, other)
    path = catalogue.folder.vectors("f", "generation")
    VectorFile(path, fingerprint="another", dimension=DIMENSION, capacity=catalogue.capacity).close()
    assert catalogue.new_follower().vectors.used == 0, "a file of another encoder is emptied"


def test_a_full_tail_says_what_to_do_and_keeps_the_last_snapshot(tmp_path):
    catalogue = Catalogue(tmp_path, capacity=2)
    catalogue.write(("a", titled("first")), ("b", titled("second")))
    check(catalogue)
    with pytest.raises(FullError, match=r"the tail has 2 vectors and takes 2: run trident catalogue compact"):
        catalogue.follower.vectors.rows(["third"], embed, 3, limit=catalogue.capacity)
    assert catalogue.follower.vectors.used == 2
    assert rows_taken(catalogue.follower.vectors.path) == (2, 2)


def test_a_replay_may_exceed_the_limit_of_the_tail_as_a_rollback_past_a_compaction_does(tmp_path):
    catalogue = Catalogue(tmp_path, capacity=2)
    catalogue.write(*((f"n{number}", titled(f"new {number}")) for number in range(8)))
    check(catalogue)
    assert rows_taken(catalogue.follower.vectors.path) == (8, 2)
    catalogue.write(("c", titled("one more")))
    with pytest.raises(FullError, match=r"the tail has 8 vectors and takes 8: run trident catalogue compact"):
        catalogue.follower.catch_up()
    assert catalogue.follower.snapshot.number == 8
    assert rows_taken(tmp_path / "nowhere") == rows_taken(catalogue.folder.log / "0") == (0, 0)


def test_a_log_that_does_not_reach_the_published_number_is_refused(tmp_path):
    catalogue = Catalogue(tmp_path)
    catalogue.write(("a", titled("first")))
    catalogue.published.write(5, catalogue.log.lineage)
    with pytest.raises(LogError, match=r"must reach number 5, got 1: it was cut off"):
        catalogue.follower.catch_up()
    catalogue.log.close()
    with pytest.raises(LogError, match=r"must reach number 5, which was answered with, got 1"):
        Log.open(catalogue.folder.log, promised=catalogue.published.promised())


def test_all_that_stand_at_a_number_have_the_same_checksum(tmp_path):
    catalogue, draw = Catalogue(tmp_path), random.Random(5)
    often = catalogue.new_follower()
    seen = {}
    for step in range(200):
        product = f"{draw.choice('pn')}{draw.randrange(60)}"
        entry = Tombstone() if draw.random() < 0.3 else titled(f"title {draw.randrange(20)}", price=draw.randrange(3))
        catalogue.write((product, entry))
        if step % 7 == 0:  # the other one takes in seven at once
            catalogue.follower.catch_up()
        snapshot = often.catch_up()
        seen[snapshot.number] = snapshot.checksum
        assert catalogue.follower.snapshot.checksum == seen.get(catalogue.follower.snapshot.number, 0)
    assert len(set(seen.values())) > 150
    before = often.snapshot.checksum
    catalogue.write(("p1", titled("title 1", price=7)))
    changed = often.catch_up().checksum
    assert changed != before
    catalogue.write(("p1", titled("title 1", price=8)))
    assert often.catch_up().checksum not in (before, changed)
