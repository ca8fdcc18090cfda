"""The repository that a running tritonserver reads: links into generations, and configurations.

A version number of Triton is a generation's serial number. The components hold every loaded generation; the ensembles
``search`` and ``embed`` hold the serving one only, their steps pinned to it. A generation is never written to.

Which components a server loads is a matter of its variant: one process for CPUs, the pipeline, or three stages. The
folders of all of them are there: the pipeline reads those of the stages.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trident.encoder.graph_files import GRAPH_FILES
from trident.errors import GenerationError
from trident.generation.generation import ENCODER_FOLDER, WEIGHTS, Generation, Identity
from trident.generation.plan import PLAN_FILE
from trident.generation.staging import scratch_folder, staged_folder, write_text
from trident.generation.tuning import UNTUNED, Tuning

PIPELINE = "pipeline"  # all stages in one process
STAGES = ("tokenizer", "encoder", "retriever")
COMPONENTS = (*STAGES, PIPELINE)
ENSEMBLES = ("search", "embed")
CANDIDATE = "candidate"  # search of a generation that does not serve yet
CONFIG_FILE = "config.pbtxt"
CACHED = "search"  # the ensemble whose answers are cached
ONE_PROCESS = "cpu"  # the variant whose ensembles have the pipeline as their only step
CACHE_CONFIG = "response_cache { enable: true }\n"


def loaded_components(variant: str) -> tuple[str, ...]:
    """Return the components that a server of a variant loads."""
    return (PIPELINE,) if variant == ONE_PROCESS else STAGES


def lay_out(
    models: Path,
    generation: Generation,
    *,
    variant: str = ONE_PROCESS,
    cache: bool,
    plan: Path | None,
    tuning: Tuning = UNTUNED,
) -> None:
    """Make a runtime repository that holds one generation.

    Args:
        models: The repository; what is there is removed.
        generation: The one to serve.
        variant: Of the server.
        cache: Whether answers of ``search`` are cached.
        plan: The TensorRT plan that the encoder runs; None: it runs none.
        tuning: Settings that take the place of those of the generation.

    Raises:
        GenerationError: If a configuration has no place for a setting.
    """
    shutil.rmtree(models, ignore_errors=True)
    for file, text in configurations(generation.repository, tuning).items():
        (models / file).parent.mkdir(parents=True, exist_ok=True)
        (models / file).write_text(text, encoding="utf-8")
    write_text(_serials_path(models), json.dumps({}))
    use_serial(models, generation)
    add_components(models, generation, plan=plan)
    point_ensembles(models, generation, variant=variant, cache=cache)


def configurations(repository: Path, tuning: Tuning = UNTUNED) -> dict[str, str]:
    """Return the text of each configuration file of the components in a repository, with tuned settings in it.

    Raises:
        GenerationError: If a file has no place for a setting.
    """
    files = [file for component in COMPONENTS for file in sorted((repository / component).rglob("*.pbtxt"))]
    names = [file.relative_to(repository).as_posix() for file in files]
    texts = [file.read_text(encoding="utf-8") for file in files]
    return {name: tuning.applied(name, text) for name, text in zip(names, texts, strict=True)}


def use_serial(models: Path, generation: Generation) -> None:
    """Note that a serial number is this generation's until the server starts anew, loaded or not.

    Its response cache knows answers by it: another generation of the number would answer with them.

    Raises:
        GenerationError: If the number was another generation's since the server's start.
        OSError: If that cannot be written.
    """
    path = _serials_path(models)
    used: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    owner = used.setdefault(str(generation.serial), generation.id)
    if owner != generation.id:
        raise GenerationError(
            f"generation {generation.id} must have a serial number of its own, got {generation.serial}, which is that "
            f"of generation {owner}, loaded since the server started: export again"
        )
    write_text(path, json.dumps(used))


def remove_repository(models: Path) -> None:
    """Remove a runtime repository and what is noted about it."""
    shutil.rmtree(models, ignore_errors=True)
    _serials_path(models).unlink(missing_ok=True)


def add_components(models: Path, generation: Generation, *, plan: Path | None) -> None:
    """Add a generation's version folder to each component; one that is there already is left alone.

    Raises:
        TridentError: If a folder cannot be written.
    """
    for component in COMPONENTS:
        target = models / component / str(generation.serial)
        if not target.exists():
            with staged_folder(target) as staging:
                _link_files(generation.version_folder(component), staging)
                if component == "encoder":
                    (staging / WEIGHTS).symlink_to((generation.folder / ENCODER_FOLDER).resolve())
                    if plan is not None:
                        (staging / PLAN_FILE).symlink_to(plan.resolve())


def remove_components(models: Path, serial: int) -> None:
    """Remove a generation's version folder from each component."""
    for component in COMPONENTS:
        shutil.rmtree(models / component / str(serial), ignore_errors=True)


def point_ensembles(models: Path, generation: Generation, *, variant: str, cache: bool) -> None:
    """Make the ensembles those of a generation; the server sees it when they are loaded.

    Args:
        models: The repository.
        generation: The one to answer.
        variant: Of the server.
        cache: Whether answers of ``search`` are cached.

    Raises:
        TridentError: If a folder cannot be written.
    """
    for ensemble in ENSEMBLES:
        text = _ensemble_config(generation, ensemble, variant).read_text(encoding="utf-8")
        if cache and ensemble == CACHED:
            text += CACHE_CONFIG
        _write_ensemble(models / ensemble, generation, ensemble, text)


