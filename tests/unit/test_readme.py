"""README says what is there: its commands have the options that they are given, its files and numbers are right."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest
import typer

from trident.cli import app
from trident_train.data.sample import generate
from trident_train.recipe import SourceRecipe

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Return the words of every command: of the blocks for a shell, and in running text."""
    lines = [line.partition(" #")[0] for block in blocks("bash") for line in block.splitlines()]
    lines += re.findall(r"`((?:trident|make) [^`]+)`", README)
    spoken = [part for line in lines for part in re.split(r"; | or ", line)]
    return [shlex.split(each) for each in spoken if each.startswith(("trident ", "make "))]


TRIDENT = [words[1:] for words in commands() if words[0] == "trident"]


def test_the_commands_are_found() -> None:
    assert {"train", "export", "serve", "search", "promote"} <= {words[0] for words in TRIDENT}


@pytest.mark.parametrize("words", TRIDENT, ids=" ".join)
def test_a_command_has_the_options_that_it_is_given(words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    context = command.make_context(words[0], words[1:])
    assert context.params


def test_targets_of_make_are_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = {words[1] for words in commands() if words[0] == "make"}
    assert {"demo", "test"} <= targets
    assert [name for name in sorted(targets) if f".PHONY: {name}\n" not in makefile] == []


def test_a_source_has_the_keys_that_are_shown() -> None:
    (block,) = blocks("toml")
    (source,) = tomllib.loads(block)["data"]["sources"].values()
    assert source.keys() <= {field.name for field in fields(SourceRecipe)}


def test_python_is_python() -> None:
    for block in blocks("python"):
        compile(block, "README.md", "exec")


def test_the_sample_is_as_large_as_it_says_and_has_what_was_found() -> None:
    titles = {product.product_id: product.product_title for product in generate().products}
    assert f"{len(titles):,} products" in README
    shown = re.findall(r"^\| [\d.]+ \| \d+% \| (P\d+) \| (.+) \|$", README, re.MULTILINE)
    assert len(shown) == 3
    for product, title in shown:
        assert titles[product] == title
        assert "deep" not in title.lower()


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 100
