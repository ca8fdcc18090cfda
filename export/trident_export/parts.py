"""The parts of a generation: what its id is made of, and where they go in the model repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from trident.attributes.building import ARRAYS_FILE
from trident.attributes.schema import SCHEMA_FILE
from trident.cluster.store import STORE_KIND
from trident.config import to_table
from trident.data.catalogue import CATALOGUE_FILE
from trident.encoder.base_model import file_sha256
from trident.encoder.graph_files import CODES_FILE, GRAPH_FILES, UNPADDED_FILES, data_file, graph_sha256
from trident.encoder.text import TEXT_CONTRACT_FILE
from trident.encoder.tokenization import TOKENIZER_FILE
from trident.generation.generation import GOLDEN_FILE, REPOSITORY_FOLDER, Identity, unpadded_part, walk
from trident.generation.plan import PlanManifest
from trident.index.files import CUTS_FILE
from trident.lexical.suggestions import SUGGESTIONS_FILE
from trident.live.known import CATALOGUE_MODEL, KNOWN_FILE
from trident.ranking.calibration import CALIBRATION_FILE
from trident.ranking.trees import TREES_FILE
from trident.retrieval.words import WORD_FILES
from trident_export.engine.profiles import Profile
from trident_export.job import ExportJob
from trident_export.repository import MODELS, SUGGESTER, SUGGESTING, assemble, template_folder
from trident_export.stages.encoder import Encoder

OPTIONAL_FILES = {"calibration": CALIBRATION_FILE, "trees": TREES_FILE}  # of the retriever, by part


def part_hashes(
    job: ExportJob, encoder: Encoder, profiles: Sequence[Profile], plan: PlanManifest | None
) -> dict[str, str]:
    """Return the hash of every part that an answer depends on; not of what holds times: the report, an index's cuts.

    Of a plan it is the hash of what it is made of: the same inputs need not give the same bytes.
    """
    parts, templates = job.parts, template_folder()
    graphs = {f"onnx/{name}": file for name, file in GRAPH_FILES.items()}
    graphs |= {unpadded_part(name): file for name, file in UNPADDED_FILES.items()}
    graphs["codes/int8"] = CODES_FILE
    adapters = "".join(f"{path.relative_to(templates)}:{file_sha256(path)}\n" for path in walk(templates))
    return {
        "encoder": encoder.fingerprint,
        **{name: graph_sha256(parts / file) for name, file in graphs.items() if (parts / file).is_file()},
        "served": job.config.precision.served,
        "profiles": hashlib.sha256(json.dumps([to_table(each) for each in profiles]).encode()).hexdigest(),
        **({} if plan is None else {f"engine/{plan.library}/{plan.precision}": plan.identity}),
        "catalogue": file_sha256(parts / CATALOGUE_FILE),
        "attributes": file_sha256(parts / ARRAYS_FILE),
        "attributes/schema": file_sha256(parts / SCHEMA_FILE),
        **{name: file_sha256(parts / file) for name, file in OPTIONAL_FILES.items() if (parts / file).is_file()},
        **{f"lexical/{name}": file_sha256(parts / name) for name in WORD_FILES},
        **_live_parts(job),
        **_suggestions(job),
        **({} if job.config.store is None else {"store": STORE_KIND}),
        "golden": file_sha256(job.folder / GOLDEN_FILE),
        "templates": hashlib.sha256(adapters.encode()).hexdigest(),
        **{f"index/{path.name}": file_sha256(path) for path in walk(parts / "index") if path.name != CUTS_FILE},
        "exact_up_to": str(job.config.exact_up_to),
    }


def _live_parts(job: ExportJob) -> dict[str, str]:
    """Return how far a generation goes in the log: an upsert and its delete give the same catalogue, and another id."""
    if job.position is None:
        return {}
    place = json.dumps(asdict(job.position), sort_keys=True)
    return {"holds": place, "known": file_sha256(job.parts / KNOWN_FILE)}


def _suggestions(job: ExportJob) -> dict[str, str]:
    path = job.parts / SUGGESTIONS_FILE
    return {"suggestions": file_sha256(path)} if path.is_file() else {}


def fill_repository(job: ExportJob, identity: Identity, dimension: int) -> None:
    """Assemble the model repository and move the parts into it."""
    parts = job.parts
    models = (*MODELS, *SUGGESTING) if (parts / SUGGESTIONS_FILE).is_file() else MODELS
    folders = assemble(job.folder / REPOSITORY_FOLDER, identity, dimension=dimension, models=models)
    if SUGGESTER in folders:
        (parts / SUGGESTIONS_FILE).rename(folders[SUGGESTER] / SUGGESTIONS_FILE)
    for file in (*GRAPH_FILES.values(), *UNPADDED_FILES.values(), CODES_FILE):
        for path in (parts / file, data_file(parts / file)):
            if path.is_file():
                path.rename(folders["encoder"] / path.name)
    for name in (CATALOGUE_FILE, ARRAYS_FILE, SCHEMA_FILE, *WORD_FILES):
        (parts / name).rename(folders["retriever"] / name)
    for name in OPTIONAL_FILES.values():
        if (parts / name).is_file():
            (parts / name).rename(folders["retriever"] / name)
    if job.position is not None:
        (parts / KNOWN_FILE).rename(folders[CATALOGUE_MODEL] / KNOWN_FILE)
    if job.config.store is not None:
        job.config.store.save(folders[CATALOGUE_MODEL])
    for path in walk(parts / "index"):
        path.rename(folders["retriever"] / path.name)
    for name in (TOKENIZER_FILE, TEXT_CONTRACT_FILE):
        (folders["tokenizer"] / name).write_bytes((job.merged / name).read_bytes())
