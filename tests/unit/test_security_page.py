"""docs/security.md: every claim has an existing test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.unit.deploy.promises import CHECKS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
HEADINGS = [line for line in PAGE.splitlines() if line.startswith("#")]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda part: part)
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    # pytest runs only these; test_promises.py runs, and breaks, the promises of deploy/.
    promise = file == "tests/unit/deploy/promises.py" and test in {check.__name__ for check in CHECKS}
    assert promise or (Path(file).name.startswith("test_") and test.startswith("test_"))


def test_what_the_page_links_to_exists() -> None:
    anchors = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in HEADINGS}
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = link.partition("#")
        assert (ROOT / "docs" / file).exists(), link
        assert not anchor or file or anchor in anchors, link


def test_every_claim_names_one() -> None:
    claims = PAGE.partition("## Claims and their tests")[2].partition("## Fuzzing")[0]
    rows = [line for line in claims.splitlines() if line.startswith("|") and line[:4] not in ("|---", "| cl")]
    assert len(rows) > 60
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+` ?\|?", row)] == []