@contextmanager
def ensembles_aside(models: Path) -> Iterator[Path]:
    """Yield a folder with copies of the ensembles as they are, for ``restore_ensembles``.

    Raises:
        OSError: If they cannot be copied.
        TridentError: If the folder cannot be made.
    """
    with scratch_folder(models.parent, "ensembles") as aside:
        for ensemble in ENSEMBLES:
            shutil.copytree(models / ensemble, aside / ensemble, symlinks=True)
        yield aside


def restore_ensembles(models: Path, aside: Path) -> None:
    """Make the ensembles what they were when they were set aside; it renames only, and needs no space on the disk.

    Raises:
        OSError: If a folder cannot be renamed.
    """
    for ensemble in ENSEMBLES:
        replaced = models / ensemble
        if replaced.exists():
            replaced.rename(aside / f"{ensemble}-replaced")
        (aside / ensemble).rename(replaced)


def add_candidate(models: Path, generation: Generation, *, variant: str) -> None:
    """Add an ensemble that answers like ``search`` will when the generation serves; nothing of it is cached.

    Raises:
        GenerationError: If the generation's ``search`` has no name to replace.
        TridentError: If a folder cannot be written.
    """
    config = _ensemble_config(generation, CACHED, variant)
    text = config.read_text(encoding="utf-8")
    text, replaced = re.subn(rf'^name: "{CACHED}"$', f'name: "{CANDIDATE}"', text, count=1, flags=re.MULTILINE)
    if not replaced:
        place = config.relative_to(generation.repository)
        raise GenerationError(f"generation {generation.id}: {place} must name '{CACHED}'; export again")
    _write_ensemble(models / CANDIDATE, generation, CACHED, text)


def remove_candidate(models: Path) -> None:
    """Remove the candidate."""
    shutil.rmtree(models / CANDIDATE, ignore_errors=True)


def linked_generations(models: Path) -> dict[int, str]:
    """Return the ids of the generations of which a component is in a repository, by serial number.

    Raises:
        GenerationError: If an identity is missing or damaged.
    """
    folders = [path for component in COMPONENTS for path in (models / component).glob("*") if path.name.isdigit()]
    return {int(path.name): Identity.load(path).id for path in folders}


def check_identities(generation: Generation) -> None:
    """Raise if a served model of a generation is not that of its manifest, or runs another graph.

    Raises:
        GenerationError: Naming the model and what differs.
    """
    manifest = generation.manifest
    served = manifest.parts.get("served") in GRAPH_FILES
    wanted = Identity(
        id=manifest.id,
        serial=manifest.serial,
        encoder_fingerprint=manifest.encoder_fingerprint,
        graph=generation.cpu_graph().name if served else "a graph of the manifest",
    )
    for model in (*COMPONENTS, *ENSEMBLES):
        found = Identity.load(generation.version_folder(model))
        for name in ("id", "serial", "encoder_fingerprint", "graph"):
            if getattr(found, name) != getattr(wanted, name):
                raise GenerationError(
                    f"generation {generation.id}: {name} of its {model} must be {getattr(wanted, name)} as in the "
                    f"manifest, got {getattr(found, name)}; export again"
                )


def check_configuration(models: Path, generation: Generation, *, tuning: Tuning = UNTUNED) -> None:
    """Raise if a component's configuration is not the one that the server runs.

    The configuration of a model counts for all its versions: with another one Triton would load anew the version that
    serves, with adapters that may not fit it.

    Args:
        models: The repository that the server reads.
        generation: The one to load beside what is there.
        tuning: The settings that the server runs with; the generation will run with them too.

    Raises:
        GenerationError: Naming the file that differs, or the setting that it has no place for.
    """
    running, wanted = configurations(models), configurations(generation.repository, tuning)
    for file in sorted(running.keys() | wanted.keys()):
        if running.get(file) != wanted.get(file):
            raise GenerationError(
                f"generation {generation.id}: its {file} must be the one that the server runs, got another (exported "
                f"by another version of Trident, or edited): restart with trident serve --generation {generation.id}"
            )


def _ensemble_config(generation: Generation, ensemble: str, variant: str) -> Path:
    folder = generation.repository / ensemble
    own = folder / "configs" / f"{variant}.pbtxt"
    return own if own.is_file() else folder / CONFIG_FILE


def _serials_path(models: Path) -> Path:
    return models.with_name("serials.json")


def _write_ensemble(target: Path, generation: Generation, ensemble: str, config: str) -> None:
    with staged_folder(target, overwrite=True) as staging:
        (staging / CONFIG_FILE).write_text(config, encoding="utf-8")
        version = staging / str(generation.serial)
        version.mkdir()
        _link_files(generation.version_folder(ensemble), version)


def _link_files(source: Path, target: Path) -> None:
    for file in source.iterdir():
        (target / file.name).symlink_to(file.resolve())
    (target / "__pycache__").touch()  # a file, so that Python cannot leave byte code there
