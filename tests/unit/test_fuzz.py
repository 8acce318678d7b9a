"""The fuzzer: a short run of it, and whether it would notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import child, run
from tests.fuzz.faulty import Faulty
from tests.fuzz.targets import targets

FAULTY = "tests.fuzz.faulty"


def test_two_thousand_inputs_bring_nothing_but_declared_ends() -> None:
    report = run.fuzz(seed=6, inputs=2000)
    assert report.faults == []
    assert report.inputs == 2000
    assert set(report.outcomes) == set(targets())
    assert all(outcomes.keys() - {"read"} for outcomes in report.outcomes.values())


def test_what_must_not_happen_is_noticed_and_kept(tmp_path: Path) -> None:
    report = run.fuzz(seed=24, inputs=14, module=FAULTY)
    assert report.inputs == 14
    assert {fault["outcome"] for fault in report.faults} == {"!KeyError", "!Ended with -6", "!Hang", "!Memory"}
    hang = next(fault for fault in report.faults if fault["outcome"] == "!Hang")
    assert "faulty.py" in hang["trace"]
    kept = list(run.save(report, 24, tmp_path, FAULTY))
    assert len(kept) == len(report.faults)
    index = report.faults[0]["index"]
    assert f"--seed 24 --first {index} --inputs 1" in (tmp_path / f"24-{index}.txt").read_text()


def test_an_input_follows_from_seed_and_index() -> None:
    made = {"faulty": Faulty()}
    assert [child.draw(made, 1, index) for index in range(50)] == [child.draw(made, 1, index) for index in range(50)]
    assert [child.draw(made, 1, index) for index in range(50)] != [child.draw(made, 2, index) for index in range(50)]


def test_a_child_that_does_not_start_is_no_finding() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        run.fuzz(seed=1, inputs=2, module="tests.fuzz.nothing")
