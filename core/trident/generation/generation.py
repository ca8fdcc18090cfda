"""A generation: one immutable folder with everything that answers a query, bound by its manifest.

    generations/<id>/
        manifest.json            written last: without it there is no generation
        encoder/                 the merged model, loadable by transformers and sentence-transformers
        reranker/                the merged second stage with its graphs, where there is one
        engines/                 a TensorRT plan, where one was built: <library>/<precision>/model.plan
        model_repository/        what Triton loads; the version folder of every model is the serial number
        golden.json              queries and the answers that this generation gave when it was exported
        test.parquet             held-out pairs of the run

The id is the hash of what the parts hold, so that the same inputs give the same id on the same machine. The serial
number counts the generations of a folder and is Triton's version number; it is not part of the id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trident.config import from_table
from trident.encoder.base_model import file_sha256
from trident.encoder.file_sample import sample_sha256
from trident.encoder.graph_files import GRAPH_FILES, ONNX_FILE, UNPADDED_FILES
from trident.encoder.text import TextContract
from trident.errors import ConfigError, FormatError, GenerationError, nearest
from trident.generation.golden import GoldenAnswer, load_golden
from trident.generation.holds import Position

MANIFEST_FILE = "manifest.json"
IDENTITY_FILE = "generation.json"
GOLDEN_FILE = "golden.json"
TEST_PAIRS_FILE = "test.parquet"
REPOSITORY_FOLDER = "model_repository"
ENCODER_FOLDER = "encoder"
WEIGHTS = "weights"  # in the encoder's version folder of a running server: the merged model, for those who run no graph
ENGINES_FOLDER = "engines"
RERANKER_FOLDER = "reranker"  # of the generation, and in the encoder's version folder of a running server
QUERY_TOKENS = 16  # of ESCI's queries, half have 6, 99% 13 and the longest 16
ID_LENGTH = 16
FORMAT = 4  # rises when what a generation holds, its copies of model.py among it, no longer fits this code


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What every served model knows about its generation; ``generation.json`` in its version folder."""

    id: str
    serial: int
    encoder_fingerprint: str
    graph: str = ONNX_FILE  # what the CPU server runs: a file of the encoder's version folder
    query_tokens: int = QUERY_TOKENS  # that queries are padded to, for encoders that batch equal lengths only
    calibration: str = ""  # SHA-256 of the maps from scores to probabilities; empty: there are none
    trees: str = ""  # SHA-256 of those that put what the second stage scored in order; empty: there are none
    reranker: str = ""  # fingerprint of the second stage; empty: there is none
    reranker_precision: str = "fp32"  # of its graph, as a CPU runs it
    rerank: int = 0  # candidates that it gets where a request does not say
    rerank_weight: float = 1.0  # of its logit beside the first stage's score, 0 to 1; 1: the logit alone
    rerank_budget_ms: float | None = None  # milliseconds that a request's may take then; None: all they need

    def save(self, folder: Path) -> None:
        """Write ``generation.json`` into a folder."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True)
        (folder / IDENTITY_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """Read ``generation.json`` of a folder.

        Raises:
            GenerationError: If it is missing or damaged.
        """
        identity: Identity = _load(cls, folder / IDENTITY_FILE)
        return identity


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file of a generation as it was when the manifest was written."""

    sha256: str
    size_bytes: int
    sample: str  # SHA-256 of a sample, see trident.encoder.file_sample; of all of a small file


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a generation holds, where it comes from, and what was proven about it."""

    id: str
    serial: int
    created_at: str  # ISO 8601, UTC
    encoder_fingerprint: str  # of merged weights, tokenizer and text contract together
    parts: dict[str, str]  # name of a part -> SHA-256 of what it holds; the id is made of these
    parents: dict[str, str]  # run, base model and its weights, catalogue file
    text: dict[str, Any]  # the text contract
    index: dict[str, Any]  # settings and size of the index
    products: int
    stages: list[dict[str, Any]]  # one row a stage of the export: seconds, bytes, proof
    quality: dict[str, Any]  # figures on the run's held-out pairs
    versions: dict[str, str]  # of the tools
    fingerprints: dict[str, str] = field(default_factory=dict)  # the encoder's three by themselves
    precisions: list[dict[str, Any]] = field(default_factory=list)  # what each was held against, shipped or not
    gate: list[dict[str, Any]] = field(
        default_factory=list
    )  # of the export and of every promotion; trident.quality.gate
    profiles: list[dict[str, Any]] = field(default_factory=list)  # shapes that a TensorRT plan is built for
    files: dict[str, FileRecord] = field(default_factory=dict)  # relative path -> record
    holds: dict[str, Any] = field(
        default_factory=dict
    )  # how far it goes in the log of the live catalogue; see Position
    ranking: dict[str, Any] = field(default_factory=dict)  # how words take part, and what that was chosen by
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Check the serial number."""
        if self.serial < 1:
            raise ConfigError(f"serial must be >= 1, got {self.serial}")


