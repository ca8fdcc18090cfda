"""Changes single values in the text of a model configuration (``config.pbtxt``) and leaves every other byte alone.

A small reader of protobuf's text format, since the server's side has no protobuf: messages in braces, lists in
brackets, strings, comments. It finds where a value stands; what the value means is Triton's to judge. Settings are
named by a path of two parts:

- ``parameters.threads``: the ``string_value`` of the parameter ``threads``, which must be there;
- ``instance_group.count``: the instances of all groups together. The last group makes up the number, and goes where the
  others have as many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trident.errors import GenerationError

PARAMETERS = "parameters"
INSTANCES = "instance_group.count"
RULE = "a model configuration must be in protobuf's text format"
TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' | [{}\[\]:,;] | [\w.+-]+""", re.VERBOSE
)


@dataclass(frozen=True)
class Field:
    """One field: its value is ``text[start:end]``; of a message that is its braces and what is between them."""

    name: str
    start: int
    end: int
    fields: tuple[Field, ...] = ()

    def named(self, name: str) -> list[Field]:
        """Return the message's fields of a name."""
        return [field for field in self.fields if field.name == name]


def setting(text: str, path: str) -> str:
    """Return the value of a setting without quotes.

    Raises:
        GenerationError: As ``with_setting``.
    """
    if path == INSTANCES:
        return str(sum(_counts(text, _groups(text))))
    found = _parameter(text, path)
    return text[found.start : found.end].strip("\"'")


def with_setting(text: str, path: str, value: int) -> str:
    """Return the text with one setting of another value.

    Raises:
        GenerationError: If the text is no configuration, or has not the parameter once.
    """
    if path == INSTANCES:
        return _with_instances(text, value)
    field = _parameter(text, path)
    return f'{text[: field.start]}"{value}"{text[field.end :]}'


def read_fields(text: str) -> tuple[Field, ...]:
    """Return the fields of a configuration; a list of messages is one field each.

    Raises:
        GenerationError: If it is not in protobuf's text format.
    """
    tokens, at = [], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise GenerationError(f"{RULE}, got {text[at]!r} at {at}")
        if not found[0].isspace() and not found[0].startswith("#"):
            tokens.append(found)
        at = found.end()
    return tuple(_Reader(tokens).fields())


def _parameter(text: str, path: str) -> Field:
    name = path.removeprefix(f"{PARAMETERS}.")
    root = Field("", 0, len(text), read_fields(text))
    entries = [entry for entry in root.named(PARAMETERS) if _value_of(text, entry, "key") == name]
    values = [value for entry in entries for value in entry.named("value")]
    found = [field for value in values for field in value.named("string_value")]
    if len(found) != 1:
        raise GenerationError(f"a model configuration must have the parameter '{name}' once, got {len(found)}")
    return found[0]


def _groups(text: str) -> list[Field]:
    groups = [field for field in read_fields(text) if field.name == "instance_group"]
    if not groups or any(len(group.named("count")) != 1 for group in groups):
        raise GenerationError(
            f"a model configuration must have 'instance_group', and 'count' in each once, got {len(groups)} groups"
        )
    return groups


def _counts(text: str, groups: Sequence[Field]) -> list[int]:
    return [int(text[count.start : count.end]) for group in groups for count in group.named("count")]


def _with_instances(text: str, instances: int) -> str:
    groups = _groups(text)
    counts = _counts(text, groups)
    while len(groups) > 1 and instances <= sum(counts[:-1]):
        last = groups.pop()
        counts.pop()
        text = text[: groups[-1].end] + text[last.end :]  # with what stands between them
    count = groups[-1].named("count")[0]
    return text[: count.start] + str(instances - sum(counts[:-1])) + text[count.end :]


def _value_of(text: str, message: Field, name: str) -> str | None:
    found = message.named(name)
    return text[found[0].start : found[0].end].strip("\"'") if found else None


class _Reader:
    """Reads fields from tokens, one after another."""

    def __init__(self, tokens: list[re.Match[str]]) -> None:
        self.tokens = tokens
        self.at = 0

    def fields(self, closing: str | None = None) -> Iterator[Field]:
        """Yield the fields up to a closing brace; None: up to the end."""
        while self.at < len(self.tokens):
            token = self.next()
            if token[0] == closing:
                return
            if token[0] in ",;":
                continue
            value = self.next()
            if value[0] == ":":
                value = self.next()
            if not re.fullmatch(r"\w+", token[0]) or value[0] in "}],;:":
                raise GenerationError(f"{RULE}, got '{token[0]} {value[0]}' at {token.start()}")
            yield from self.values(token[0], value)
        if closing is not None:
            raise GenerationError(f"{RULE}, got one that ends in the middle")

    def values(self, name: str, first: re.Match[str]) -> Iterator[Field]:
        """Yield a field for a value, or for each message of a list; a list of numbers is one."""
        if first[0] == "{":
            inside = tuple(self.fields("}"))
            yield Field(name, first.start(), self.tokens[self.at - 1].end(), inside)
            return
        if first[0] != "[":
            yield Field(name, first.start(), first.end())
            return
        messages = False
        while (token := self.next())[0] != "]":
            if token[0] == "{":
                messages = True
                yield from self.values(name, token)
        if not messages:
            yield Field(name, first.start(), token.end())

    def next(self) -> re.Match[str]:
        """Return the next token."""
        if self.at == len(self.tokens):
            raise GenerationError(f"{RULE}, got one that ends in the middle")
        self.at += 1
        return self.tokens[self.at - 1]
