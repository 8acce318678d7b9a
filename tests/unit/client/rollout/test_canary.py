"""Comparison of two versions' answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from grainserve.jobs.store import JobStore
from grainserve.result import Result
from grainserve.rollout import canary
from grainserve.rollout.canary import CanaryFailed, Comparison, Limits, agreement, ask, compare
from grainserve.rollout.shadow import sample
from grainserve.rollout.trials import Canaries
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import BUSY, TOO_LARGE, FakeTorchServe
from tests.unit.client.jobs.test_store import claimed, submit
from tests.unit.client.made import DISCS, make_result

LABELS = arrays(np.int32, (6, 7), elements=st.integers(0, 4))


@given(LABELS, LABELS)
def test_agreement_is_symmetric_and_between_none_and_all(a: NDArray[np.int32], b: NDArray[np.int32]) -> None:
    found = agreement(a, b)
    assert 0 <= found <= 1
    assert found == pytest.approx(agreement(b, a))


@given(LABELS, st.permutations(range(1, 5)))
def test_the_same_grains_agree_whatever_their_numbers(a: NDArray[np.int32], numbers: list[int]) -> None:
    assert agreement(a, np.array([0, *numbers], np.int32)[a]) == 1.0


@given(LABELS)
def test_a_grain_that_only_one_has_lowers_it(a: NDArray[np.int32]) -> None:
    more = a.copy()
    more[0, :] = 9
    if not (a[0] == a[0, 0]).all() or a[0, 0] == 0 or (a[1:] == a[0, 0]).any():
        assert agreement(a, more) < 1.0


def test_half_a_grain_is_half_an_agreement() -> None:
    a = np.zeros((4, 4), np.int32)
    a[:2] = 1
    b = np.zeros((4, 4), np.int32)
    b[0] = 1
    assert agreement(a, b) == 0.5
    assert agreement(np.zeros((2, 2), np.int32), np.zeros((2, 2), np.int32)) == 1.0
    assert agreement(a, np.zeros_like(a)) == 0.0


def test_what_changed_is_said_for_each_limit() -> None:
    assert Comparison("sand.png", (100, 110), (2.0, 2.1), 0.9).breaks(Limits()) == []
    assert Comparison("sand.png", (0, 0), (float("nan"), float("nan")), 1.0).breaks(Limits()) == []
    assert Comparison("sand.png", (100, 60), (2.0, 2.5), 0.4).breaks(Limits()) == [
        "sand.png: 100 grains became 60 (limit 20%)",
        "sand.png: uncorrected D50 2 became 2.5 (limit 10%)",
        "sand.png: label maps agree to 0.40 (limit 0.80)",
    ]
    gone = Comparison("sand.png", (100, 0), (2.0, float("nan")), 0.0).breaks(Limits())
    assert len(gone) == 3, "no grain at all is a change of everything"


def test_an_answer_is_compared_with_itself() -> None:
    result = Result(make_result("x"))
    found = compare("x", result, result)
    assert (found.counts, found.agreement) == ((len(DISCS), len(DISCS)), 1.0)
    assert found.d50[0] == found.d50[1] > 0
    fewer = compare("x", result, Result(make_result("x", masks=[])))
    assert fewer.counts == (len(DISCS), 0)
    assert fewer.agreement == 0.0


def test_an_answer_of_another_version_or_none_fails(torchserve: FakeTorchServe) -> None:
    server = TorchServe(torchserve.url, None)
    version = make_result("x")["metadata"]["version"]
    assert len(ask(server, "sam_tiny", version, b"image", name="sand.png").grains) == len(DISCS)
    with pytest.raises(CanaryFailed, match="signed by version"):
        ask(server, "sam_tiny", "9.9", b"image", name="sand.png")
    torchserve.script = [TOO_LARGE]
    with pytest.raises(CanaryFailed, match=r"sand\.png.*scale it down"):
        ask(server, "sam_tiny", version, b"image", name="sand.png")
    torchserve.script = [(200, b'{"metadata": {}, "segmentedObjects": []}')]
    with pytest.raises(CanaryFailed, match="required property"):
        ask(server, "sam_tiny", version, b"image", name="sand.png")


def test_a_full_queue_is_waited_for(torchserve: FakeTorchServe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries are measured under load."""
    monkeypatch.setattr(canary, "PAUSE", 0.001)
    server, version = TorchServe(torchserve.url, None), make_result("x")["metadata"]["version"]
    torchserve.script = [BUSY] * 5
    assert ask(server, "sam_tiny", version, b"image", name="sand.png").grains
    assert len(torchserve.requests) == 6
    monkeypatch.setattr(canary, "PATIENCE", 0.0)
    torchserve.script = [BUSY] * 5
    with pytest.raises(CanaryFailed, match=r"no place for sand\.png"):
        ask(server, "sam_tiny", version, b"image", name="sand.png")


def test_canaries_ask_the_old_version_first_and_both_for_masks(torchserve: FakeTorchServe, tmp_path: Path) -> None:
    file = tmp_path / "sand.png"
    file.write_bytes(b"image")
    said: list[str] = []
    version = make_result("x")["metadata"]["version"]
    trial = Canaries(TorchServe(torchserve.url, None), [file], Limits(), said.append)
    torchserve.script = [TOO_LARGE]
    with pytest.raises(CanaryFailed, match="scale it down"):
        trial.prepare("sam_tiny", version)
    trial.prepare("sam_tiny", version)
    trial.attempt("sam_tiny", version)
    assert "label maps agree to 1.000" in said[0]
    assert {body["mask_format"] for _, body in torchserve.requests} == {"rle"}
    torchserve.script = [(200, json.dumps(make_result("canary", masks=[])).encode())]
    with pytest.raises(CanaryFailed, match="grains became 0"):
        trial.attempt("sam_tiny", version)


def test_a_shadow_is_a_share_of_what_was_answered_with_masks(store: JobStore) -> None:
    assert sample(store, "sam_tiny", 0.5) == []
    ids = [submit(store) for _ in range(10)]
    for image_id in ids[:8]:
        store.finish(claimed(store, image_id), make_result(image_id))
    store.finish(claimed(store, ids[8]), make_result(ids[8], mask_format="none"))
    draws = [sample(store, "sam_tiny", 0.25, random.Random(seed)) for seed in range(20)]
    assert all(len(draw) == 2 for draw in draws)
    drawn = {each.image_id for draw in draws for each in draw}
    assert drawn <= set(ids[:8])
    assert len(drawn) > 4, "others each time"
    assert all(each.image == b"image" for each in draws[0])
    assert sample(store, "sam_vit_h", 1.0) == []
