"""The texts that are one typo away from another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

WINDOW = 12  # characters before the first unknown one: a typo further back would have shown earlier


def one_edit_away(text: str, letters: Sequence[str], known: int) -> Iterator[str]:
    """Yield texts that become another by one letter left out, put in, or changed, or by two swapped.

    The first letter stays, and so does every digit: another number is another product. Where all of the text is the
    beginning of something its last letter stays too: it is no typo, and without it everything beside would be near.

    Args:
        text: What was typed.
        letters: What a letter may be.
        known: How many characters of the text are the beginning of something: no edit lies behind them, nor ``WINDOW``
            before their end.
    """
    put_in = [letter for letter in letters if not letter.isdigit()]
    for place in range(max(1, known - WINDOW + 1), min(known, len(text) - 1) + 1):
        before, here, after = text[:place], text[place], text[place + 1 :]
        if not here.isdigit() and (after or known < len(text)):
            yield before + after
            yield from (before + letter + after for letter in put_in if letter != here)
            if after and after[0] != here and not after[0].isdigit():
                yield before + after[0] + here + after[1:]
        yield from (before + letter + here + after for letter in put_in)