@dataclass(frozen=True)
class Generation:
    """A complete generation on disk."""

    folder: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        """The id."""
        return self.manifest.id

    @property
    def serial(self) -> int:
        """The serial number, Triton's version number."""
        return self.manifest.serial

    @property
    def repository(self) -> Path:
        """The model repository."""
        return self.folder / REPOSITORY_FOLDER

    def version_folder(self, model: str) -> Path:
        """Return where the served files of a model are."""
        return self.repository / model / str(self.serial)

    def graph(self, precision: str = "fp32") -> Path:
        """Return where the encoder's graph of a precision is, or would be."""
        return self.version_folder("encoder") / GRAPH_FILES[precision]

    def cpu_graph(self, precision: str | None = None) -> Path:
        """Return where the graph is that a CPU runs: without padding, where the encoder can be run so.

        Args:
            precision: fp32 or int8; None: the one that is served.
        """
        chosen = precision or self.served_precision
        unpadded = unpadded_part(chosen) in self.manifest.parts
        return self.version_folder("encoder") / UNPADDED_FILES[chosen] if unpadded else self.graph(chosen)

    @property
    def served_precision(self) -> str:
        """The precision of the graph that the CPU server runs: fp32 or int8."""
        return self.manifest.parts["served"]

    @property
    def holds(self) -> Position | None:
        """How far it goes in the log of a live catalogue; None: it was exported without one.

        Raises:
            GenerationError: If what the manifest says is damaged.
        """
        if not self.manifest.holds:
            return None
        position: Position = _parse(Position, self.manifest.holds, self.folder / MANIFEST_FILE)
        return position

    def text_contract(self) -> TextContract:
        """Return the rules that make encoder input of raw text.

        Raises:
            ModelError: If the file is missing or damaged.
        """
        return TextContract.load(self.version_folder("tokenizer"))

    def golden(self) -> list[GoldenAnswer]:
        """Return the golden queries with their answers.

        Raises:
            GenerationError: If the file is missing or damaged.
        """
        return load_golden(self.folder / GOLDEN_FILE)

    @classmethod
    def load(cls, folder: Path) -> Generation:
        """Read the manifest of a generation's folder; files are not checked, see ``check_files``.

        Raises:
            FormatError: If another version of Trident made it.
            GenerationError: If there is no manifest, or it is damaged.
        """
        if not (folder / MANIFEST_FILE).is_file():
            raise GenerationError(f"{folder} is no generation: it has no {MANIFEST_FILE}; make one with trident export")
        table = _table(folder / MANIFEST_FILE)
        _require_format(folder, table)
        return cls(folder, _parse(Manifest, table, folder / MANIFEST_FILE))

    def verify_files(self) -> None:
        """Hold every byte of every file against the manifest; this reads all of them.

        Raises:
            GenerationError: Naming the first file that is missing, changed or unknown.
        """
        self.check_files()
        for name, record in self.manifest.files.items():
            if file_sha256(self.folder / name) != record.sha256:
                raise GenerationError(f"generation {self.id}: {name} was changed after the export; export again")

    def check_files(self) -> None:
        """Hold every file against the manifest: the names, the sizes, all of a small one and a sample of a large one.

        Raises:
            GenerationError: Naming the first file that is missing, cut off, swapped or unknown.
        """
        found = {path.relative_to(self.folder).as_posix() for path in walk(self.folder)} - {MANIFEST_FILE}
        for name, record in self.manifest.files.items():
            path = self.folder / name
            if name not in found:
                raise GenerationError(f"generation {self.id}: {name} is missing; export again")
            if path.stat().st_size != record.size_bytes:
                raise GenerationError(
                    f"generation {self.id}: {name} must have {record.size_bytes:,} bytes, got "
                    f"{path.stat().st_size:,}: it was changed or cut off; export again"
                )
            if sample_sha256(path) != record.sample:
                raise GenerationError(f"generation {self.id}: {name} was changed after the export; export again")
        unknown = sorted(found - self.manifest.files.keys())
        if unknown:
            raise GenerationError(f"generation {self.id}: {unknown[0]} is not in the manifest; remove it")


def unpadded_part(precision: str) -> str:
    """Return what the manifest calls the unpadded graph of a precision among its parts."""
    return f"onnx/{precision}/unpadded"


