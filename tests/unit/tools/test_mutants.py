"""The changes that are made, and the report on them."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tools import mutants
from tools.mutants import MODULES, ROOT, Mutant, examine, summary
from tools.problem import Problem

SOURCE = '''"""Two to the third: 2**3 < 9."""

from dataclasses import dataclass

@dataclass(frozen=True)
class Pair:
    first: int | None = None

def less(a: int | str, *, b: float | None) -> bool | None:
    limit: int | None = None
    return not a < b
'''


def changes(source: str) -> list[tuple[int, str]]:
    return sorted((mutant.line, mutant.change) for mutant, _ in mutants.mutants("m.py", source))


def test_one_thing_changes_and_annotations_texts_and_flags_do_not() -> None:
    assert changes(SOURCE) == [
        (11, "return not a < b → return a < b"),
        (11, "return not a < b → return not a <= b"),
        (11, "return not a < b → return not a >= b"),
    ]


def test_numbers_change_by_one_and_operators_into_their_likes() -> None:
    assert [change for _, change in changes("x = 3 * y  # thrice\n")] == [
        "x = 3 * y → x = 2 * y",
        "x = 3 * y → x = 3 / y",
        "x = 3 * y → x = 4 * y",
    ]


def test_a_mutants_source_is_python_and_differs() -> None:
    for _, changed in mutants.mutants("m.py", SOURCE):
        ast.parse(changed)
        assert changed != SOURCE


def test_every_module_of_the_table_and_each_of_its_tests_is_there() -> None:
    assert [path for module, tests in MODULES.items() for path in (module, *tests) if not (ROOT / path).is_file()] == []
    assert {module for module, _ in mutants.explanations()} <= set(MODULES)


def test_what_is_explained_is_a_line_of_its_module() -> None:
    """Else `make mutants` ends there, an hour after somebody reworded the line."""
    for module, change in mutants.explanations():
        lines = map(mutants._code, (ROOT / module).read_text(encoding="utf-8").split("\n"))
        assert change.split(" → ")[0] in set(lines), module


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a test that notices half of its changes."""
    (tmp_path / "smaller.py").write_text("def smaller(a, b):\n    return a < b\n")
    (tmp_path / "test_smaller.py").write_text(
        "from smaller import smaller\n\ndef test_it():\n    assert smaller(1, 2)\n    assert not smaller(2, 1)\n"
    )
    monkeypatch.setitem(MODULES, "smaller.py", ["test_smaller.py"])
    return tmp_path


EQUAL = Mutant("smaller.py", "ReplaceComparisonOperator_Lt_LtE", 2, "return a < b → return a <= b", "survived")
TURNED = Mutant("smaller.py", "ReplaceComparisonOperator_Lt_GtE", 2, "return a < b → return a >= b", "killed")


def test_tests_run_against_each_change_and_the_module_is_as_it_was(checkout: Path) -> None:
    before = (checkout / "smaller.py").stat().st_mtime_ns
    assert list(examine(checkout, "smaller.py", 0, seed=0)) == [EQUAL, TURNED]
    assert (checkout / "smaller.py").read_text() == "def smaller(a, b):\n    return a < b\n"
    assert (checkout / "smaller.py").stat().st_mtime_ns == before
    assert len(list(examine(checkout, "smaller.py", 1, seed=0))) == 1


def test_tests_that_fail_anyway_are_told(checkout: Path) -> None:
    (checkout / "test_smaller.py").write_text("def test_it():\n    assert False\n")
    with pytest.raises(Problem, match=r"the tests of smaller\.py fail"):
        list(examine(checkout, "smaller.py", 0, seed=0))


def test_an_explanation_of_no_mutant_is_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "explanations", lambda: {("smaller.py", "return a < b → return b"): "why"})
    with pytest.raises(Problem, match="explains what is no mutant"):
        list(examine(checkout, "smaller.py", 0, seed=0))


def test_what_is_explained_counts_neither_as_noticed_nor_as_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [TURNED, EQUAL, Mutant("smaller.py", "NumberReplacer", 3, "1 → 2", "timeout")]
    counted = {"mutants": 3, "noticed": 2, "explained": 0, "share": 0.667}
    assert summary(tried) == {"smaller.py": counted}
    monkeypatch.setattr(mutants, "explanations", lambda: {("smaller.py", EQUAL.change): "why"})
    assert summary(tried) == {"smaller.py": counted | {"explained": 1, "share": 1.0}}


def test_the_list_keeps_what_was_not_tried_this_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "MODULES", {"smaller.py": [], "other.py": []})
    other = Mutant("other.py", "NumberReplacer", 1, "1 → 2", "killed")
    mutants._write(tmp_path / "list.json", [other, EQUAL], 0)
    mutants._write(tmp_path / "list.json", [TURNED], 0)
    read = json.loads((tmp_path / "list.json").read_text())
    assert [row["change"] for row in read["rows"]] == [TURNED.change, other.change]
    assert read["summary"]["smaller.py"]["share"] == 1.0
