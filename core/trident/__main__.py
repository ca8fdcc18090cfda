"""The console script ``trident``; in a bare install it names the extra to add."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """Run the command line."""
    missing = [name for name in ("typer", "rich", "tokenizers", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"trident: the command line needs {', '.join(missing)}: pip install 'trident-search[serve]' "
            "(or [train], [export]); the client library works without: from trident_client import SearchClient\n"
        )
        sys.exit(1)
    from trident.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
