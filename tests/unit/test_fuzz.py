"""The fuzzer: a short run, and whether it notices faults."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest
from starlette.exceptions import HTTPException

from grain_handler.wire.image import MAX_BYTES
from grainserve.gateway import uploads
from tests.fuzz import child, run
from tests.fuzz.faulty import Faulty
from tests.fuzz.targets import Upload, targets

FAULTY = "tests.fuzz.faulty"


def test_two_thousand_inputs_bring_nothing_but_declared_ends() -> None:
    report = run.fuzz(seed=6, inputs=2000)
    assert report.faults == []
    assert report.inputs == 2000
    assert set(report.outcomes) == set(targets())
    for name, outcomes in report.outcomes.items():
        assert outcomes.keys() - {"read"}, f"{name} refuses nothing"


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


def test_memory_is_bounded_as_a_whole_and_not_by_the_step() -> None:
    report = run.fuzz(seed=1, inputs=7, module="tests.fuzz.hoarding")
    # The third is one too many; after it a new process begins.
    assert [(fault["index"], fault["outcome"]) for fault in report.faults] == [(2, "!Memory"), (5, "!Memory")]
    assert report.inputs == 7


def test_inputs_are_as_large_as_production_takes_them() -> None:
    made = targets()
    rows = [made["handler_large"].make(Random(seed))[0] for seed in range(20)]
    images = [row.get("image", row.get("body")) for row in rows]
    assert {len(image) - MAX_BYTES for image in images if isinstance(image, bytes | bytearray)} >= {0, 1}
    assert any(isinstance(image, dict) and len(image["image"]) >= MAX_BYTES * 4 // 3 for image in images)
    kinds = {made["gateway_large"].make(Random(seed))[0].partition(";")[0] for seed in range(20)}
    assert kinds == {"application/json", "multipart/form-data", "image/png"}


@pytest.mark.parametrize(("status", "declared"), [(413, True), (500, False), (503, False)])
def test_an_answer_that_owns_to_a_fault_is_none_that_is_declared(
    status: int, declared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(request: object, limit: int) -> None:
        raise HTTPException(status)

    monkeypatch.setattr(uploads, "read", refuse)
    upload = targets()["gateway_upload"]
    assert isinstance(upload, Upload)
    with nullcontext() if declared else pytest.raises(HTTPException):
        assert asyncio.run(upload.arrive("image/png", b"", b"", 100)) == f"http_{status}"


def test_an_input_follows_from_seed_and_index() -> None:
    made = {"faulty": Faulty()}
    assert [child.draw(made, 1, index) for index in range(50)] == [child.draw(made, 1, index) for index in range(50)]
    assert [child.draw(made, 1, index) for index in range(50)] != [child.draw(made, 2, index) for index in range(50)]


def test_a_child_that_does_not_start_is_no_finding() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        run.fuzz(seed=1, inputs=2, module="tests.fuzz.nothing")
