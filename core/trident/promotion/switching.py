"""Loads a generation beside the one that serves, proves it, and switches; or undoes every step."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trident.attributes.schema import SCHEMA_FILE, Schema
from trident.cluster.store import store_of
from trident.errors import GenerationError, ServerError, TridentError
from trident.generation.generation import Generation
from trident.journal.folder import LiveFolder
from trident.live.known import CATALOGUE_MODEL
from trident.live.preparing import replay, require_fitting
from trident.probe.control import LOAD_TIMEOUT_S, POLL_S
from trident.probe.golden_check import GoldenReport, check_golden, fault_of
from trident.probe.running import RunningServer
from trident.server.ensembles import (
    add_cached,
    add_candidate,
    ensembles_aside,
    point_ensembles,
    remove_cached,
    remove_candidate,
    restore_ensembles,
)
from trident.server.models import (
    CANDIDATE,
    COMPONENTS,
    SEARCH,
    cached_ensemble,
    ensembles_in,
    further_models,
    loaded_components,
)
from trident.server.runtime_repository import (
    add_components,
    linked_generations,
    models_without_version,
    remove_components,
    use_serial,
)
from trident.server.serving import plan_of

HOLD_WAIT_S = 30.0  # for the group that the writer is at
UNLOAD_TIMEOUT_S = 60.0  # for the requests under way of a version

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Switched:
    """A switch that was made and verified from outside."""

    switch_ms: float  # from asking for the new ensemble to its being ready
    asked: int  # golden queries


def switch(running: RunningServer, serving: Generation, candidate: Generation) -> Switched:
    """Make a generation the serving one and return how that went; call it under the folder's lock.

    The state is written last. After an error the generation that served serves, and what was loaded is unloaded. Going
    back writes no byte. Should it fail all the same, the candidate serves and stays loaded, and a warning says so.

    Args:
        running: The server.
        serving: The generation that serves.
        candidate: The generation to serve; its files are checked.

    Raises:
        GenerationError: If the candidate cannot be loaded or answers the golden queries otherwise than stored.
        ServerError: If the server does not answer.
        OSError: If a file cannot be written.
    """
    models, control = running.folder.models, running.control
    live = LiveFolder.of(running.generations)
    with _brought_up(running, candidate) as catch_up, ExitStack() as undo:
        use_serial(models, candidate)
        if candidate.serial not in linked_generations(models):
            undo.callback(_undo, "unload what was loaded", lambda: _unload_unless_answering(running, candidate))
        load_components(running, candidate)
        if running.record.cache:
            _load_cached(running, candidate)
        with _candidate(running, candidate):
            report = check_golden(control.url, candidate, model=CANDIDATE, variant=running.record.variant)
            _prove(report, "before the switch")
        with ExitStack() as held, ensembles_aside(models) as aside:
            if running.record.live:  # what is written next is decided over what serves then
                held.enter_context(live.held(shared=False, wait_s=HOLD_WAIT_S))
                catch_up()
            switched = _switch_over(running, serving, candidate, aside)
        undo.pop_all()
    return switched


@contextmanager
def _brought_up(running: RunningServer, candidate: Generation) -> Iterator[Callable[[], object]]:
    """Make what a candidate lacks of the log while writes go on, and yield what makes the rest while they wait.

    What came meanwhile is held against the candidate's attributes too: it was written over those of what serves.

    Raises:
        LiveError: If the log does not fit it.
        StoreError: If the store that has its products is away, or has others.
    """
    if not running.record.live:
        yield lambda: None
        return
    live = LiveFolder.of(running.generations)
    schema, checked = Schema.load(candidate.version_folder(CATALOGUE_MODEL) / SCHEMA_FILE), live.last()

    def fitting_end() -> int:
        """Return the log's last number, if what came behind the check fits too."""
        last = live.last()
        require_fitting(live, schema, candidate.id, checked, last)
        return last

    if store_of(candidate) is None:
        replay(live, candidate, report=log.info)
        yield fitting_end  # instances make the rest themselves
    else:
        from trident.live.projection import projecting  # a store's client is an extra

        with projecting(live, candidate) as projection:
            projection.catch_up(live.last())
            yield lambda: projection.catch_up(fitting_end())


def load_components(running: RunningServer, generation: Generation) -> None:
    """Load a generation's components and return when each is ready; those of others stay as they are.

    Raises:
        GenerationError: If one cannot be loaded; the server's reason is in the message.
        ServerError: If the server does not answer.
    """
    plan = plan_of(generation, running.record.variant, Path(running.record.plans))
    add_components(running.folder.models, generation, plan=plan)
    for component in (*loaded_components(running.record.variant), *further_models(generation.repository)):
        try:
            running.control.load(component)
        except ServerError as error:
            raise GenerationError(f"generation {generation.id} cannot be loaded: {error}") from error
        running.control.wait_until_ready(component, generation.serial, timeout_s=LOAD_TIMEOUT_S)


