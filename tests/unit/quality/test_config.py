"""What the gate can be told, and which generation it compares with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trident.errors import ConfigError, ServerError
from trident.generation.generation import Manifest, write_manifest
from trident.quality.baseline import baseline
from trident.quality.config import GateConfig


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"recall_target": 1.5}, r"gate\.recall_target must be in \[0, 1\], got 1\.5"),
        ({"overlap_target": -1}, r"gate\.overlap_target must be in \[0, 1\], got -1"),
        ({"quality_tolerance": -0.1}, r"gate\.quality_tolerance must be >= 0, got -0\.1"),
        ({"latency_ratio": 0}, r"gate\.latency_ratio must be > 0, got 0"),
        ({"latency_budget_ms": 0}, r"gate\.latency_budget_ms must be > 0, got 0"),
        ({"queries": 0}, r"gate\.queries must be >= 1, got 0"),
        ({"threads": 0}, r"gate\.threads must be >= 1, got 0"),
    ],
)
def test_impossible_demands_are_refused(table: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GateConfig(**table)  # type: ignore[arg-type]


@pytest.fixture
def generations(tmp_path: Path) -> Path:
    """Return a folder with three generations of which only the manifests are there."""
    for serial, name in enumerate(("a" * 16, "b" * 16, "c" * 16), start=1):
        (tmp_path / name).mkdir()
        manifest = Manifest(
            id=name, serial=serial, created_at="", encoder_fingerprint="", parts={}, parents={}, text={},
            index={}, products=1, stages=[], quality={}, versions={},
        )  # fmt: skip
        write_manifest(tmp_path / name, manifest)
    return tmp_path


def write_state(generations: Path, port: int, serving: str, switched_at: str) -> Path:
    path = generations / ".serving" / str(port) / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"serving": serving, "previous": None, "switched_at": switched_at, "epoch": 1}))
    return path


def found(generations: Path) -> str | None:
    generation = baseline(generations)
    return None if generation is None else generation.id


def test_the_generation_that_a_server_switched_to_last_counts_else_the_newest(generations: Path) -> None:
    assert found(generations / "none") is None
    assert found(generations) == "c" * 16
    write_state(generations, 8000, "a" * 16, "2026-11-24T10:00:00.000+00:00")
    assert found(generations) == "a" * 16
    write_state(generations, 9000, "b" * 16, "2026-11-24T12:30:00.000+02:00")  # 10:30 in UTC
    assert found(generations) == "b" * 16
    write_state(generations, 9100, "d" * 16, "2026-11-24T23:00:00.000+00:00")  # was removed since
    assert found(generations) == "b" * 16


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"serving": "a"}',
        '{"serving": "a", "previous": null, "switched_at": "now", "epoch": 1}',
    ],
)
def test_a_damaged_state_is_named(generations: Path, text: str) -> None:
    write_state(generations, 8000, "", "").write_text(text)
    with pytest.raises(ServerError, match=r"state\.json is damaged: .*; remove it and start trident serve again"):
        baseline(generations)
