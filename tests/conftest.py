"""Parts that tests share: a tiny seeded BERT with a real tokenizer, and a tiny labelled data set."""

from __future__ import annotations

import csv
import fcntl
import logging
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from disk_order import DiskOrder
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from warm import OFFLINE, WarmPython

from trident.attributes.building import write_attributes
from trident.attributes.inference import columns_of
from trident.attributes.schema import Field, FieldType, Schema
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.generation.generation import ENCODER_FOLDER, MANIFEST_FILE, Generation, find_generation, write_manifest
from trident_export.config import ExportConfig, LexicalOptions, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
from trident_train.recipe import (
    DataRecipe,
    LoraRecipe,
    LossRecipe,
    NegativesRecipe,
    OptimizerRecipe,
    SourceRecipe,
    TrainRecipe,
)
from trident_train.run import train


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest tests first: processes that run side by side end at about the same time."""
    folder = Path(__file__).parent
    order = ("triton", "pipeline", "unit")
    items.sort(key=lambda item: order.index(item.path.relative_to(folder).parts[0]))


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the long forms once, for every process that runs tests; no framework phones home."""
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    if not os.environ.get("TRIDENT_TEST_SEED"):
        os.environ["TRIDENT_TEST_SEED"] = str(random.SystemRandom().randrange(2**31))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say the seed where long forms ran."""
    if config.option.markexpr == "slow":
        seed = os.environ["TRIDENT_TEST_SEED"]
        terminalreporter.write_line(f"seed {seed}: make test-slow SEED={seed} repeats what was drawn")


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """Undo what a command run in this process does to our loggers: other tests read what they say."""
    loggers = [logging.getLogger(name) for name in ("trident", "trident_train", "trident_export", "trident_client")]
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)  # which forgets what it knew of its children


@pytest.fixture(scope="session")
def slow_seed() -> int:
    """Return the seed that a long form draws from; it stands at the head of the run."""
    return int(os.environ["TRIDENT_TEST_SEED"])


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Return what gives a folder that the first process of this run to ask makes, while others that ask wait.

    Nobody writes below it: whoever serves or changes what is there takes a copy.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once"
    shared.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed on the way
                make(folder)
                done.touch()
        return folder

    return made


COLOURS = {"red": "crimson", "blue": "navy", "green": "olive", "black": "ebony", "white": "ivory", "steel": "chrome"}
THINGS = ("kettle", "toaster", "headphones", "laptop", "sofa", "lamp", "rake", "novel")
BRANDS = ("Alba", "Borex", "Cindra")


def tiny_catalogue() -> list[tuple[str, str]]:
    """Return 144 products: every brand, colour and thing."""
    return [
        (f"{number:04d}", f"{brand} {thing} {colour}")
        for number, (brand, thing, colour) in enumerate(
            (brand, thing, colour) for brand in BRANDS for thing in THINGS for colour in COLOURS
        )
    ]


def tiny_pairs() -> list[tuple[str, str, str, int]]:
    """Return pairs of 48 queries that name colours in other words; the thing in the next colour is irrelevant."""
    rows = []
    following = dict(zip(COLOURS, [*list(COLOURS)[1:], *COLOURS], strict=False))
    for thing in THINGS:
        for colour, synonym in COLOURS.items():
            for product_id, title in tiny_catalogue():
                _, product_thing, product_colour = title.split()
                if product_thing == thing and product_colour in (colour, following[colour]):
                    rows.append((f"{synonym} {thing}", product_id, title, int(product_colour == colour)))
    return rows


@pytest.fixture(scope="session")
def tiny_model(made_once: MadeOnce) -> Path:
    """Return the folder of a BERT with 2 layers of width 32, random weights from a fixed seed, and its tokenizer."""
    torch.set_num_threads(1)  # the model is tiny: more threads only fight each other
    return made_once("tiny-bert", _write_tiny_model)


def _write_tiny_model(folder: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,-/"
    words = {word.lower() for word in (*BRANDS, *THINGS, *COLOURS, *COLOURS.values())}
    # written out, not trained: tokenizers' trainer breaks ties differently from process to process
    vocabulary = [*special, *letters, *(f"##{letter}" for letter in letters), *sorted(words)]
    tokenizer = Tokenizer(
        models.WordPiece({token: number for number, token in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(str(folder))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(str(folder))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``products.csv`` and ``pairs.csv``."""
    folder = tmp_path_factory.mktemp("tiny-data")
    _write_csv(folder / "products.csv", ("product_id", "product_title"), tiny_catalogue())
    _write_csv(folder / "pairs.csv", ("query", "product_id", "product_title", "relevance_label"), tiny_pairs())
    return folder


def _write_csv(path: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture(scope="session")
def tiny_recipe(tiny_model: Path, tiny_data: Path) -> TrainRecipe:
    """Return a LoRA recipe over the tiny model and data that trains in about a second."""
    return TrainRecipe(
        base_model=str(tiny_model),
        data=DataRecipe(pairs=str(tiny_data / "pairs.csv"), validation_share=0.2, test_share=0.3),
        text=TextContract(query_max_tokens=16, product_max_tokens=32),
        optimizer=OptimizerRecipe(epochs=4, batch_size=16, learning_rate=1e-2),
    )


@pytest.fixture(scope="session")
def two_sources(tiny_data: Path) -> DataRecipe:
    """Return the tiny data as two sources, the first ranked against its catalogue."""
    pairs, catalogue = str(tiny_data / "pairs.csv"), tiny_data / "products.csv"
    sources = {
        "ranked": SourceRecipe(pairs=pairs, catalogue=catalogue, rank_catalogue=True),
        "judged": SourceRecipe(pairs=pairs),
    }
    return DataRecipe(sources=sources, validation_share=0.2, test_share=0.3)


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe: TrainRecipe, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of the tiny recipe."""
    made = made_once("tiny-run", lambda folder: train(tiny_recipe, folder))
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("runs") / "tiny"))


@pytest.fixture(scope="session")
def tiny_generations(
    tiny_run: Path, tiny_data: Path, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a folder with one generation of the tiny run."""

    order = partial(ExportOrder, tiny_run, tiny_data / "products.csv", config=ExportConfig(threads=1))
    made = made_once("tiny-generations", lambda folder: export_generation(order(folder)))
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("generations") / "tiny"))


