from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grainserve.contract import validate_result
from grainserve.errors import GrainserveError, InvalidOption, NothingSegmented
from grainserve.prompts.async_session import AsyncSession
from grainserve.prompts.prompt import Prompt
from grainserve.prompts.session import Session
from grainserve.result import Result
from tests.unit.client.fake_torchserve import answer_prompt
from tests.unit.client.made import DISCS, disc_masks, make_prompted_result


class Image:
    """Answers prompts as the imitation of TorchServe does, without any server.

    Attributes:
        asked: prompts of each request.
        changed: metadata that differs from the usual.
        gate: what a request waits for.
        refuses: whether a request fails.
    """

    def __init__(self) -> None:
        self.asked: list[Sequence[Prompt]] = []
        self.changed: dict[str, Any] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.refuses = False

    def ask(self, prompts: Sequence[Prompt]) -> Result:
        self.asked.append(prompts)
        self.gate.wait()
        if self.refuses:
            raise GrainserveError("refused")
        data = make_prompted_result(answers=[answer_prompt(each) for each in prompts])
        data["metadata"] |= self.changed
        return Result(json.loads(json.dumps(data)))

    def result(self, data: dict[str, Any]) -> Result:
        return Result(data)


def middle(index: int) -> tuple[int, int]:
    return DISCS[index][:2]


@pytest.fixture
def image() -> Image:
    return Image()


@pytest.fixture
def session(image: Image) -> Session:
    return Session(image)


def test_a_click_makes_an_object_with_its_masks(session: Session) -> None:
    found = session.add(points=[middle(1)])
    assert (found.number, found.prompt) == (1, {"points": [list(middle(1))]})
    assert len(found.masks) == len(found.grains) == 2
    np.testing.assert_array_equal(found.mask, disc_masks()[1])
    assert found.grains[0].area == disc_masks()[1].sum()
    assert session.objects == (found,)


def test_a_second_click_asks_again_with_both_points(session: Session, image: Image) -> None:
    first = session.add(points=[middle(1)])
    other = session.add(box=[0, 0, 40, 30])
    refined = session.add(points=[(50, 25)], labels=[0], object=first.number)
    assert image.asked[-1] == [{"points": [list(middle(1)), [50, 25]], "labels": [1, 0]}]
    assert [each.number for each in session.objects] == [1, 2]
    assert session.objects == (refined, other)
    assert refined.mask.sum() < first.mask.sum()
    np.testing.assert_array_equal(session.masks[1], disc_masks()[0])


def test_where_nothing_is_found_the_mask_is_empty(session: Session) -> None:
    nothing = session.add(points=[(2, 2)])
    assert nothing.grains == nothing.masks == []
    assert nothing.mask.shape == disc_masks()[0].shape
    assert not nothing.mask.any()
    assert session.to_result().answers == [[]]


def test_a_prompt_that_fails_changes_nothing(session: Session, image: Image) -> None:
    first = session.add(points=[middle(1)])
    image.refuses = True
    for number in (None, 1):
        with pytest.raises(GrainserveError, match="refused"):
            session.add(points=[middle(0)], object=number)
    for number in (0, 2, -1):
        with pytest.raises(InvalidOption, match=f"no object {number}: the session has 1"):
            session.add(points=[middle(0)], object=number)
    assert session.objects == (first,)
    assert session.undo()
    assert not session.undo()
    assert len(session.objects) == 0


def test_the_result_has_the_best_mask_of_each_object(session: Session) -> None:
    session.add(points=[middle(1)])
    session.add(points=[(2, 2)])
    session.add(box=[0, 0, 40, 30])
    session.add(points=[middle(1)])
    result = session.to_result()
    validate_result(json.loads(json.dumps(result.to_dict())))
    assert [grain.id for grain in result.grains] == [1, 2, 3]
    assert [[grain.id for grain in answer] for answer in result.answers] == [[1], [], [2], [3]]
    for window, disc in zip(result.windows, (1, 0, 1), strict=True):
        np.testing.assert_array_equal(window.patch, disc_masks()[disc][window.slices()])
    assert result.metadata["processTime"] == 4 * session.objects[0].result.metadata["processTime"]
    assert result.metadata["warnings"] == []


