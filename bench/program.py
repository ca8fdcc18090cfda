"""What the programs here that compare ways of training share: options, and how they end."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trident.errors import TridentError


def parser_of(description: str) -> argparse.ArgumentParser:
    """Return a parser with the option that every program has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    return parser


def run(
    measure: Callable[[Path], dict[str, Any]], show: Callable[[dict[str, Any]], None], *, as_json: bool
) -> dict[str, Any] | None:
    """Measure with a scratch folder and print what came of it; None where it was refused, with a line that says why."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = measure(Path(folder))
        except TridentError as error:
            sys.stderr.write(f"{error}\n")
            return None
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        show(result)
    return result


def wait_for_device() -> None:
    """Wait until a GPU has done what it was given, so that a clock tells what it took."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
