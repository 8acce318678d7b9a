"""Prompted masks against stock SAM's predictor, for random models, images and prompts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from grain_handler.masks import Mask
from grain_handler.prompt import Earlier, Prompt
from grain_handler.sam.automask import MaskGenerator
from grain_handler.sam.mask_decoder import ImageTokens
from grain_handler.sam.prompted import Answered, Asked, MaskPredictor
from tests.unit.handler.sams import PUBLISHED, SMALL, TINY, VITS, random_sam, random_vit, shaken, trained
from tests.unit.handler.scenes import Picture, grains, noise
from training.synthetic import FAMILIES

LOGIT_ROUNDING = 5e-5
"""How far apart a logit may lie, in the largest of its mask: rounding of a mask's embedding grows in the decoder."""

MODELS = ["sam_tiny", "sam_tiny, small", *VITS]
"""The registry's: the published ones with random weights, three layers of the encoder, and a frame of 128 px."""


def model(name: str) -> Sam:
    if name in VITS:
        vit = random_vit(5, 128, PUBLISHED.width, **VITS[name])
        return random_sam(5, 128, PUBLISHED, vit)
    return trained(1024 if name == "sam_tiny" else 256)


def prompt(
    *points: tuple[float, float],
    labels: list[int] | None = None,
    box: list[float] | None = None,
    mask: Mask | Earlier | None = None,
    multimask: bool = True,
) -> Prompt:
    return Prompt(
        np.array(points, np.float64).reshape(-1, 2),
        np.array([1] * len(points) if labels is None else labels, np.int64),
        None if box is None else np.array(box, np.float64),
        mask,
        multimask,
    )


class Stock:
    """SamPredictor with one image."""

    def __init__(self, sam: Sam, image: Picture, predictor: MaskPredictor) -> None:
        self.predictor, self.size, self.ours = SamPredictor(sam), image.shape[:2], predictor
        self.predictor.set_image(image)

    def ask(self, asked: Prompt) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Logits of the image's pixels, predicted IoU and low-resolution logits of each mask."""
        mask = None
        if isinstance(asked.mask, Earlier):
            mask = self.ask(asked.mask.prompt)[2][asked.mask.number][None]
        elif asked.mask is not None:
            mask = self.ours.low_resolution(asked.mask, self.size).numpy()[None]
        given_points = (asked.points, asked.labels) if len(asked.points) else (None, None)
        answer: tuple[NDArray[Any], ...] = self.predictor.predict(
            *given_points, asked.box, mask, asked.multimask, return_logits=True
        )
        return answer[0] - self.predictor.model.mask_threshold, answer[1], answer[2]

    def assert_answers(self, asked: Prompt, answers: list[Answered]) -> None:
        logits, iou, low = self.ask(asked)
        assert len(answers) == (3 if asked.multimask else 1)
        scores = [each.mask.predicted_iou for each in answers]
        assert scores == sorted(scores, reverse=True)
        assert sorted(each.number for each in answers) == list(range(len(answers)))
        for each in answers:
            assert each.mask.predicted_iou == pytest.approx(iou[each.number], abs=1e-4)
            ours, theirs = each.mask.full(*self.size), logits[each.number]
            other = ours != (theirs > 0)
            assert (np.abs(theirs[other]) <= LOGIT_ROUNDING * np.abs(low[each.number]).max()).all()
            if (theirs > 0).sum() >= 1000:
                assert other.sum() <= 0.001 * ((theirs > 0) | ours).sum()


