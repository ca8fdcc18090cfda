"""Settings in the text of a model configuration: what is changed is what protobuf's own parser then reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from trident.errors import GenerationError
from trident.generation.pbtxt import setting, with_setting

TEMPLATES = Path(__file__).resolve().parents[3] / "model_repository"
CONFIGS = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.pbtxt"))
AWKWARD = """
# parameters { key: "threads" value { string_value: "9" } }
name: 'a "model" {'  # instance_group { count: 7 }
parameters: [ { key: "other" value: { string_value: "threads" } },
              { value: { string_value: '2' }; key: 'threads' } ]
instance_group [{count:1 kind:KIND_CPU}]
dynamic_batching: { preferred_batch_size: [ 4, 8 ], default_queue_policy { max_queue_size: 5 } }
"""


def parsed(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_each_setting_of_the_repository_is_changed_and_nothing_else() -> None:
    for path in CONFIGS:
        text = (TEMPLATES / path).read_text(encoding="utf-8")
        wanted = parsed(text)
        for key in wanted.parameters:
            text = with_setting(text, f"parameters.{key}", 7)
            wanted.parameters[key].string_value = "7"
        if wanted.instance_group:
            text = with_setting(text, "instance_group.count", 3)
            wanted.instance_group[-1].count = 3 - sum(group.count for group in wanted.instance_group[:-1])
        assert parsed(text) == wanted, path


def test_comments_strings_lists_and_separators_are_read_as_protobuf_does() -> None:
    wanted, text = parsed(AWKWARD), AWKWARD
    assert setting(text, "parameters.threads") == wanted.parameters["threads"].string_value == "2"
    assert setting(text, "instance_group.count") == "1"
    for path, value in (("parameters.threads", 4), ("instance_group.count", 2)):
        text = with_setting(text, path, value)
        assert setting(text, path) == str(value)
    wanted.parameters["threads"].string_value = "4"
    wanted.instance_group[0].count = 2
    assert parsed(text) == wanted
    assert [line for line in text.splitlines() if "#" in line] == [line for line in AWKWARD.splitlines() if "#" in line]


GROUPS = "instance_group [ { count: 1 kind: KIND_CPU }, { count: 3 kind: KIND_MODEL } ] max_batch_size: 8"


@pytest.mark.parametrize("text", [GROUPS, str(parsed(GROUPS))])
@pytest.mark.parametrize(("instances", "counts"), [(7, [1, 6]), (2, [1, 1]), (1, [1])])
def test_the_last_group_of_instances_makes_up_the_number(text: str, instances: int, counts: list[int]) -> None:
    assert setting(text, "instance_group.count") == "4"
    wanted = parsed(text)
    text = with_setting(text, "instance_group.count", instances)
    assert setting(text, "instance_group.count") == str(instances)
    del wanted.instance_group[len(counts) :]
    wanted.instance_group[-1].count = counts[-1]
    assert parsed(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "a', r"must be in protobuf's text format, got '\"' at 6"),
        ("name: }", r"must be in protobuf's text format, got 'name }' at 0"),
        ("name: { } }", r"must be in protobuf's text format, got one that ends in the middle"),
        ("dynamic_batching {", r"got one that ends in the middle"),
        ("dims: [ 1", r"got one that ends in the middle"),
        ("a:", r"got one that ends in the middle"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        setting(text, "parameters.threads")


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "parameters.threads", "must have the parameter 'threads' once, got 0"),
        ('parameters { key: "a" value { string_value: "1" } }', "parameters.threads", "'threads' once, got 0"),
        ("", "instance_group.count", "must have 'instance_group', .* got 0 groups"),
        ("instance_group [ { count: 1 }, { } ]", "instance_group.count", "'count' in each once, got 2 groups"),
    ],
)
def test_a_setting_without_a_place_of_its_own_is_refused(text: str, path: str, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        with_setting(text, path, 1)
