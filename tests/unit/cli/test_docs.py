"""The documentation is true: its commands are accepted, its links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from lpmos.cli.main import parser

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

SHELL = {"|", ">", "<", "&&"}
"""Where a command ends for the shell."""


def commands(page: Path) -> Iterator[list[str]]:
    """Each `lpmos` command of the page's shell blocks as words, continued lines joined."""
    for block in re.findall(r"```sh\n(.*?)```", re.sub(r"(?m)^ {1,6}", "", page.read_text()), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line)  # what a variable is set to
            if re.match(r"(sudo |\S*=\S* )*(\S*/)?lpmos ", command):
                words = [*takewhile(lambda word: word not in SHELL, shlex.split(command, True))]
                yield words[next(n for n, word in enumerate(words) if word.endswith("lpmos")) :]


LPMOS = [(page.name, words[1:]) for page in PAGES for words in commands(page)]
MAKE = [
    (page.name, word)
    for page in PAGES
    for text in (page.read_text(),)
    for word in re.findall(r"`?(?:^|[ `(])make ([a-z-]+)", text)
    if word in TARGETS or f"`make {word}" in text or f"\nmake {word}" in text
]


@pytest.mark.parametrize(("page", "arguments"), LPMOS)
def test_docs_lpmos_commands_are_accepted(page: str, arguments: list[str]) -> None:
    parser().parse_args(arguments)


@pytest.mark.parametrize(("page", "target"), MAKE)
def test_docs_make_targets_exist(page: str, target: str) -> None:
    assert target in TARGETS


def test_docs_have_commands_to_check() -> None:
    assert len(LPMOS) > 8 and len(MAKE) > 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as links write them (GitHub's rule)."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.strip().lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_links_into_pages_lead_to_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*\.md)?#([^)]+)\)", page.read_text())
    places = [(page.parent / other if other else page, name) for other, name in links]
    assert [(str(at), name) for at, name in places if name not in anchors(at)] == []


def test_docs_index_names_every_page() -> None:
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text() + (docs / "adr/README.md").read_text()
    names = [path.name for path in docs.rglob("*.md") if path != docs / "README.md"]
    assert [name for name in names if f"{name})" not in index] == []


def test_docs_name_no_debian_package_outside_the_one_list() -> None:
    installs = [
        path.relative_to(ROOT)
        for path in [ROOT / "Makefile", ROOT / ".ci/run", *PAGES]
        if "apt-get install" in path.read_text()
    ]
    assert not installs
