"""An interpreter that has imported what training and exporting need, and forks for each program it is asked to run.

It reads an order a line from standard input, JSON, and answers with a line: ``{"wait": PID}`` with the exit status of
that process, any other with the PID of a fork that runs ``arguments`` as Python's own command line takes them.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import sys
import traceback
from typing import Any, NoReturn

import trident_export.pipeline
import trident_train.run

__all__ = ["trident_export", "trident_train"]  # imported for those who come after


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]))
            continue
        pid = os.fork()
        if pid == 0:
            leave(become(order))
        answer(pid)


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def become(order: dict[str, Any]) -> int:
    """Return the exit status of the program of an order, run in this process, which is a fork."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, mode in ((0, os.devnull, os.O_RDONLY), (1, order["stdout"], flags), (2, order["stderr"], flags)):
        os.dup2(os.open(path, mode, 0o644), number)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    kind, program, *arguments = order["arguments"]
    sys.argv = [kind, *arguments]
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as left:
        if isinstance(left.code, str):
            sys.stderr.write(f"{left.code}\n")
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # noqa: BLE001 - what Python does with it at its end
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End this fork as multiprocessing ends its own: libraries would wait for threads that the fork does not have."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