def kinds(height: int, width: int) -> list[Prompt]:
    """Prompts of every kind."""
    x, y = width / 3, height / 3
    first = prompt((x, y))
    blob = Mask(int(x), int(y), np.ones((height // 4, width // 3), bool), 0, 0)
    return [
        first,
        prompt((x, y), multimask=False),
        prompt((2 * x, 1.5 * y), (x, y), (0, height - 1), labels=[1, 1, 0]),
        prompt((0.25, 0.75), labels=[0]),
        prompt(box=[0, 0, width, height]),
        prompt(box=[x, y, 2 * x, 2.5 * y], multimask=False),
        prompt((x, y), (2 * x, y), labels=[1, 0], box=[x / 2, y / 2, 2 * x, 2 * y]),
        prompt(mask=blob),
        prompt((x, y), mask=blob, multimask=False),
        prompt(box=[x, y, 2 * x, 2 * y], mask=Earlier(first, 1)),
        prompt((x, y), (x / 2, y), labels=[1, 0], mask=Earlier(prompt((x, y), mask=Earlier(first, 2)), 0)),
        prompt((2 * x, 2 * y)),
    ]


@pytest.mark.parametrize("size", [(32, 32), (300, 420)])
@pytest.mark.parametrize("name", MODELS)
def test_masks_are_stocks(name: str, size: tuple[int, int]) -> None:
    sam = model(name)
    image = grains(7, next(iter(FAMILIES)), *size, 15.0)
    generator = MaskGenerator(sam)
    predictor = MaskPredictor(generator)
    asked = kinds(*size)
    (answers,) = predictor.predict([Asked(generator.embed([image])[0].tokens, size, asked)])
    stock = Stock(sam, image, predictor)
    for each, answer in zip(asked, answers, strict=True):
        stock.assert_answers(each, answer)


@st.composite
def prompts(draw: st.DrawFn, height: int, width: int) -> Prompt:
    x, y = st.floats(0, width - 0.01), st.floats(0, height - 0.01)
    points = draw(st.lists(st.tuples(x, y), max_size=4))
    labels = [draw(st.integers(0, 1)) for _ in points]
    box: list[float] | None = None
    mask = None
    if draw(st.booleans()) or not points:
        x0, x1 = sorted((draw(st.integers(0, width - 1)), draw(st.integers(1, width))))
        y0, y1 = sorted((draw(st.integers(0, height - 1)), draw(st.integers(1, height))))
        box = [x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)]
    if draw(st.integers(0, 3)) == 0:
        left, top = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
        columns, rows = draw(st.integers(1, width - left)), draw(st.integers(1, height - top))
        mask = Mask(left, top, np.ones((rows, columns), bool), 0, 0)
    return prompt(*points, labels=labels, box=box, mask=mask, multimask=draw(st.booleans()))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Picture, list[Prompt]]:
    height, width, seed = draw(st.integers(32, 160)), draw(st.integers(32, 160)), draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from([*FAMILIES, "noise"]))
    image = noise(height, width, seed) if kind == "noise" else grains(seed, kind, height, width, 15.0)
    return image, draw(st.lists(prompts(height, width), min_size=1, max_size=4))


@settings(
    deadline=None,
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking a failure would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    seed=st.integers(0, 2**32 - 1),
    side=st.sampled_from([128, 256]),
    kind=st.sampled_from([SMALL, TINY, PUBLISHED, None]),
    threshold=st.sampled_from([0.0, 0.0, 0.8, -0.6]),
    batch=st.lists(scenes(), min_size=1, max_size=3),
    mib=st.sampled_from([1, 64]),
)
def test_masks_of_any_model_are_stocks(  # noqa: PLR0917 - hypothesis names them
    seed: int, side: int, kind: Any, threshold: float, batch: list[tuple[Picture, list[Prompt]]], mib: int
) -> None:
    """Whatever else is asked together with a prompt."""
    sam = shaken(seed, 0.2, side) if kind is None else random_sam(seed, side, kind)
    sam.mask_threshold = threshold
    generator = MaskGenerator(sam, memory_mib=mib)
    predictor = MaskPredictor(generator)
    embeddings = generator.embed([image for image, _ in batch])
    asked = [
        Asked(embedding.tokens, image.shape[:2], wanted)
        for (image, wanted), embedding in zip(batch, embeddings, strict=True)
    ]
    for (image, wanted), answers in zip(batch, predictor.predict(asked), strict=True):
        stock = Stock(sam, image, predictor)
        for each, answer in zip(wanted, answers, strict=True):
            stock.assert_answers(each, answer)


def test_prompts_of_a_batch_are_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = random_sam(1, 128)
    generator = MaskGenerator(sam)
    predictor = MaskPredictor(generator)
    images = [noise(40, 60, 1), noise(50, 50, 2)]
    decode, counts = predictor.decoder.decode, []

    def counted(image: Any, tokens: torch.Tensor, which: slice) -> Any:
        counts.append(len(tokens))
        return decode(image, tokens, which)

    monkeypatch.setattr(predictor.decoder, "decode", counted)
    asked = [
        Asked(embedding.tokens, image.shape[:2], [prompt((5, 5)), prompt((9, 30)), prompt(box=[1, 2, 9, 9])])
        for image, embedding in zip(images, generator.embed(images), strict=True)
    ]
    predictor.predict(asked)
    assert sorted(counts) == [2, 4]


