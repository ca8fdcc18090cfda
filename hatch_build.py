"""Says where trident-search finds trident-client: beside it in a checkout, by its version everywhere else.

hatchling calls this while it builds (pyproject.toml). ``pip install -e .`` in a clone takes the folder ``client/``, so
that one command installs both; a wheel asks for the very version that it was built and tested beside.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ClientRequirement(BuildHookInterface[Any]):
    """Adds the requirement of the client."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add it to what the wheel that is being built asks for; ``version`` is "editable" or "standard"."""
        client = Path(self.root) / "client"
        if version == "editable":
            build_data["dependencies"].append(f"trident-client @ {client.as_uri()}")
            return
        own = tomllib.loads((Path(self.root) / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        build_data["dependencies"].append(f"trident-client=={own}")
