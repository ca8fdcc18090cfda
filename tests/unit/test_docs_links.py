"""Every relative link of the documentation leads to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# What installs and commands leave may hold Markdown of others.
IGNORED = {line.strip("/") for line in (REPOSITORY / ".gitignore").read_text("utf-8").splitlines()}
FOLDERS = [
    folder
    for folder in sorted(REPOSITORY.iterdir())
    if folder.is_dir() and not folder.name.startswith(".") and folder.name not in IGNORED
]
DOCUMENTS = [*sorted(REPOSITORY.glob("*.md")), *(file for folder in FOLDERS for file in sorted(folder.rglob("*.md")))]
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")  # of [text](target), ![image](target) and [text](target "title")


def anchors(file: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of ``file``."""
    headings = re.findall(r"^#{1,6} +(.+?) *#*$", FENCED.sub("", file.read_text("utf-8")), re.MULTILINE)
    seen: Counter[str] = Counter()
    found = set()
    for heading in headings:
        anchor = re.sub(r"[^\w\- ]", "", LINK.sub("]", heading).lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def broken_links(file: Path) -> list[str]:
    """Return the relative links of ``file`` whose file or heading is not there."""
    broken = []
    for target in LINK.findall(CODE.sub("", FENCED.sub("", file.read_text("utf-8")))):
        if re.match(r"[a-z]+:", target):
            continue  # another site
        path, _, anchor = target.partition("#")
        there = file.parent / path if path else file
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.relative_to(REPOSITORY).as_posix())
def test_every_relative_link_leads_somewhere(file: Path):
    assert broken_links(file) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# `One`, two\n\n## Again\n\n## Again\n\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "## Here\n\n[a](other.md) [b](other.md#one-two) [c](other.md#again-1) [d](#here) [e](https://example.org/x.md)\n"
        "`[code](gone.md)`\n\n```\n[code](gone.md)\n```\n"
    )
    assert broken_links(page) == []
    page.write_text("[a](gone.md) ![b](gone.svg) [c](other.md#three) [d](other.md#no-heading) [e](#here)\n")
    assert broken_links(page) == ["gone.md", "gone.svg", "other.md#three", "other.md#no-heading", "#here"]


def test_the_log_is_among_the_documents():
    names = {file.relative_to(REPOSITORY).as_posix() for file in DOCUMENTS}
    assert {"README.md", "CHANGELOG.md", "docs/serving.md", "docs/log/README.md"} <= names


def test_every_entry_of_the_log_is_listed():
    log = REPOSITORY / "docs" / "log"
    listed = set(LINK.findall((log / "README.md").read_text("utf-8").partition("## All entries")[2]))
    entries = {
        f"{file.name}#{anchor}"
        for file in log.glob("*.md")
        for anchor in anchors(file)
        if re.match(r"\d{4}-\d\d-\d\d-", anchor)
    }
    assert entries
    assert listed == entries
