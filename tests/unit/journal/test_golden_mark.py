"""Who may ask the base alone: everybody where nothing is live, else only who has the write key."""

from __future__ import annotations

from trident.generation.golden import GOLDEN_REQUEST
from trident.journal.folder import LiveFolder
from trident.journal.golden_mark import golden_request, is_golden


def test_the_mark_alone_reads_no_deleted_products_of_a_live_catalogue(tmp_path):
    folder = LiveFolder.of(tmp_path)
    assert golden_request(tmp_path) == GOLDEN_REQUEST
    folder.make()
    folder.make_key()
    mark = golden_request(tmp_path)
    assert is_golden(mark, str(tmp_path))
    assert folder.key() not in mark
    assert not is_golden(GOLDEN_REQUEST, str(tmp_path))
    assert not is_golden(mark[:-1], str(tmp_path))
    assert not is_golden("", str(tmp_path))


def test_where_nothing_is_live_the_mark_is_the_one_that_it_was(tmp_path):
    assert is_golden(GOLDEN_REQUEST, "")
    assert is_golden(GOLDEN_REQUEST, None)
    assert not is_golden("mine", None)


def test_another_folders_key_makes_another_mark(tmp_path):
    for name in ("one", "two"):
        LiveFolder.of(tmp_path / name).make()
        LiveFolder.of(tmp_path / name).make_key()
    assert not is_golden(golden_request(tmp_path / "one"), str(tmp_path / "two"))
