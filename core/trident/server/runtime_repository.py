"""The repository that a running tritonserver reads: links into generations, and configurations.

A version number of Triton is a generation's serial number. The components hold every loaded generation; the ensembles
(``trident.server.ensembles``) hold the serving one only. A generation is never written to.

Which components a server loads is a matter of its variant: one process for CPUs, the pipeline, or three stages. The
folders of all of them are there: the pipeline reads those of the stages.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from trident.encoder.graph_files import GRAPH_FILES
from trident.errors import GenerationError
from trident.generation.generation import ENCODER_FOLDER, RERANKER_FOLDER, WEIGHTS, Generation, Identity
from trident.generation.plan import PLAN_FILE
from trident.generation.staging import staged_folder, write_text
from trident.generation.tuning import UNTUNED, Tuning
from trident.server.contract import Contract
from trident.server.ensembles import add_cached, ensemble_config, point_ensembles
from trident.server.models import COMPONENTS, CONFIG_FILE, ONE_PROCESS, ensembles_in, further_models, link_files


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
        _write_config(models / file, text)
    write_text(_serials_path(models), json.dumps({}))
    use_serial(models, generation)
    add_components(models, generation, plan=plan)
    if cache:
        add_cached(models, generation, variant=variant)
    point_ensembles(models, generation, variant=variant, cache=cache)


def configurations(repository: Path, tuning: Tuning = UNTUNED) -> dict[str, str]:
    """Return the text of each configuration file of the components in a repository, with tuned settings in it.

    Raises:
        GenerationError: If a file has no place for a setting.
    """
    components = (*COMPONENTS, *further_models(repository))
    files = [file for component in components for file in sorted((repository / component).rglob("*.pbtxt"))]
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

    A model that no generation has brought so far comes with its configuration.

    Raises:
        TridentError: If a folder cannot be written.
        OSError: If a file cannot be written.
    """
    further = further_models(generation.repository)
    for model in further:
        if not (models / model / CONFIG_FILE).exists():
            for file in sorted((generation.repository / model).rglob("*.pbtxt")):
                _write_config(models / file.relative_to(generation.repository), file.read_text(encoding="utf-8"))
    for component in (*COMPONENTS, *further):
        target = models / component / str(generation.serial)
        if not target.exists():
            with staged_folder(target, lasting=False) as staging:
                link_files(generation.version_folder(component), staging)
                if component == "encoder":
                    (staging / WEIGHTS).symlink_to((generation.folder / ENCODER_FOLDER).resolve())
                    if (generation.folder / RERANKER_FOLDER).is_dir():
                        (staging / RERANKER_FOLDER).symlink_to((generation.folder / RERANKER_FOLDER).resolve())
                    if plan is not None:
                        (staging / PLAN_FILE).symlink_to(plan.resolve())


def remove_components(models: Path, serial: int) -> None:
    """Remove a generation's version folder from each component."""
    for component in (*COMPONENTS, *further_models(models)):
        shutil.rmtree(models / component / str(serial), ignore_errors=True)


def models_without_version(models: Path) -> tuple[str, ...]:
    """Return the further models of which no generation is left: nothing of them is to be loaded."""
    further = further_models(models)
    return tuple(model for model in further if not any(path.name.isdigit() for path in (models / model).iterdir()))


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
        calibration=manifest.parts.get("calibration", ""),
        reranker=manifest.parts.get("reranker", ""),
        trees=manifest.parts.get("trees", ""),
    )
    for model in (*COMPONENTS, *ensembles_in(generation.repository), *further_models(generation.repository)):
        found = Identity.load(generation.version_folder(model))
        for name in ("id", "serial", "encoder_fingerprint", "graph", "calibration", "reranker", "trees"):
            if getattr(found, name) != getattr(wanted, name):
                raise GenerationError(
                    f"generation {generation.id}: {name} of its {model} must be {getattr(wanted, name)} as in the "
                    f"manifest, got {getattr(found, name)}; export again"
                )


def check_configuration(models: Path, generation: Generation, *, variant: str, tuning: Tuning = UNTUNED) -> None:
    """Raise if a generation cannot be loaded beside what a server runs, or answers another contract.

    What clients see, the tensors of the ensembles that both have, must stay. The configuration of a component counts
    for all its versions: with another one Triton would load anew the version that serves, with adapters that may not
    fit it. A generation may bring models that the running ones lack, and lack some that they have.

    Args:
        models: The repository that the server reads.
        generation: The one to load beside what is there.
        variant: Of the server.
        tuning: The settings that the server runs with; the generation will run with them too.

    Raises:
        GenerationError: Naming the tensor or the file that differs, or the setting that it has no place for.
    """
    for ensemble in ensembles_in(models):
        if ensemble not in ensembles_in(generation.repository):
            continue
        serving = Contract.of((models / ensemble / CONFIG_FILE).read_text(encoding="utf-8"))
        offered = Contract.of(ensemble_config(generation, ensemble, variant).read_text(encoding="utf-8"))
        if (found := serving.difference(offered)) is not None:
            raise GenerationError(
                f"generation {generation.id}: its {ensemble} must take and give what that of the serving one does: "
                f"{found}; restart with trident serve --generation {generation.id}"
            )
    running, wanted = configurations(models), configurations(generation.repository, tuning)
    own = (set(further_models(models)), set(further_models(generation.repository)))
    alone = own[0] ^ own[1]  # of one side only
    for file in sorted(running.keys() | wanted.keys()):
        if file.partition("/")[0] not in alone and running.get(file) != wanted.get(file):
            raise GenerationError(
                f"generation {generation.id}: its {file} must be the one that the server runs, got another (exported "
                f"by another version of Trident, or edited): restart with trident serve --generation {generation.id}"
            )


def _write_config(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _serials_path(models: Path) -> Path:
    return models.with_name("serials.json")
