"""``trident push``: give a run to a model hub, or make the folder that would be uploaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from trident.commands.output import need, print_json, say
from trident.errors import ConfigError, TridentError


def command(
    run: Annotated[Path, typer.Argument(help="A run folder of trident train.")],
    to: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Upload to this repository of the hub.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Write what is uploaded into this folder.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    licence: Annotated[str | None, typer.Option(metavar="ID", help="Licence of the card, such as apache-2.0.")] = None,
    allow_worse: Annotated[
        bool, typer.Option("--allow-worse", help="Take a run that did not beat the pretrained model.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing --folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Put adapter or model, tokenizer, figures and a model card into one folder, and upload it."""
    if to is None and folder is None:
        raise ConfigError("trident push needs --to OWNER/NAME, --folder DIR or both, got neither")
    card = need("train", "trident_train.report.card")
    hub = need("train", "trident_train.model.hub")
    if folder is not None and folder.exists() and not overwrite:
        raise TridentError(f"{folder} exists already: choose another --folder, or add --overwrite")
    with tempfile.TemporaryDirectory(prefix="trident-push-") as scratch:
        place = folder or Path(scratch) / "upload"
        card.build_upload(run, place, repo_id=to, licence=licence, allow_worse=allow_worse, overwrite=overwrite)
        sizes = {str(path.relative_to(place)): path.stat().st_size for path in sorted(place.rglob("*"))}
        if folder is not None:
            say(f"wrote {folder}")
        url = None if to is None else hub.upload(place, to, private=private)
    if json:
        kept = None if folder is None else str(folder)
        print_json({"run": str(run), "folder": kept, "repository": to, "commit_url": url, "files": sizes})
        return
    for name, size in sizes.items():
        say(f"  {name}: {size:,} bytes")
    say(f"uploaded: {url}" if url else f"would be uploaded: {len(sizes)} files, {sum(sizes.values()):,} bytes")