def unload_others(running: RunningServer, serving: Generation, *, timeout_s: float = UNLOAD_TIMEOUT_S) -> list[int]:
    """Unload every generation but the serving one, and return their serial numbers when they are gone.

    A ``candidate`` that a killed promotion left goes too.

    Raises:
        ServerError: If the server does not answer, an ensemble answers with another generation, or a version is still
            busy after ``timeout_s``.
    """
    for ensemble in ensembles_in(serving.repository):
        if not running.control.is_ready(ensemble, serving.serial):
            raise ServerError(
                f"'{ensemble}' must answer with version {serving.serial} before others are unloaded, got another: "
                "promote another generation, or start trident serve again"
            )
    if running.control.loaded(CANDIDATE):
        running.control.unload(CANDIDATE)
    remove_candidate(running.folder.models)
    others = sorted(set(linked_generations(running.folder.models)) - {serving.serial})
    further = further_models(running.folder.models)  # before those of the others go
    for serial in others:
        _unload(running, serial)
    _wait_until_gone(running, (*COMPONENTS, *further), others, timeout_s)
    return others


def _switch_over(running: RunningServer, serving: Generation, candidate: Generation, aside: Path) -> Switched:
    """Have the candidate serve, proven and written down; after any error go back to the ensembles set aside."""
    try:
        point_ensembles(running.folder.models, candidate, variant=running.record.variant, cache=running.record.cache)
        switch_ms = _load_ensembles(running, candidate)
        report = check_golden(running.control.url, candidate, variant=running.record.variant)
        _prove(report, "after the switch")
        running.folder.write_state(candidate.id, serving.id)
    except BaseException:
        _undo(f"switch back to {serving.id}", lambda: _go_back(running, serving, aside))
        raise
    return Switched(switch_ms=switch_ms, asked=report.asked)


@contextmanager
def _candidate(running: RunningServer, generation: Generation) -> Iterator[None]:
    """Have ``candidate`` answer as ``search`` will when the generation serves."""
    models, control = running.folder.models, running.control
    add_candidate(models, generation, variant=running.record.variant)
    try:
        control.load(CANDIDATE)
        control.wait_until_ready(CANDIDATE, generation.serial)
        yield
    finally:
        _undo("unload the candidate", lambda: control.unload(CANDIDATE))
        remove_candidate(models)


def _load_cached(running: RunningServer, generation: Generation) -> None:
    """Load what will answer inside ``search``, while the folder of ``search`` is as the server knows it."""
    add_cached(running.folder.models, generation, variant=running.record.variant)
    cached = cached_ensemble(generation.serial)
    running.control.load(cached)
    running.control.wait_until_ready(cached, generation.serial)


def _load_ensembles(running: RunningServer, generation: Generation) -> float:
    """Load the ensembles as they are in the repository, and return the milliseconds that ``search`` took."""
    control = running.control
    started = time.perf_counter()
    control.load(SEARCH)
    control.wait_until_ready(SEARCH, generation.serial)
    milliseconds = (time.perf_counter() - started) * 1000
    own = ensembles_in(generation.repository)
    for ensemble in own[1:]:
        control.load(ensemble)
    for ensemble in set(ensembles_in(running.folder.models)) - set(own):  # of another generation, and not of this one
        control.unload(ensemble)
        shutil.rmtree(running.folder.models / ensemble)
    return milliseconds


def _go_back(running: RunningServer, serving: Generation, aside: Path) -> None:
    restore_ensembles(running.folder.models, aside)
    _load_ensembles(running, serving)


def _unload_unless_answering(running: RunningServer, candidate: Generation) -> None:
    """Unload a generation that was not to serve; one that an ensemble still answers with is needed."""
    for ensemble in ensembles_in(running.folder.models):
        if candidate.serial in running.control.loaded(ensemble):
            log.warning("generation %s is still what '%s' answers with: it stays loaded", candidate.id, ensemble)
            return
    _unload(running, candidate.serial)


def _unload(running: RunningServer, serial: int) -> None:
    models, control = running.folder.models, running.control
    if (models / cached_ensemble(serial)).is_dir():
        control.unload(cached_ensemble(serial))
        remove_cached(models, serial)
    remove_components(models, serial)
    gone = models_without_version(models)
    for component in (*loaded_components(running.record.variant), *further_models(models)):
        if component in gone:
            control.unload(component)
            shutil.rmtree(models / component, ignore_errors=True)
        else:
            control.load(component)  # a version that is no longer in the repository is unloaded


def _wait_until_gone(running: RunningServer, components: tuple[str, ...], serials: list[int], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        there = [
            row
            for row in running.control.index()
            if row.model in components and row.version in serials and row.state in ("READY", "UNLOADING")
        ]
        if not there:
            return
        if time.monotonic() > deadline:
            raise ServerError(
                f"version {there[0].version} of '{there[0].model}' was not unloaded within {timeout_s:g} s"
            )
        time.sleep(POLL_S)


def _prove(report: GoldenReport, when: str) -> None:
    fault = fault_of(report, when=when)
    if fault is not None:
        raise GenerationError(fault)


def _undo(what: str, step: Callable[[], object]) -> None:
    """Do a step of the way back; its failure must not hide the reason for going back."""
    try:
        step()
    except (TridentError, OSError) as error:
        log.warning("could not %s: %s", what, error)
