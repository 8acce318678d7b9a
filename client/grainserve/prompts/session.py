"""A session: objects of one image, found by pointing at them, with undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from grainserve.contract import schema
from grainserve.errors import InvalidOption, NothingSegmented
from grainserve.prompts.best import best_masks
from grainserve.prompts.prompt import MaskPrompt, Points, Prompt, extended, make_prompt
from grainserve.result import Grain, Result


class Answering(Protocol):
    """The part of `PromptedImage` that a session needs; see there."""

    def ask(self, prompts: Sequence[Prompt]) -> Result: ...  # noqa: D102

    def result(self, data: dict[str, Any]) -> Result: ...  # noqa: D102


@dataclass(frozen=True)
class PromptedObject:
    """An object of a session: what was asked about it, and the answer.

    Attributes:
        number: number of the object in its session, 1 or more.
        prompt: all points, the box and the mask that were asked about it.
        result: answer to this prompt.
    """

    number: int
    prompt: Prompt
    result: Result

    @property
    def grains(self) -> list[Grain]:
        """The masks that answer the prompt, measured, the best first; none where nothing was found."""
        return self.result.answers[0]

    @property
    def masks(self) -> list[NDArray[np.bool_]]:
        """The masks that answer the prompt, each H × W, bool, the best first."""
        return [self.result.mask(grain) for grain in self.grains]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The best mask, H × W, bool; all False where nothing was found."""
        found = self.grains[:1]
        return self.result.mask(found[0]) if found else np.zeros((self.result.height, self.result.width), bool)


@dataclass(frozen=True)
class Turn:
    """A prompt that is ready to be asked about an object.

    Attributes:
        number: number of the object.
        prompt: everything that is asked about it, with what was asked before.
    """

    number: int
    prompt: Prompt


class Session:
    """Objects of one image, found by pointing at them. `Client.open` makes one; one thread at a time uses it.

    A further point asks again with all points of its object. It could send the token of the last mask instead, for
    SAM to refine; but asking with all points takes one step of the decoder however many clicks there were, does not
    depend on their order, holds when a checkpoint is replaced, and can be undone exactly.

    Args:
        image: image about which prompts are asked.
    """

    def __init__(self, image: Answering) -> None:
        self._image = image
        self._states: list[tuple[PromptedObject, ...]] = [()]

    @property
    def objects(self) -> tuple[PromptedObject, ...]:
        """The objects, in the order of their numbers."""
        return self._states[-1]

    @property
    def masks(self) -> list[NDArray[np.bool_]]:
        """The best mask of each object, H × W, bool; masks may overlap."""
        return [each.mask for each in self.objects]

    def add(
        self,
        *,
        points: Points | None = None,
        labels: Sequence[int] | NDArray[Any] | None = None,
        box: Sequence[float] | NDArray[Any] | None = None,
        mask: MaskPrompt | None = None,
        multimask: bool | None = None,
        object: int | None = None,  # noqa: A002 - the word for it
    ) -> PromptedObject:
        """Asks about an object, and returns it with its masks. If the prompt cannot be answered, nothing changes.

        Args:
            points: n points (x, y), px of the image as submitted, upright; they are added to those of the object.
            labels: n labels: 1 for a point in the object, 0 for one outside it; None: all are in it.
            box: (x0, y0, x1, y1), px, half-open; takes the place of the object's box.
            mask: mask to refine: its token, run lengths, or H × W, bool; takes the place of the object's mask.
            multimask: whether to ask for three masks; None: only where the object has a single point.
            object: number of the object; None for a new one.

        Raises:
            InvalidOption: there is no such object, the session is full, or a value is not finite.
            And the errors of `Client.segment`.
        """
        turn = self.turn(make_prompt(points, labels, box, mask, multimask), object)
        return self.keep(turn, self.ask(turn))

    def undo(self) -> bool:
        """Takes the last `add` or `reset` back; returns whether there was one."""
        if len(self._states) == 1:
            return False
        self._states.pop()
        return True

    def reset(self) -> None:
        """Removes all objects; `undo` brings them back."""
        self._states.append(())

    def to_result(self) -> Result:
        """Returns a result with the best mask of each object, measured; masks may overlap.

        `Result.answers` has a list for each object, in the order of their numbers, empty where nothing was found.

        Raises:
            NothingSegmented: the session has no objects.
        """
        if not self.objects:
            raise NothingSegmented()
        return self._image.result(best_masks([each.result for each in self.objects]))

    def turn(self, more: Prompt, number: int | None) -> Turn:
        """Returns what is to be asked, about a new object (None) or an existing one.

        Raises:
            InvalidOption: there is no such object, or no room for a new one.
        """
        if number is None:
            most = schema("result")["properties"]["prompts"]["maxItems"]
            if len(self.objects) >= most:
                raise InvalidOption(f"a session has up to {most} objects: take its result, and open another one")
            return Turn(len(self.objects) + 1, more)
        if not 1 <= number <= len(self.objects):
            raise InvalidOption(f"there is no object {number}: the session has {len(self.objects)} of them")
        return Turn(number, extended(self.objects[number - 1].prompt, more))

    def ask(self, turn: Turn) -> Result:
        """Asks TorchServe, and changes nothing in the session; see `add` for errors."""
        return self._image.ask([turn.prompt])

    def keep(self, turn: Turn, answer: Result) -> PromptedObject:
        """Puts an answered object into the session."""
        found = PromptedObject(turn.number, turn.prompt, answer)
        self._states.append((*self.objects[: turn.number - 1], found, *self.objects[turn.number :]))
        return found
