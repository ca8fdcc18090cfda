"""Every error that Trident raises for its users.

    TridentError                 one clear line: rule, what was got, where, remedy
    |-- ConfigError              a recipe, an option or a contract breaks a rule
    |-- DataError                pairs or catalogue cannot be used as they are
    |-- ModelError               a model folder or an adapter cannot be used
    |-- VectorIndexError        an index cannot be built, loaded or searched
    |-- ExportError              a stage of the export did not prove itself
    |-- GenerationError          a generation is missing, damaged or inconsistent
    |   `-- FormatError          it was made by another version of Trident
    |-- GateError                a generation must not take over: a check failed (``trident.quality.gate_report``)
    |-- OverloadError            more is asked of a model than it answers in time
    |-- DeadlineError            a request's client waits for it no longer
    |-- ServerError              a tritonserver was not found, did not start or died
    |-- LiveError                the live catalogue refuses, or cannot do, what was asked
    |   |-- LogError             its log is damaged, another log's, or held by another process
    |   |-- FullError            there is no room: nothing was written
    |   |-- StoppedError         nothing is written until a restart: nothing was
    |   |-- FollowsError         the server follows another one: write there
    |   `-- UnknownOutcomeError  a sync failed: the operations are there after a restart, all of them or none
    |-- StoreError               the engine that holds a generation's products holds others, or answers wrongly
    |   `-- StoreAwayError       it does not answer in time
    |-- BenchError               a measurement could not be made, or does not keep the budget
    `-- MissingExtraError        a command needs an extra that is not installed

The command line prints the message of a ``TridentError`` on standard error and exits with status 1
(``ConfigError`` from an option: 2); anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TridentError(Exception):
    """Base class of all errors that Trident raises for its users."""


class ConfigError(TridentError):
    """A recipe, an option or a contract breaks a rule."""


class DataError(TridentError):
    """Pairs or a catalogue cannot be used as they are."""


class ModelError(TridentError):
    """A model folder or an adapter cannot be used."""


class VectorIndexError(TridentError):
    """An index cannot be built, loaded or searched."""


class ExportError(TridentError):
    """A stage of the export did not prove itself."""


class GenerationError(TridentError):
    """A generation is missing, damaged or inconsistent."""


class FormatError(GenerationError):
    """A generation was made by another version of Trident, whose served code this one does not have.

    ``made_in`` is the format that it was made in.
    """

    def __init__(self, message: str, made_in: int) -> None:
        """Keep the format beside the message."""
        super().__init__(message)
        self.made_in = made_in


class OverloadError(TridentError):
    """More is asked of a model than it answers in time."""


class DeadlineError(TridentError):
    """The client of a request waits for it no longer."""


class ServerError(TridentError):
    """A tritonserver was not found, did not start or died."""


class LiveError(TridentError):
    """The live catalogue refuses, or cannot do, what was asked."""


class LogError(LiveError):
    """The log is damaged, another log's, or held by another process."""


class FullError(LiveError):
    """There is no room; nothing was written."""


class StoppedError(LiveError):
    """Nothing is written until a restart; nothing was."""


class FollowsError(LiveError):
    """The server follows another one, which writes; nothing was written."""


class UnknownOutcomeError(LiveError):
    """A sync failed: the operations are there after a restart, all of them or none."""


class AwayError(LiveError):
    """Nothing is written while the engine that holds the products is away; nothing was."""


class StoreError(TridentError):
    """The engine that holds a generation's products holds others, or answers wrongly."""


class StoreAwayError(StoreError):
    """The engine that holds a generation's products does not answer in time."""


class BenchError(TridentError):
    """A measurement could not be made, or does not keep the budget."""


class MissingExtraError(TridentError):
    """A command needs an extra that is not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as `` (did you mean 'query'?)`` for a misspelt name, or an empty string."""
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f" (did you mean '{lowered[matches[0]]}'?)" if matches else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
