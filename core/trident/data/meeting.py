"""Whether the product ids of pairs and those of the catalogue are the same ids, spelt alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.data.catalogue import Catalogue
from trident.errors import DataError

EXAMPLES = 3


@dataclass(frozen=True)
class Meeting:
    """How many products of pairs are in a catalogue.

    Attributes:
        products: Distinct ids of the pairs.
        missing: Those that the catalogue lacks, in the order of the pairs.
        spelt: Of ``missing``, (id, the catalogue's id) of those that it has with other blanks, zeros, case or points.
    """

    products: int
    missing: tuple[str, ...]
    spelt: tuple[tuple[str, str], ...]

    def text(self, pairs: object, catalogue: object) -> str:
        """Return in a line what is missing; empty if nothing is."""
        if not self.missing:
            return ""
        shown = ", ".join(f"'{each}'" for each in self.missing[:EXAMPLES])
        line = (
            f"{len(self.missing):,} of the {self.products:,} products of {pairs} are not in the catalogue {catalogue}, "
            f"such as {shown}"
        )
        if self.spelt:
            one, other = self.spelt[0]
            line += f"; {len(self.spelt):,} are there when spelt otherwise ('{one}' as '{other}')"
        return line

    def require(self, pairs: object, catalogue: object, remedy: str) -> None:
        """Refuse ids of which none is in the catalogue, or some are there in another spelling: figures would be wrong.

        Raises:
            DataError: With how many, examples, and what to do.
        """
        if self.spelt or (self.missing and len(self.missing) == self.products):
            raise DataError(
                f"products must have one id in pairs and catalogue: {self.text(pairs, catalogue)}: {remedy}"
            )


def meet(product_ids: Iterable[str], catalogue: Catalogue) -> Meeting:
    """Return how the ids of pairs meet those of a catalogue."""
    distinct = list(dict.fromkeys(product_ids))
    known = catalogue.texts[0].rows_of(distinct)
    missing = tuple(each for each in distinct if each not in known)
    spelt: list[tuple[str, str]] = []
    if missing:
        by_core: dict[str, str] = {}
        for each in catalogue.product_ids:
            by_core.setdefault(_core(each), each)
        spelt = [(each, by_core[_core(each)]) for each in missing if _core(each) in by_core]
    return Meeting(len(distinct), missing, tuple(spelt))


def titles_of(product_ids: Sequence[str], catalogue: Catalogue, path: Path) -> list[str]:
    """Return the catalogue's title of each id.

    Raises:
        DataError: If one is not in the catalogue, with how many are not.
    """
    by_id = catalogue.texts[0].rows_of(product_ids)
    title_of = {product_id: catalogue.titles[row] for product_id, row in by_id.items()}
    try:
        return [title_of[product_id] for product_id in product_ids]
    except KeyError:
        found = meet(product_ids, catalogue)
        row = next(row for row, product_id in enumerate(product_ids) if product_id not in by_id)
        raise DataError(
            f"product_id '{product_ids[row]}' in row {row + 1} of {path} is not in the catalogue, which gives the "
            f"titles: {found.text(path, 'of titles')}"
        ) from None


def _core(product_id: str) -> str:
    """Return what is left of an id without what spreadsheets and exports change: blanks, case, zeros, a point and 0."""
    text = "".join(product_id.split()).casefold()
    if re.fullmatch(r"[+-]?\d+(\.\d+)?e\+?\d+", text):
        text = f"{float(text):.0f}"
    text = re.sub(r"^(.*\d)\.0+$", r"\1", text)
    return text.lstrip("0") or "0"
