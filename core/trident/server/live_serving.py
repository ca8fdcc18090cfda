"""A server with a live catalogue: what is done before it starts, and the model that writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from trident.cluster.store import store_of
from trident.errors import ConfigError, LogError
from trident.generation.generation import Generation
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.journal.leader import Leader
from trident.journal.published import Published
from trident.live.preparing import recover, replay
from trident.probe.control import ModelControl
from trident.retrieval.live_retriever import LIVE, LIVE_SERVING
from trident.search.catalogue_service import FOLLOW, WRITE_KEY_HEADER
from trident.server.models import CATALOGUE, CONFIG_FILE, ONE_PROCESS

MODEL_FOLDER = Path(__file__).parent / "catalogue_model"
# The write key reaches the model as a parameter of the request; HTTP keeps the case in which it was sent.
FORWARDED = f"(?i){WRITE_KEY_HEADER}"
OPTIONS = (f"--http-header-forward-pattern={FORWARDED}", f"--grpc-header-forward-pattern={FORWARDED}")


def require_live(*, variant: str, cache: bool) -> None:
    """Refuse what does not go with a live catalogue.

    Raises:
        ConfigError: Naming the option.
    """
    if cache:
        raise ConfigError(
            "--cache and --live exclude each other: the response cache does not see that the catalogue changed; leave "
            "--cache out"
        )
    if variant != ONE_PROCESS:
        raise ConfigError(f"--live needs --variant {ONE_PROCESS}, got {variant}: its retriever sees vectors only")


def require_no_log_beyond(generations: Path, generation: Generation) -> None:
    """Refuse to serve a generation alone where a log goes beyond it: what was deleted since would be back.

    Raises:
        LogError: With both numbers.
    """
    folder = LiveFolder.of(generations)
    if store_of(generation) is not None:
        return  # what came since is there, whoever reads
    last = folder.last()
    after = folder.start_of(generation.holds, generation.id) if last else 0
    if last > after:
        raise LogError(
            f"the log {folder.log} goes to number {last:,} and generation {generation.id} to {after:,}: serve it with "
            "--live, or what was deleted since would be back"
        )


def prepare_live(generations: Path, generation: Generation, *, report: Callable[[str], None]) -> None:
    """Recover the log, and make the vectors that a generation lacks.

    Raises:
        LiveError: If the log is damaged, another server's, or does not fit the generation.
    """
    folder = LiveFolder.of(generations)
    last = recover(folder)
    if store_of(generation) is not None:
        from trident.live.projection import project  # a store's client is an extra

        project(folder, generation, report=report)
        return
    snapshot = replay(folder, generation, report=report)
    report(
        f"live catalogue at number {last:,}: {snapshot.count:,} products, {snapshot.tail_rows:,} of them in the tail"
    )


def prepare_following(generations: Path, generation: Generation, *, report: Callable[[str], None]) -> None:
    """Make the vectors that a generation lacks for a log that another server writes.

    Raises:
        LiveError: If there is no such log, or it does not fit the generation.
    """
    folder = LiveFolder.of(generations)
    if not folder.log.is_dir() or Published(folder.published).read() is None:
        raise LogError(f"{folder.path} has no log to follow: start trident serve --live over it first")
    if store_of(generation) is not None:
        return  # whoever writes brings it up
    snapshot = replay(folder, generation, report=report)
    leader = Leader.read(folder.path)
    report(
        f"following {'another server' if leader is None else leader.grpc} at number {snapshot.number:,}: "
        f"{snapshot.count:,} products, {snapshot.tail_rows:,} of them in the tail"
    )


def environment(generations: Path, folder: ServingFolder, *, follow: bool) -> dict[str, str]:
    """Return the variables that tell the served models."""
    named = {LIVE: str(generations.resolve()), LIVE_SERVING: str(folder.path.resolve())}
    return named | {FOLLOW: "1" if follow else ""}


def say_who_leads(generations: Path, folder: ServingFolder) -> None:
    """Write down that a server which is ready writes.

    Raises:
        OSError: If the disk refuses.
    """
    leader = Leader.of(folder)
    if leader is not None:
        leader.write(LiveFolder.of(generations).path)


def add_writer(models: Path) -> None:
    """Add the model that writes to a runtime repository."""
    target = models / CATALOGUE / "1"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(MODEL_FOLDER / CONFIG_FILE, models / CATALOGUE / CONFIG_FILE)
    shutil.copyfile(MODEL_FOLDER / "model.py", target / "model.py")
    (target / "__pycache__").touch()  # a file, so that Python cannot leave byte code there


def start_writer(control: ModelControl) -> None:
    """Load the model that writes, and return when it is ready.

    Raises:
        ServerError: If it cannot be loaded; its reason is in the message.
    """
    control.load(CATALOGUE)
    control.wait_until_ready(CATALOGUE, 1)
