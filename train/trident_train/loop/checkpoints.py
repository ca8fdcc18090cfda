"""Checkpoints of a run under way: written whole or not at all, checked when read, the last few kept."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from trident.errors import TridentError
from trident.generation.staging import staged_folder, write_text

IDENTITY_FILE = "identity.json"
TENSORS_FILE = "weights.safetensors"
STATE_FILE = "state.pt"
SUMS_FILE = "sha256.json"
KEPT = 2  # of which the older one serves where the newer is damaged
DAMAGE = (OSError, ValueError, KeyError, RuntimeError, EOFError, safetensors.SafetensorError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What a run goes on from: ``tensors`` by name, and ``state`` of plain values and tensors."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run, in ``folder/step-N``; the last two stay."""

    folder: Path

    def open(self, identity: dict[str, str], *, restart: bool) -> Checkpoint | None:
        """Return the newest whole checkpoint of this very run, None if there is none.

        Args:
            identity: What the run is made of (recipe, data, base model), by name; those of another run are refused.
            restart: Whether earlier checkpoints are thrown away.

        Raises:
            TridentError: If the folder holds the checkpoints of another run, or cannot be written.
        """
        if restart:
            shutil.rmtree(self.folder, ignore_errors=True)
        path = self.folder / IDENTITY_FILE
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name, value in identity.items() if found.get(name) != value]
            if changed:
                other = " and another ".join(changed)
                raise TridentError(
                    f"{self.folder} holds the checkpoints of an interrupted run with another {other}: "
                    "finish it with what it was started with, or add --restart to throw them away"
                )
            return self._newest()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(identity, indent=1) + "\n")
        except OSError as error:
            raise TridentError(f"{self.folder} cannot be written: {error.strerror or error}") from error
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove all but the last two.

        Raises:
            TridentError: If it cannot be written in full; the earlier ones are what they were.
        """
        target = self.folder / f"step-{checkpoint.step:08d}"
        try:
            with staged_folder(target, overwrite=True) as staging:
                tensors = {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}
                (staging / TENSORS_FILE).write_bytes(safetensors.torch.save(tensors))
                with (staging / STATE_FILE).open("wb") as file:
                    torch.save(checkpoint.state, file)
                sums = {name: _sha256(staging / name) for name in (TENSORS_FILE, STATE_FILE)}
                (staging / SUMS_FILE).write_text(json.dumps(sums) + "\n", encoding="utf-8")
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
            left = self._folders()
            kept = f"{left[-1]} is whole" if left else "there is no earlier one"
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise TridentError(
                f"checkpoint {target} could not be written ({reason}); {kept}: "
                "free space and run the same command again"
            ) from error
        for old in self._folders()[:-KEPT]:
            shutil.rmtree(old)

    def _newest(self) -> Checkpoint | None:
        for folder in reversed(self._folders()):
            try:
                sums = json.loads((folder / SUMS_FILE).read_text(encoding="utf-8"))
                for name, expected in sums.items():
                    if _sha256(folder / name) != expected:
                        raise ValueError(f"{name} is not what was written")
                return Checkpoint(
                    step=int(folder.name.removeprefix("step-")),
                    tensors=safetensors.torch.load_file(folder / TENSORS_FILE),
                    state=torch.load(folder / STATE_FILE, weights_only=True),
                )
            except DAMAGE as error:
                logger.warning("checkpoint %s is damaged and skipped: %s", folder, str(error).splitlines()[0])
        return None

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