def test_the_result_says_where_the_checkpoint_changed_in_between(session: Session, image: Image) -> None:
    image.changed = {"warnings": ["levels were stretched"]}
    session.add(points=[middle(1)])
    session.add(points=[middle(1)])
    image.changed = {"version": "1.1", "timestamp": "2026-11-21T04:06:00.000Z"}
    session.add(points=[middle(0)])
    metadata = session.to_result().metadata
    assert metadata["version"] == "1.1"
    assert metadata["warnings"] == [
        "levels were stretched",
        "2 of 3 objects were segmented with another version than the last one: it was replaced meanwhile",
    ]


def test_a_session_without_objects_has_no_result(session: Session) -> None:
    with pytest.raises(NothingSegmented, match="add a prompt first"):
        session.to_result()


def test_a_session_ends_where_a_result_is_full(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.add(points=[middle(1)])
    full = session.objects * 1000
    monkeypatch.setattr(session, "_states", [full])
    with pytest.raises(InvalidOption, match="up to 1000 objects"):
        session.add(points=[middle(1)])
    session.add(points=[middle(1)], object=1000)


places = st.tuples(st.integers(0, 79), st.integers(0, 59))
adds = st.fixed_dictionaries(
    {
        "points": st.lists(places, min_size=1, max_size=3),
        "object": st.none() | st.integers(1, 3),
        "multimask": st.sampled_from([None, True, False]),
    }
)
steps = st.lists(adds | st.just("undo") | st.just("reset"), max_size=8)


@given(steps=steps, last=adds | st.just("reset"))
def test_undo_gives_the_state_before(steps: list[Any], last: Any) -> None:
    session = Session(Image())

    def take(step: Any) -> bool:
        if step == "undo":
            return session.undo()
        if step == "reset":
            session.reset()
            return True
        try:
            session.add(**step)
        except InvalidOption:  # there is no such object
            return False
        return True

    for step in steps:
        take(step)
    before = session.objects
    took = take(last)
    assert [each.number for each in session.objects] == list(range(1, len(session.objects) + 1))
    if took:
        assert session.undo()
    assert session.objects == before
    for each in before:  # an object is what its whole prompt says, however it came about
        assert each.result.to_dict() == Image().ask([each.prompt]).to_dict()
    while session.undo():
        pass
    assert session.objects == ()


def test_the_asynchronous_session_has_every_method_with_its_arguments() -> None:
    steps = {"turn", "ask", "keep"}
    own, others = (
        {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")} for kind in (AsyncSession, Session)
    )
    assert own == others - steps


def test_the_asynchronous_session_takes_calls_in_their_order(image: Image) -> None:
    async def work() -> None:
        session = AsyncSession(Session(image))
        image.gate.clear()
        calls = asyncio.gather(
            session.add(points=[middle(1)]),
            session.add(points=[(50, 25)], labels=[0], object=1),
            session.add(box=[0, 0, 40, 30]),
            session.undo(),
        )
        await asyncio.sleep(0)
        image.gate.set()
        _, refined, _, undone = await calls
        assert undone is True
        assert session.objects == (refined,)
        assert len(session.masks) == 1
        assert (await session.to_result()).grains[0].area == refined.grains[0].area
        await session.reset()
        assert len(session.objects) == 0

    asyncio.run(work())


def test_a_cancelled_click_changes_nothing(image: Image) -> None:
    async def work() -> None:
        session = AsyncSession(Session(image))
        image.gate.clear()
        click = asyncio.ensure_future(session.add(points=[middle(1)]))
        while not image.asked:
            await asyncio.sleep(0.001)
        click.cancel()
        image.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await click
        assert session.objects == ()
        assert (await session.add(points=[middle(0)])).number == 1

    asyncio.run(work())