@pytest.fixture(scope="session")
def generation(tiny_generations: Path) -> Generation:
    """Return the generation of the tiny run; ``version_folder`` says where its served files are."""
    return find_generation(tiny_generations)


@pytest.fixture(scope="session")
def priced(generation: Generation, tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Return that generation with a price, a brand and colours; product n costs n, every third has no brand."""
    folder = Path(shutil.copytree(generation.folder, tmp_path_factory.mktemp("priced") / generation.id))
    types: dict[str, FieldType] = {"price": "number", "brand": "keyword", "colours": "list"}
    schema = Schema(fields=tuple(Field(name=name, type=kind) for name, kind in types.items()))
    rows = [
        {"price": float(row), "brand": ("alba", "bruno", None)[row % 3], "colours": ["red", "blue"][: row % 3]}
        for row in range(generation.manifest.products)
    ]
    part = folder / generation.version_folder("retriever").relative_to(generation.folder)
    write_attributes(part, columns_of(schema, rows), len(rows))
    (folder / MANIFEST_FILE).unlink()  # else it would record itself
    write_manifest(folder, generation.manifest)
    return Generation.load(folder)


@pytest.fixture(scope="session")
def tokenizer(generation: Generation) -> TextTokenizer:
    """Return its tokenizer."""
    return TextTokenizer.load(generation.version_folder("tokenizer"), generation.text_contract())


@pytest.fixture(scope="session")
def tiny_merged(tiny_generations: Path) -> Path:
    """Return the folder of the merged model in the generation of the tiny run."""
    return find_generation(tiny_generations).folder / ENCODER_FOLDER


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """Return an interpreter that has everything imported, for what a process of its own is needed for."""
    warm = WarmPython(tmp_path_factory.mktemp("warm"))
    with warm.process:
        yield warm
        for pid in warm.printed:  # of tests that failed before they waited
            os.kill(pid, signal.SIGKILL)
        assert warm.process.stdin is not None
        warm.process.stdin.close()


def run_stand_in(folders: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield an engine's stand-in, ``StandIn`` of ``store_process.py``."""
    yield from runpy.run_path(str(Path(__file__).parent / "store_process.py"))["running"](folders)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the stand-in of everybody: whoever stops it starts it again."""
    yield from run_stand_in(tmp_path_factory)


@pytest.fixture(scope="package")
def empty_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a package's own stand-in, where nobody else's collections are."""
    yield from run_stand_in(tmp_path_factory)


@pytest.fixture(scope="session")
def run_warm(warm_python: WarmPython) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs ``trident`` as ``run_trident`` does, but in a fork, where PyTorch is there already."""
    return partial(warm_python.run, "-m", "trident")


@pytest.fixture(scope="session")
def run_trident() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs ``trident`` with the given arguments in a process of its own, on one thread, without a hub."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trident", *map(str, arguments)],
            env=os.environ | OFFLINE | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> DiskOrder:
    """Return the record of what this test has the disk do."""
    return DiskOrder(monkeypatch)


@pytest.fixture(scope="session")
def both_runs(tiny_recipe: TrainRecipe, tiny_data: Path, made_once: MadeOnce) -> list[Path]:
    """Return the runs of an encoder and of a reranker over the candidates that it finds."""
    catalogue = tiny_data / "products.csv"
    data = replace(tiny_recipe.data, validation_share=0.35, every_positive_known=True, catalogue=catalogue)
    loss = LossRecipe(name="listwise", hard_negatives=2)
    lora, mined = LoraRecipe(targets=("all-linear",)), NegativesRecipe(mined=2, from_rank=1, to_rank=20)
    reranker = replace(tiny_recipe, data=data, stage="reranker", lora=lora, loss=loss, negatives=mined)
    recipes = {"encoder": replace(tiny_recipe, data=data), "reranker": reranker}
    return [made_once(f"two-stages-{name}", partial(train, recipe)) for name, recipe in recipes.items()]


@pytest.fixture(scope="session")
def two_stages(
    both_runs: list[Path], tiny_data: Path, made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory
) -> Generation:
    """Return a generation with a second stage, on by default over 12 candidates."""
    words, precision = LexicalOptions(mode="dense"), PrecisionConfig(made=("int8",), overlap_target=0.5)
    config = ExportConfig(threads=1, precision=precision, reranked=12, rerank=12, rerank_weight=0.4, lexical=words)
    order = partial(ExportOrder, both_runs[0], tiny_data / "products.csv", config=config, reranker=both_runs[1])
    made = made_once("two-stages", lambda folder: export_generation(order(folder)))
    return find_generation(Path(shutil.copytree(made, tmp_path_factory.mktemp("reranked") / "generations")))
