"""The commands in the fenced blocks of README and docs/."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.mar import ROOT

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *DOCS]
SHELLS = ("sh", "bash", "shell", "console")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"(^|\s)#.*$")
ASSIGNMENT = re.compile(r"\w+=")
KEYWORDS = ("do", "{")
"""Settings that may stand before a command in its line."""
NOTHING = ("for", "done", "}", ".")
"""The shell's own words; `.` sets up a shell, which tests do not need."""


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
        page: the page's path in the repository.
        line: whole line of the command; a line may have several commands.
        words: program and arguments, without redirections and variables set before it.
    """

    page: str
    line: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def name(page: Path) -> str:
    """Returns the page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Returns the page without its blocks of code."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def lines(page: Path) -> Iterator[str]:
    """Yields the lines of the page's shell blocks, with continued lines joined and without comments."""
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in SHELLS:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            line = COMMENT.sub("", line).strip()  # noqa: PLW2901 - the same line, cleaned
            if language == "console":
                line = line.removeprefix("$ ") if line.startswith("$ ") else ""  # noqa: PLW2901
            if line:
                yield line


def commands(page: Path) -> Iterator[Command]:
    """Yields every command of the page, and commands inside others, which run in a pod or a container."""
    for line in lines(page):
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.commenters, reader.whitespace_split = "", True
        words: list[str] = []
        for word in [*reader, ";"]:
            if not set(word) <= set("();<>|&"):
                words.append(word)
            elif set(word) <= set("<>"):
                words.append(">")
            else:
                for each in _cleaned(words):
                    yield Command(name(page), line, each)
                words = []


def _cleaned(words: list[str]) -> Iterator[tuple[str, ...]]:
    if ">" in words:
        words = words[: words.index(">")]
    while words and (ASSIGNMENT.match(words[0]) or words[0] in KEYWORDS):
        words = words[1:]
    if not words or words[0] in NOTHING:
        return
    yield tuple(words)
    if words[0] == "kubectl" and "--" in words:
        yield tuple(words[words.index("--") + 1 :])
    if words[:2] == ["docker", "run"]:
        images = [index for index, word in enumerate(words) if word.startswith("grainserve-client:")]
        if images:
            yield ("grainserve", *words[images[0] + 1 :])
