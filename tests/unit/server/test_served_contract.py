"""The contract of search and embed, which a promotion keeps; ensembles around others; models that come with one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import GenerationError
from trident.generation.generation import Generation
from trident.server.contract import Contract, around
from trident.server.ensembles import add_cached
from trident.server.models import cached_ensemble, further_models
from trident.server.runtime_repository import (
    add_components,
    check_configuration,
    lay_out,
    models_without_version,
    remove_components,
)

EXTRA = 'name: "advise"\nbackend: "python"\nmax_batch_size: 0\nversion_policy { all {} }\n'


@pytest.fixture
def models(generation: Generation, tmp_path: Path) -> Path:
    """Return the repository of a server that runs the generation."""
    lay_out(tmp_path / "serving" / "models", generation, cache=False, plan=None)
    return tmp_path / "serving" / "models"


@pytest.fixture
def candidate(generation: Generation, tmp_path: Path) -> Generation:
    """Return a copy of the generation that may be changed."""
    copy = shutil.copytree(generation.folder, tmp_path / generation.id)
    return Generation.load(copy)


def edit(candidate: Generation, file: str, old: str, new: str) -> None:
    path = candidate.repository / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def bring(candidate: Generation, model: str = "advise") -> None:
    folder = candidate.repository / model / str(candidate.serial)
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text(EXTRA.replace("advise", model))
    (folder / "model.py").write_text("")
    shutil.copyfile(candidate.version_folder("search") / "generation.json", folder / "generation.json")


def test_a_contract_is_read_as_protobuf_reads_it(generation: Generation) -> None:
    for path in generation.repository.rglob("*.pbtxt"):
        text = path.read_text(encoding="utf-8")
        wanted = text_format.Parse(text, ModelConfig())
        found = Contract.of(text)
        assert list(found.inputs) == [each.name for each in wanted.input]
        assert list(found.outputs) == [each.name for each in wanted.output]
        for each in wanted.input:
            assert found.inputs[each.name].optional == each.optional
            assert [int(dim) for dim in found.inputs[each.name].dims] == list(each.dims)


def test_an_ensemble_around_another_asks_it_for_everything(generation: Generation, tmp_path: Path) -> None:
    for variant in ("cpu", "stages"):
        lay_out(tmp_path / variant / "models", generation, variant=variant, cache=True, plan=None)
        inner_name = cached_ensemble(generation.serial)
        texts = [(tmp_path / variant / "models" / name / "config.pbtxt").read_text() for name in ("search", inner_name)]
        outer, inner = (text_format.Parse(text, ModelConfig()) for text in texts)
        assert Contract.of(texts[0]) == Contract.of(texts[1])
        assert (outer.name, inner.name) == ("search", inner_name)
        assert (outer.response_cache.enable, inner.response_cache.enable) == (False, True)
        (step,) = outer.ensemble_scheduling.step
        assert (step.model_name, step.model_version) == (inner_name, 1)
        assert dict(step.input_map) == {each.name: each.name for each in inner.input}
        assert dict(step.output_map) == {each.name: each.name for each in inner.output}
        assert outer.max_batch_size == inner.max_batch_size == 64
        assert [path.name for path in (tmp_path / variant / "models" / inner_name).iterdir() if path.is_dir()] == ["1"]


def test_only_ensembles_are_put_into_others(candidate: Generation, models: Path) -> None:
    with pytest.raises(GenerationError, match=r"^an ensemble must have 'ensemble_scheduling' once, got 0$"):
        around('name: "x"', "y", 1)
    with pytest.raises(GenerationError, match=r"must have 'name' and 'data_type' once, got \[\]$"):
        Contract.of("input { dims: 1 }")
    edit(candidate, "search/configs/cpu.pbtxt", 'name: "search"', 'name: "sarch"')
    with pytest.raises(GenerationError, match=r"search/configs/cpu\.pbtxt must name 'search'; export again"):
        add_cached(models, candidate, variant="cpu")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "search/configs/cpu.pbtxt",
            "TYPE_INT64",
            "TYPE_INT32",
            r"its search must .* input 'k' must be TYPE_INT64 \[1\], optional, got TYPE_INT32 \[1\], optional",
        ),
        (
            "search/configs/cpu.pbtxt",
            'name: "options"',
            'name: "filter"',
            r"its search must take and give .* input 'filter' must be absent, got TYPE_STRING \[1\], optional",
        ),
        (
            "search/configs/cpu.pbtxt",
            'name: "details"',
            'name: "facts"',
            r"its search must .*: output 'details' must be TYPE_STRING \[1\], got none",
        ),
        (
            "embed/configs/cpu.pbtxt",
            "TYPE_FP32",
            "TYPE_FP16",
            r"its embed must take and give what that of the serving one does: output 'embedding' must be TYPE_FP32",
        ),
        (
            "pipeline/config.pbtxt",
            "max_batch_size: 1024",
            "max_batch_size: 512",
            r"its pipeline/config\.pbtxt must be the one that the server runs, got another",
        ),
    ],
)
def test_another_contract_is_not_promoted(
    models: Path, candidate: Generation, file: str, old: str, new: str, message: str
) -> None:
    edit(candidate, file, old, new)
    with pytest.raises(GenerationError, match=message) as caught:
        check_configuration(models, candidate, variant="cpu")
    assert str(caught.value).endswith(f"restart with trident serve --generation {candidate.id}")


def test_other_steps_of_the_ensembles_are_no_other_contract(models: Path, candidate: Generation) -> None:
    edit(candidate, "search/configs/cpu.pbtxt", "ensemble_scheduling", "parameters {\n}\nensemble_scheduling")
    check_configuration(models, candidate, variant="cpu")


def test_a_generation_may_bring_models_and_lack_some(
    models: Path, generation: Generation, candidate: Generation, tmp_path: Path
) -> None:
    bring(candidate)
    assert further_models(candidate.repository) == ("advise", "suggester")
    check_configuration(models, candidate, variant="cpu")
    add_components(models, candidate, plan=None)
    assert further_models(models) == ("advise", "suggester")
    assert (models / "advise" / str(candidate.serial) / "model.py").exists()
    check_configuration(models, generation, variant="cpu")  # the way back, to one that lacks it
    edit(candidate, "advise/config.pbtxt", "max_batch_size: 0", "max_batch_size: 8")
    with pytest.raises(GenerationError, match=r"its advise/config\.pbtxt must be the one that the server runs"):
        check_configuration(models, candidate, variant="cpu")
    assert models_without_version(models) == ()
    remove_components(models, candidate.serial)
    assert models_without_version(models) == ("advise", "suggester")


def test_what_stands_between_is_no_model_of_a_generation(models: Path) -> None:
    for name in ("candidate", "cached_7"):
        (models / name).mkdir()
        (models / name / "config.pbtxt").write_text("")
    assert further_models(models) == ("suggester",)
