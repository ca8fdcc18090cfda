"""The contract of the served models: config.pbtxt, core, client and adapters name the same tensors and limits."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import trident_client.tensors
from trident.encoder import encoder
from trident.retrieval import tensors
from trident.search import pipeline_instance
from trident.search.model_parameters import NICENESS
from trident_client import SearchClient
from trident_export.repository import render

TEMPLATES = Path(__file__).resolve().parents[2] / "model_repository"
CONFIGS = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.pbtxt"))
ENSEMBLES = ("search", "embed", "suggest/")  # suggester is none
PIPELINE = "pipeline/config.pbtxt"
KEEP_THEIR_QUEUE = (PIPELINE, "encoder/configs/stages.pbtxt", "encoder/configs/torch.pbtxt")  # in Python
ADAPTERS = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.glob("*/1/*.py"))
RAGGED = ("encoder/configs/stages.pbtxt", "encoder/configs/torch.pbtxt")
PIPELINE_ADAPTER, GPU_ADAPTER = "pipeline/1/model.py", "encoder/1/torch_model.py"


@dataclass(frozen=True)
class Tensor:
    """A tensor of a config.pbtxt; ``dims`` are without the batch."""

    type: str
    dims: tuple[int, ...]
    optional: bool = False


TEXT = Tensor("TYPE_STRING", (1,))
OPTIONAL_TEXT = Tensor("TYPE_STRING", (1,), optional=True)
TEXTS = Tensor("TYPE_STRING", (-1,))
TOKENS = Tensor("TYPE_INT64", (-1,))
FLOATS = Tensor("TYPE_FP32", (-1,))
COUNT = Tensor("TYPE_INT32", (1,))
OPTIONAL_INTEGER = Tensor("TYPE_INT64", (1,), optional=True)
OPTIONAL_FLOAT = Tensor("TYPE_FP32", (1,), optional=True)

KNOBS = {
    tensors.K: OPTIONAL_INTEGER,
    tensors.EF: OPTIONAL_INTEGER,
    tensors.MIN_SCORE: OPTIONAL_FLOAT,
    tensors.OPTIONS: OPTIONAL_TEXT,
}
ENCODED = {tensors.INPUT_IDS: TOKENS, tensors.ATTENTION_MASK: TOKENS}
FOUND = {
    tensors.PRODUCT_ID: TEXTS,
    tensors.SCORE: FLOATS,
    tensors.TITLE: TEXTS,
    tensors.COUNT: COUNT,
    tensors.DETAILS: TEXT,
    tensors.GENERATION: TEXT,
}
SUGGESTING = (
    {tensors.PREFIX: TEXT, tensors.K: OPTIONAL_INTEGER},
    {tensors.SUGGESTION: TEXTS, tensors.SOURCE: TEXTS, tensors.COUNT: COUNT, tensors.GENERATION: TEXT},
)
# (inputs, outputs) of every model
CONTRACT = {
    "search": ({tensors.QUERY: TEXT, **KNOBS}, FOUND),
    "embed": (
        {tensors.TEXT: TEXT, tensors.SIDE: OPTIONAL_TEXT},
        {tensors.EMBEDDING: FLOATS, tensors.GENERATION: TEXT},
    ),
    "tokenizer": ({tensors.TEXT: TEXT, tensors.SIDE: OPTIONAL_TEXT}, {**ENCODED, tensors.GENERATION: TEXT}),
    "encoder": (ENCODED, {tensors.EMBEDDING: FLOATS}),
    "retriever": ({tensors.EMBEDDING: FLOATS, **KNOBS}, FOUND),
    "suggester": SUGGESTING,
    "suggest": SUGGESTING,
    "pipeline": (
        {tensors.TEXT: TEXT, tensors.SIDE: OPTIONAL_TEXT, **KNOBS},
        {**FOUND, tensors.EMBEDDING: FLOATS},
    ),
}


def config(path: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((TEMPLATES / path).read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def inputs(found: model_config_pb2.ModelConfig) -> dict[str, Tensor]:
    names = model_config_pb2.DataType.Name
    return {each.name: Tensor(names(each.data_type), tuple(each.dims), each.optional) for each in found.input}


def outputs(found: model_config_pb2.ModelConfig) -> dict[str, Tensor]:
    names = model_config_pb2.DataType.Name
    return {each.name: Tensor(names(each.data_type), tuple(each.dims)) for each in found.output}


def test_the_templates_are_those_of_the_contract() -> None:
    assert {path.split("/")[0] for path in CONFIGS} == CONTRACT.keys()
    assert {f"{model}/config.pbtxt" for model in CONTRACT} <= set(CONFIGS)
    variants = {path for path in CONFIGS if "/configs/" in path}
    assert variants == {
        "embed/configs/cpu.pbtxt",
        "search/configs/cpu.pbtxt",
        "encoder/configs/stages.pbtxt",
        "encoder/configs/onnxruntime.pbtxt",
        "encoder/configs/torch.pbtxt",
        "tokenizer/configs/stages.pbtxt",
        "tokenizer/configs/torch.pbtxt",
    }


@pytest.mark.parametrize("path", CONFIGS)
def test_a_config_has_the_tensors_of_the_contract(path: str) -> None:
    found = config(path)
    assert found.name == path.split("/")[0]
    assert (inputs(found), outputs(found)) == CONTRACT[found.name]


@pytest.mark.parametrize("path", CONFIGS)
def test_batches_are_of_one_size_and_every_version_stays_loaded(path: str) -> None:
    found = config(path)
    assert found.max_batch_size == (1024 if path in KEEP_THEIR_QUEUE else trident_client.tensors.MAX_BATCH)
    assert found.version_policy.WhichOneof("policy_choice") == "all"
    assert not found.model_transaction_policy.decoupled  # the response cache wants one answer a request


@pytest.mark.parametrize("path", [path for path in CONFIGS if not path.startswith(ENSEMBLES)])
def test_a_queue_has_no_limit_of_triton_s(path: str) -> None:
    """With one, Triton forgets requests for half a second (docs/log/serving.md)."""
    found = config(path)
    assert found.HasField("dynamic_batching")
    assert not found.dynamic_batching.HasField("default_queue_policy")
    assert not found.dynamic_batching.preferred_batch_size  # for plans with several profiles only
    assert len(found.instance_group) == (2 if path == PIPELINE else 1)


@pytest.mark.parametrize("path", KEEP_THEIR_QUEUE)
def test_a_model_in_python_rejects_what_waits_too_long(path: str) -> None:
    assert int(config(path).parameters["max_wait_ms"].string_value) > 0


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.startswith(ENSEMBLES)])
def test_the_steps_of_an_ensemble_fit_together(path: str) -> None:
    found = config(path)
    assert found.platform == "ensemble"
    assert not found.instance_group
    assert not found.HasField("dynamic_batching")
    flowing = inputs(found)  # what was made so far, by the ensemble's names
    for step in found.ensemble_scheduling.step:
        assert step.model_version == 1, "the template's version, never -1, which would mix generations"
        component = config(f"{step.model_name}/config.pbtxt")
        assert step.input_map.keys() <= inputs(component).keys()
        for name, expected in inputs(component).items():
            assert name in step.input_map or expected.optional
            if name in step.input_map:
                assert flowing[step.input_map[name]] == expected, f"{step.model_name}: {name}"
        for name, made in step.output_map.items():
            assert made not in flowing
            flowing[made] = outputs(component)[name]
    for name, expected in outputs(found).items():
        assert flowing[name] == expected, name


def test_the_ensembles_share_tokenizer_and_encoder() -> None:
    steps = {
        path: [step.model_name for step in config(path).ensemble_scheduling.step]
        for path in CONFIGS
        if path.startswith(ENSEMBLES)
    }
    assert steps == {
        "search/config.pbtxt": ["tokenizer", "encoder", "retriever"],
        "embed/config.pbtxt": ["tokenizer", "encoder"],
        "suggest/config.pbtxt": ["suggester"],
        "search/configs/cpu.pbtxt": ["pipeline"],
        "embed/configs/cpu.pbtxt": ["pipeline"],
    }


def test_only_the_python_encoders_take_ragged_batches() -> None:
    for path in CONFIGS:
        ragged = [each.allow_ragged_batch for each in config(path).input]
        assert all(ragged) if path in RAGGED else not any(ragged), path


def test_each_encoder_gets_the_lengths_that_it_batches() -> None:
    pads = {path: config(path).parameters["pads_queries"].string_value for path in CONFIGS if "tokenizer" in path}
    assert pads == {path: str(path == "tokenizer/config.pbtxt").lower() for path in pads}
    assert config("encoder/config.pbtxt").platform == "tensorrt_plan"
    assert config("encoder/configs/onnxruntime.pbtxt").platform == "onnxruntime_onnx"
    assert config("encoder/configs/stages.pbtxt").backend == "python"


def test_the_export_pins_the_steps_and_fills_in_the_width() -> None:
    template = (TEMPLATES / "embed" / "config.pbtxt").read_text(encoding="utf-8")
    found = text_format.Parse(render(template, serial=7, dimension=384), model_config_pb2.ModelConfig())
    assert [step.model_version for step in found.ensemble_scheduling.step] == [7, 7]
    assert outputs(found)[tensors.EMBEDDING] == Tensor("TYPE_FP32", (384,))
    assert inputs(found) == CONTRACT["embed"][0]


def test_a_python_models_configuration_is_the_same_for_every_generation() -> None:
    for path in CONFIGS:
        if config(path).platform:
            continue
        template = (TEMPLATES / path).read_text(encoding="utf-8")
        assert render(template, serial=7, dimension=384) == render(template, serial=8, dimension=1024)


def test_the_client_names_what_the_server_names() -> None:
    own = {name: value for name, value in vars(trident_client.tensors).items() if name.isupper()}
    server = {name: value for name, value in vars(tensors).items() if name.isupper()}
    assert own["MAX_BATCH"] == config("search/config.pbtxt").max_batch_size
    assert own.items() <= server.items()
    inside = {"INPUT_IDS", "ATTENTION_MASK"}  # between the models
    server_only = {"QUERY_MAX_BYTES", "OPTIONS_MAX_BYTES"}  # the client asks and is told
    server_only |= {"EMPTY_SCORE"}  # behind the products that the count tells of
    assert server.keys() - own.keys() == inside | server_only


def test_defaults_are_the_servers() -> None:
    for method in (SearchClient.search, SearchClient.search_many):
        assert inspect.signature(method).parameters["k"].default == tensors.K_DEFAULT


def test_the_encoder_graph_names_its_tensors_alike() -> None:
    assert encoder.INPUTS == (tensors.INPUT_IDS, tensors.ATTENTION_MASK)
    assert encoder.OUTPUT == tensors.EMBEDDING


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_is_short_and_imports_trident_only(adapter: str) -> None:
    source = (TEMPLATES / adapter).read_text(encoding="utf-8")
    assert len(source.splitlines()) <= (100 if adapter == PIPELINE_ADAPTER else 62)  # which does what the others do
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    own = {"trident", "trident_gpu"} if adapter == GPU_ADAPTER else {"trident"}
    assert imported <= {"json", "pathlib", "numpy", "triton_python_backend_utils"} | own


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_takes_tensor_names_from_the_contract(adapter: str) -> None:
    names = {value for value in vars(tensors).values() if isinstance(value, str) and value != tensors.__doc__}
    source = (TEMPLATES / adapter).read_text(encoding="utf-8")
    written = {
        node.args[-1].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("get_input_tensor_by_name", "Tensor")
        and isinstance(node.args[-1], ast.Constant)
    }
    assert not written & names


@pytest.mark.parametrize("path", [path for path in CONFIGS if not path.startswith(ENSEMBLES)])
def test_parameters_that_an_adapter_reads_are_there(path: str) -> None:
    found = config(path)
    if found.backend != "python":
        assert found.default_model_filename in ("model.onnx", "model.plan")
        return
    adapter = TEMPLATES / found.name / "1" / (found.default_model_filename or "model.py")
    parts = [Path(pipeline_instance.__file__)] if adapter.relative_to(TEMPLATES).as_posix() == PIPELINE_ADAPTER else []
    nodes = [node for source in (adapter, *parts) for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))]
    read = {key for node in nodes if (key := key_of_parameters(node)) is not None}
    assert read == set(found.parameters) - {NICENESS}  # which start_model reads


def key_of_parameters(node: ast.AST) -> str | None:
    """Return ``name`` of ``parameters["name"]`` and of ``parameters.get("name", …)``."""
    match node:
        case ast.Subscript(value=ast.Name(id="parameters"), slice=ast.Constant(value=key)):
            return key
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="parameters"), attr="get"), args=[ast.Constant(value=key), _]
        ):
            return key
    return None