def test_little_memory_takes_few_prompts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = random_sam(1, 128)
    generator = MaskGenerator(sam, memory_mib=1)
    predictor = MaskPredictor(generator)
    decode, counts = predictor.decoder.decode, []

    def counted(image: Any, tokens: torch.Tensor, which: slice) -> Any:
        counts.append(len(tokens))
        return decode(image, tokens, which)

    monkeypatch.setattr(predictor.decoder, "decode", counted)
    image = noise(40, 60, 1)
    (embedding,) = generator.embed([image])
    (answers,) = predictor.predict([Asked(embedding.tokens, (40, 60), [prompt((x, 5)) for x in range(30)])])
    assert len(answers) == sum(counts) == 30
    assert max(counts) < 30


def test_a_prompt_without_a_mask_is_answered_with_empty_ones() -> None:
    """A threshold that no logit exceeds."""
    sam = random_sam(1, 128)
    sam.mask_threshold = 1e6
    generator = MaskGenerator(sam)
    image = noise(40, 60, 1)
    (embedding,) = generator.embed([image])
    ((answer,),) = MaskPredictor(generator).predict([Asked(embedding.tokens, (40, 60), [prompt((5, 5))])])
    assert [(each.mask.area, each.mask.stability_score) for each in answer] == [(0, 0)] * 3


def test_nothing_asked_is_nothing_answered() -> None:
    assert MaskPredictor(MaskGenerator(random_sam(1, 128))).predict([]) == []


def test_half_precision_as_redis_has_it_moves_masks_little() -> None:
    sam, size = trained(1024), (300, 420)
    generator = MaskGenerator(sam)
    (embedding,) = generator.embed([grains(7, next(iter(FAMILIES)), *size, 40.0)])
    wanted = [prompt((x, y)) for x in range(50, 420, 100) for y in range(50, 300, 100)]
    exact, half = MaskPredictor(generator).predict(
        [Asked(tokens, size, wanted) for tokens in (embedding.tokens, embedding.tokens.half().float())]
    )
    overlaps = []
    for one, other in zip(exact, half, strict=True):
        by_number = {each.number: each.mask for each in other}
        for answer in one:
            near = by_number[answer.number]
            shared, areas = answer.mask.intersection(near), answer.mask.area + near.area
            overlaps.append(shared / (areas - shared) if areas else 1.0)
    assert len(overlaps) == 36
    assert np.mean(overlaps) > 0.999
    assert min(overlaps) > 0.95


def test_an_images_tokens_are_prepared_once_however_many_prompts_and_requests_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = MaskGenerator(random_sam(1, 128), memory_mib=1)
    prepare, decode = generator.decoder.prepare, generator.decoder.decode
    prepared, seen = [], []

    def counted(embedding: torch.Tensor) -> Any:
        prepared.append(embedding)
        return prepare(embedding)

    def looked(image: Any, *rest: Any) -> Any:
        seen.append(type(image))
        return decode(image, *rest)

    monkeypatch.setattr(generator.decoder, "prepare", counted)
    monkeypatch.setattr(generator.decoder, "decode", looked)
    predictor = MaskPredictor(generator)
    one, other = (each.tokens for each in generator.embed([noise(40, 60, 1), noise(40, 60, 2)]))
    for tokens in (one, other, one):
        clicks = [Asked(tokens, (40, 60), [prompt((x, y)) for x in range(20)]) for y in (5, 9)]
        assert [len(answers) for answers in predictor.predict(clicks)] == [20, 20]
    assert [id(each) for each in prepared] == [id(one), id(other)]
    assert set(seen) == {ImageTokens}, "prompts of two requests on one image share its tokens"


def test_logits_are_computed_where_the_image_is(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = MaskGenerator(random_sam(1, 128))
    predictor = MaskPredictor(generator)
    logits, sizes = predictor.decoder.logits, []

    def looked(tokens: Any, keys: Any, rows: int, columns: int, which: slice) -> Any:
        sizes.append((rows, columns))
        return logits(tokens, keys, rows, columns, which)

    monkeypatch.setattr(predictor.decoder, "logits", looked)
    images = [noise(30, 120, 1), noise(60, 120, 2)]
    asked = [
        Asked(each.tokens, image.shape[:2], [prompt((5, 5))])
        for each, image in zip(generator.embed(images), images, strict=True)
    ]
    predictor.predict(asked[:1])
    predictor.predict(asked)
    predictor.predict([replace(asked[0], prompts=[prompt((9, 9), mask=Earlier(prompt((5, 5)), 0))])])
    assert sizes == [(3, 8), (5, 8), (8, 8), (3, 8)], "a mask to refine is the whole frame's"
