"""Commands of trident one after the other in one process, which imports PyTorch once; the first that fails ends it.

    python scripts/in_turn.py HEADING train … --then HEADING export …

A heading is printed before its command, with the seconds since SCRIPT_STARTED, seconds since 1970.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import groupby

from trident.cli import run


def main() -> int:
    """Return the exit status of the last command."""
    status = 0
    for is_between, given in groupby(sys.argv[1:], key=lambda word: word == "--then"):
        if is_between:
            continue
        heading, *words = given
        taken = int(time.time() - float(os.environ["SCRIPT_STARTED"]))
        print(f"\n\033[1m== {heading}\033[0m ({taken // 60}:{taken % 60:02} so far)", flush=True)
        sys.argv = ["trident", *words]
        try:
            status = run()
        except SystemExit as left:  # how typer ends a command
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
        if status:
            return status
    return status


if __name__ == "__main__":
    sys.exit(main())
