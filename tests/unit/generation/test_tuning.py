"""Tuned settings: their ranges, what they change in a repository, which of them a server takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from trident.bench.tuning_space import axes, changed
from trident.errors import ConfigError, GenerationError
from trident.generation.generation import find_generation
from trident.generation.tuned_settings import Machine, TunedSettings, choose, settings_path
from trident.generation.tuning import KNOBS, PIPELINE_CONFIG, UNTUNED, Tuning, exported_settings
from trident.server.models import ENSEMBLES
from trident.server.runtime_repository import check_configuration, lay_out
from trident.server.serving import ServeOptions

TEMPLATES = Path(__file__).resolve().parents[3] / "model_repository"
HERE = Machine(cores=4, cpu="Abacus 9")
TUNING = Tuning(instances=1, threads=2)
FOUND = TunedSettings(
    settings=TUNING, variant="cpu", machine=HERE, generation="0" * 16, tuned_at="2026-11-25T12:00:00Z", measured={}
)
FULL = replace(TUNING, index_threads=3, lone_threads=4)


def config(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def test_every_knob_has_a_place_in_the_repository() -> None:
    assert exported_settings(TEMPLATES) == {
        "instances": 2,
        "threads": 1,
        "index_threads": 1,
        "lone_threads": 2,
    }
    assert {knob.file for knob in KNOBS.values()} == {PIPELINE_CONFIG}


def test_a_repository_is_laid_out_with_the_settings(tiny_generations: Path, tmp_path: Path) -> None:
    generation = find_generation(tiny_generations)
    plain, tuned = tmp_path / "plain" / "models", tmp_path / "tuned" / "models"
    lay_out(plain, generation, cache=False, plan=None)
    lay_out(tuned, generation, cache=False, plan=None, tuning=FULL)
    files = sorted(path.relative_to(plain).as_posix() for path in plain.rglob("*.pbtxt"))
    different = [file for file in files if (plain / file).read_bytes() != (tuned / file).read_bytes()]
    assert different == [PIPELINE_CONFIG]
    as_exported = [file for file in files if not file.startswith(ENSEMBLES)]
    assert all((plain / file).read_bytes() == (generation.repository / file).read_bytes() for file in as_exported)
    wanted = config(plain / PIPELINE_CONFIG)
    del wanted.instance_group[1]
    wanted.parameters["threads"].string_value = "2"
    wanted.parameters["index_threads"].string_value = "3"
    wanted.parameters["lone_threads"].string_value = "4"
    assert config(tuned / PIPELINE_CONFIG) == wanted
    assert {name: exported_settings(tuned)[name] for name in FULL.changes()} == FULL.changes()

    check_configuration(plain, generation, variant="cpu")
    check_configuration(tuned, generation, variant="cpu", tuning=FULL)
    for models, tuning in ((plain, FULL), (tuned, UNTUNED), (tuned, TUNING)):
        with pytest.raises(GenerationError, match=r"its .*\.pbtxt must be the one that the server runs, got another"):
            check_configuration(models, generation, variant="cpu", tuning=tuning)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instances": 0}, "instances must be 1 to 256, got 0"),
        ({"threads": 5000}, "threads must be 1 to 1,024, got 5000"),
        ({"index_threads": 0}, "index_threads must be 1 to 1,024, got 0"),
    ],
)
def test_ranges(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tuning(**settings)


def test_a_configuration_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"threads cannot be set in pipeline/config\.pbtxt: .*'threads'"):
        TUNING.applied(PIPELINE_CONFIG, 'instance_group { count: 1 } name: "pipeline"')
    with pytest.raises(GenerationError, match=r"instances cannot be read in .*; export again"):
        exported_settings(tmp_path)


def test_only_the_cpu_variant_is_served_with_settings() -> None:
    with pytest.raises(ConfigError, match="tuned settings are for --variant cpu, got tensorrt with instances 1"):
        ServeOptions(variant="tensorrt", tuning=TUNING)


def test_settings_of_this_machine_are_taken_and_others_are_named(tmp_path: Path) -> None:
    assert choose(tmp_path, "auto", variant="cpu", machine=HERE).line == ""
    FOUND.save(settings_path(tmp_path, HERE))
    assert [path.name for path in (tmp_path / ".tuning").iterdir()] == ["cpu-4.json"]
    assert TunedSettings.load(settings_path(tmp_path, HERE)) == FOUND
    taken = choose(tmp_path, "auto", variant="cpu", machine=HERE)
    assert taken.settings == TUNING
    assert taken.line == f"tuned settings of 2026-11-25 (generation {'0' * 16}): {TUNING}"
    another = choose(tmp_path, "auto", variant="cpu", machine=replace(HERE, cpu="Slide Rule"))
    assert another.settings == TUNING
    assert "tuned on 4 cores of Abacus 9): instances 1" in another.line
    for variant, cores in (("cpu", 2), ("tensorrt", 4)):
        ignored = choose(tmp_path, "auto", variant=variant, machine=replace(HERE, cores=cores))
        assert ignored.settings == UNTUNED
        assert ignored.line == (
            f"no tuned settings for {variant} with {cores} cores (there are those for cpu with 4): those of the export "
            "hold"
        )
    assert choose(tmp_path, "none", variant="cpu", machine=HERE).settings == UNTUNED
    file = str(settings_path(tmp_path, HERE))
    named = choose(tmp_path, file, variant="cpu", machine=replace(HERE, cores=2))
    assert named.settings == TUNING
    with pytest.raises(ConfigError, match="--tuning takes a file with --variant cpu only, got tensorrt"):
        choose(tmp_path, file, variant="tensorrt", machine=HERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"settings": {"index_thread": 1}},
            r"unknown key 'settings\.index_thread' \(did you mean 'index_threads'",
        ),
        ({"settings": {"threads": 0}}, r"threads must be 1 to 1,024, got 0 .*--tuning none serves"),
        ({"variant": "tensorrt"}, "settings must be tuned for the variant cpu, got 'tensorrt'"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = settings_path(tmp_path, HERE)
    FOUND.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        choose(tmp_path, "auto", variant="cpu", machine=HERE)
    path.write_text("{")
    with pytest.raises(
        ConfigError, match=r"tuned settings .*cpu-4\.json cannot be read .*: run trident tune again, or"
    ):
        choose(tmp_path, "auto", variant="cpu", machine=HERE)


EXPORTED = exported_settings(TEMPLATES)


@pytest.mark.parametrize("cores", [1, 2, 6, 64])
def test_the_encoder_s_threads_are_about_the_cores(cores: int) -> None:
    pairs, threads, lone = axes(cores, EXPORTED)
    shares = [pair["instances"] * pair["threads"] / cores for pair in pairs]
    assert {1} <= set(shares) <= {share for share in shares if 0.5 <= share <= 2}
    assert {"instances": cores, "threads": 1} in pairs
    assert [next(iter(each)) for axis in (threads, lone) for each in axis[:1]] == list(KNOBS)[2:]
    for settings in (*pairs, *threads, *lone):
        changed(UNTUNED, settings, EXPORTED)  # all are in range


def test_settings_as_exported_are_left_out() -> None:
    assert changed(UNTUNED, {"instances": 2, "threads": 1}, EXPORTED) == UNTUNED
    assert changed(TUNING, {"instances": 2, "threads": 1}, EXPORTED) == replace(TUNING, instances=None, threads=None)


def test_only_the_knobs_that_are_named_change() -> None:
    (pairs,) = axes(2, EXPORTED, ("threads",))
    assert pairs == ({"threads": 1}, {"threads": 2})
    with pytest.raises(ConfigError, match=r"--knob must be one of instances, .* got 'cores'"):
        axes(2, EXPORTED, ("cores",))
    with pytest.raises(ConfigError, match="there must be a --knob to tune: instances, "):
        axes(2, EXPORTED, ())
