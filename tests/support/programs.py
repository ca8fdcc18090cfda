"""Programs that some tests drive: without one they are skipped and say so, or fail where ``MUST_RUN`` names it."""

from __future__ import annotations

import os
import shutil

import pytest

MUST_RUN = "TRIDENT_MUST_RUN"  # a variable of the environment: kinds with blanks between, such as "browser node"
BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "google-chrome-stable")


def found(*names: str) -> str | None:
    """Return the path of the first program that is there."""
    return next(filter(None, map(shutil.which, names)), None)


def needs(kind: str, program: str | None, package: str) -> pytest.MarkDecorator:
    """Return the mark of tests that need a program.

    Args:
        kind: What it is.
        program: Its path; None: it is not there.
        package: Of Debian, which brings it.

    Raises:
        RuntimeError: If it is not there, and its tests must run.
    """
    reason = f"no {kind} on PATH (Debian: apt-get install {package})"
    if program is None:
        allow_skip(kind, reason)
    return pytest.mark.skipif(program is None, reason=reason)


def allow_skip(kind: str, reason: str) -> None:
    """Raise where tests that would be skipped must run.

    Args:
        kind: What is missing.
        reason: Of the skip.

    Raises:
        RuntimeError: If ``MUST_RUN`` names it.
    """
    if kind in os.environ.get(MUST_RUN, "").split():
        raise RuntimeError(f"{reason}, and {MUST_RUN} names {kind}")