def generation_id(parts: Mapping[str, str]) -> str:
    """Return the id of a generation made of parts: the start of the SHA-256 over their names and hashes."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()[:ID_LENGTH]


def is_id(name: str) -> bool:
    """Return whether a name is a generation's id."""
    return re.fullmatch(rf"[0-9a-f]{{{ID_LENGTH}}}", name) is not None


def list_generations(folder: Path) -> list[Generation]:
    """Return the complete generations of a folder, lowest serial number first; a copy under another name is none.

    Those of another version of Trident are left out; ``other_formats`` returns them.

    Raises:
        GenerationError: If a manifest is damaged.
    """
    found = []
    for path in _folders(folder):
        with suppress(FormatError):
            generation = Generation.load(path)
            if generation.id == path.name:
                found.append(generation)
    return sorted(found, key=lambda generation: generation.serial)


def other_formats(folder: Path) -> dict[Path, FormatError]:
    """Return the generations of a folder that another version of Trident made, and what is said of each.

    Raises:
        GenerationError: If a manifest is damaged.
    """
    refused = {}
    for path in _folders(folder):
        try:
            Generation.load(path)
        except FormatError as error:
            refused[path] = error
    return refused


def find_generation(folder: Path, generation: str | None = None) -> Generation:
    """Return the generation with an id, or the newest one.

    Args:
        folder: The folder of generations.
        generation: A whole id, or None for the one with the highest serial number.

    Raises:
        FormatError: If it, or everything that is there, was made by another version of Trident.
        GenerationError: If there is none.
    """
    found = list_generations(folder)
    others = {path.name: error for path, error in other_formats(folder).items()}
    if generation in others or (generation is None and not found and others):
        raise others[generation or min(others)]
    if not found:
        raise GenerationError(
            f"{folder} holds no generation: make one with trident export RUN --catalogue FILE --out {folder}"
        )
    if generation is None:
        return found[-1]
    by_id = {candidate.id: candidate for candidate in found}
    if generation not in by_id:
        hint = nearest(generation, by_id) or f" (there: {', '.join(by_id)})"
        raise GenerationError(f"generation '{generation}' is not in {folder}{hint}")
    return by_id[generation]


def generation_by_id(folder: Path, generation: str) -> Generation:
    """Return the generation with an id; the others of the folder may be damaged.

    Args:
        folder: The folder of generations.
        generation: A whole id: nothing else becomes part of a path.

    Raises:
        GenerationError: If it is no id, or there is none with it, or its manifest is damaged or of another one.
    """
    if not is_id(generation):
        raise GenerationError(f"a generation's id must be {ID_LENGTH} hexadecimal digits, got '{generation}'")
    path = folder / generation
    if not (path / MANIFEST_FILE).is_file():
        there = [each.parent.name for each in sorted(folder.glob(f"[0-9a-f]*/{MANIFEST_FILE}"))]
        hint = nearest(generation, there) or f" (there: {', '.join(there) or 'none'})"
        raise GenerationError(f"generation '{generation}' is not in {folder}{hint}")
    found = Generation.load(path)
    if found.id != generation or generation_id(found.manifest.parts) != generation:
        raise GenerationError(
            f"generation {generation}: its manifest must be of the same id, got {found.id} with parts that make "
            f"{generation_id(found.manifest.parts)}: it was changed after the export; export again"
        )
    return found


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Record every file of a folder in the manifest and write it; the last act of an export."""
    files = {
        path.relative_to(folder).as_posix(): asdict(
            FileRecord(sha256=file_sha256(path), size_bytes=path.stat().st_size, sample=sample_sha256(path))
        )
        for path in walk(folder)
    }
    table = {**asdict(manifest), "files": files}
    text = json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def walk(folder: Path) -> list[Path]:
    """Return the files under a folder, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST_FILE}") if is_id(path.parent.name))


def _require_format(folder: Path, table: Any) -> None:
    made_in = table.get("format", FORMAT) if isinstance(table, dict) else FORMAT
    if made_in == FORMAT or not isinstance(made_in, int):
        return  # what is no number is damage, which parsing names
    whose = "an earlier" if made_in < FORMAT else "a later"
    formats = f"format {made_in}, this one reads {FORMAT}"
    raise FormatError(f"generation {folder.name} was made by {whose} Trident ({formats}): export again", made_in)


def _load(cls: Any, path: Path) -> Any:
    return _parse(cls, _table(path), path)


def _table(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GenerationError(f"{path} is missing: export again") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise GenerationError(f"{path} is damaged: {error}; export again") from error


def _parse(cls: Any, table: Any, path: Path) -> Any:
    try:
        return from_table(cls, table, where=str(path))
    except ConfigError as error:
        raise GenerationError(f"{path} is damaged: {error}; export again") from error
