"""Rules are held against the generation that serves, and applied as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trident.errors import DataError, GenerationError, ServerError
from trident.generation.generation import Generation, generation_by_id
from trident.generation.state import ServerRecord, ServingFolder, now
from trident.ranking.settings import RANKING_FILE, RankingSettings
from trident.rules.applying import apply_rules, check_rules, serving_generation
from trident.rules.published import RULES, published_path, read_published
from trident.rules.ruleset import RuleSet, RulesFile, parse_rules
from trident.rules.serving import FROZEN, environment, freeze, require_rules, thaw

RECORD = ServerRecord(
    http="127.0.0.1:8000",
    grpc="127.0.0.1:8001",
    metrics="127.0.0.1:8002",
    variant="cpu",
    plans="plans",
    cache=False,
    supervisor_pid=os.getpid(),
    tritonserver_pid=os.getpid(),
    started_at=now(),
)


def rules(**kinds: Any) -> RulesFile:
    return parse_rules(kinds, "rules.toml")


GOOD = rules(
    pins=[{"queries": ["lamp"], "products": ["0001"]}],
    boosts=[{"filter": {"brand": "alba"}, "by": 0.1}],
)


@pytest.fixture
def generations(priced: Generation, tmp_path: Path) -> Path:
    folder = tmp_path / "generations"
    folder.mkdir()
    (folder / priced.id).symlink_to(priced.folder)
    return folder


def test_rules_are_held_against_a_generation(priced: Generation) -> None:
    assert check_rules(GOOD, priced).faults == check_rules(GOOD, priced).notes == ()
    wrong = rules(
        pins=[{"queries": ["lamp"], "products": ["0001", "nobody"]}, {"queries": ["sofa"]}],
        boosts=[{"filter": {"brnd": "alba"}, "by": 0.1}],
        exclusions=[{"products": ["0001"]}],
    )
    checked = check_rules(wrong, priced)
    assert checked.notes == (f"pins 1: no product is called nobody (generation {priced.id})",)
    assert [line.partition(":")[0] for line in checked.faults] == [
        "key 'products' is required (pins 2 of rules.toml)",
        "pins 1 and exclusions 1",
        "boosts 1",
    ]
    alone = check_rules(wrong, None)
    assert (len(alone.faults), alone.notes) == (2, ())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (RankingSettings(mode="hybrid", weight=0.0), "mode hybrid, weight 0 for words"),
        (RankingSettings(mode="dense", weight=0.4), "mode dense"),
        (None, "mode dense"),
        (RankingSettings(mode="hybrid", weight=None), ""),
        (RankingSettings(mode="lexical"), ""),
    ],
)
def test_synonyms_that_change_nothing_are_noted(
    priced: Generation, tmp_path: Path, settings: RankingSettings | None, why: str
) -> None:
    shutil.copytree(priced.folder, tmp_path / priced.id)
    generation = generation_by_id(tmp_path, priced.id)
    folder = generation.version_folder("retriever")
    (folder / RANKING_FILE).unlink(missing_ok=True)
    if settings is not None:
        settings.save(folder)
    line = "synonyms change nothing where a search names no mode that looks for words: vectors alone rank, "
    notes = (f"{line}{why} (generation {priced.id})",) if why else ()
    assert check_rules(rules(synonyms=[{"both_ways": ["sofa", "couch"]}]), generation).notes == notes
    assert check_rules(GOOD, generation).notes == ()


def test_applied_rules_hold(generations: Path) -> None:
    made, checked = apply_rules(generations, GOOD, "rules.toml")
    assert checked.notes == ()
    found = read_published(published_path(generations))
    assert found == made
    assert made.rules == GOOD.rules
    assert made.source == "rules.toml"


def test_wrong_rules_leave_those_that_hold(generations: Path) -> None:
    made, _ = apply_rules(generations, GOOD, "rules.toml")
    wrong = rules(boosts=[{"filter": {"brnd": "a"}, "by": 0.1}, {"filter": {"brand": 3}, "by": 0.1}])
    with pytest.raises(
        DataError, match=r"^rules new\.toml are not applied: boosts 1: .*, and 1 more: see trident rules"
    ):
        apply_rules(generations, wrong, "new.toml")
    assert read_published(published_path(generations)) == made


def test_rules_wait_for_products_that_are_not_there(generations: Path) -> None:
    made, checked = apply_rules(generations, rules(exclusions=[{"products": ["later"]}]), "rules.toml")
    assert len(made.rules) == len(checked.notes) == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"cache": True}, "the server on HTTP port 8000 has a response cache, which does not know rules"),
        ({"variant": "stages"}, "the server on HTTP port 8000 runs --variant stages, whose retriever sees no queries"),
    ],
)
def test_a_server_that_cannot_follow_keeps_rules_from_being_applied(
    generations: Path, change: dict[str, Any], line: str
) -> None:
    folder = ServingFolder.of(generations, 8000)
    folder.path.mkdir(parents=True)
    folder.write_server(replace(RECORD, **change))
    with pytest.raises(ServerError, match=line):
        apply_rules(generations, GOOD, "rules.toml")
    assert read_published(published_path(generations)) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    folder.write_server(replace(RECORD, **change, supervisor_pid=ended.pid))  # it was killed
    apply_rules(generations, GOOD, "rules.toml")
    assert read_published(published_path(generations)) is not None


def test_a_server_that_can_follow_says_which_generation_is_asked(generations: Path, priced: Generation) -> None:
    folder = ServingFolder.of(generations, 8000)
    folder.path.mkdir(parents=True)
    folder.write_server(RECORD)
    assert serving_generation(generations).id == priced.id  # no state yet: the newest
    folder.write_state(priced.id, None)
    assert serving_generation(generations).id == priced.id
    folder.write_state("f" * 16, priced.id)
    with pytest.raises(GenerationError, match=r"generation 'f{16}' is not in"):
        serving_generation(generations)


def test_a_server_that_does_not_answer_by_rules_is_not_started(generations: Path) -> None:
    require_rules(generations, variant="torch")
    apply_rules(generations, GOOD, "rules.toml")
    with pytest.raises(ServerError, match=r"^2 rules hold here, and only --variant cpu answers by rules, got torch"):
        require_rules(generations, variant="torch")
    require_rules(generations, variant="cpu")
    apply_rules(generations, RulesFile(RuleSet()), "empty.toml")
    require_rules(generations, variant="torch")


def test_a_server_with_a_cache_keeps_the_rules_of_its_start(generations: Path) -> None:
    folder = ServingFolder.of(generations, 8000)
    folder.path.mkdir(parents=True)
    assert environment(folder, cache=False) == {RULES: str(published_path(generations))}
    own = Path(environment(folder, cache=True)[RULES])
    assert own == folder.path / FROZEN
    freeze(folder)
    assert not own.exists()
    made, _ = apply_rules(generations, GOOD, "rules.toml")
    freeze(folder)
    apply_rules(generations, RulesFile(RuleSet()), "empty.toml")
    assert read_published(own) == made
    thaw(folder)
    thaw(folder)
    assert not own.exists()
