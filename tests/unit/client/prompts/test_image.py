from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np
import pytest

from grainserve.errors import AnswerLost, ImageRejected, InvalidImage, TorchServeBusy, TorchServeUnreachable
from grainserve.images import ImageFile
from grainserve.prompts import image as prompted
from grainserve.prompts.image import PromptedImage
from grainserve.torchserve.inference import TorchServe
from tests.unit.client.fake_torchserve import BUSY, EMBEDDING_MISSING, HANG_UP, TOO_LARGE, Answer, FakeTorchServe
from tests.unit.client.made import make_image

POINT = {"points": [[20, 15]]}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompted, "SHORTEST_PAUSE", 0.001)


def image_at(url: str, picture: Path, patience: float = 600.0) -> PromptedImage:
    return PromptedImage(
        TorchServe(url, None), "sam_tiny-prompt", ImageFile(picture), {"um_per_px": 2.0}, patience=patience
    )


def sent(torchserve: FakeTorchServe) -> list[str]:
    return [next(name for name in ("image", "imageDigest") if name in body) for _, body in torchserve.requests]


def test_the_image_goes_once_and_then_its_digest(torchserve: FakeTorchServe, picture: Path) -> None:
    image = image_at(torchserve.url, picture)
    first, second = image.ask([POINT]), image.ask([POINT, {"box": [35, 15, 65, 45]}])
    path, body = torchserve.requests[0]
    assert path == "/predictions/sam_tiny-prompt"
    assert body == {
        "image": base64.b64encode(picture.read_bytes()).decode(),
        "prompts": [POINT],
        "imageId": first.image_id,
        "um_per_px": 2.0,
    }
    assert sent(torchserve) == ["image", "imageDigest"]
    assert torchserve.requests[1][1]["imageDigest"] == hashlib.sha256(picture.read_bytes()).hexdigest()
    assert first.image_id == second.image_id
    assert [len(answer) for answer in second.answers] == [2, 1]


def test_the_image_goes_again_where_no_worker_keeps_it(torchserve: FakeTorchServe, picture: Path) -> None:
    image = image_at(torchserve.url, picture)
    image.ask([POINT])
    torchserve.script = [EMBEDDING_MISSING]
    assert image.ask([POINT]).answers[0]
    image.ask([POINT])
    assert sent(torchserve) == ["image", "imageDigest", "image", "imageDigest"]


def test_a_busy_torchserve_is_asked_again(torchserve: FakeTorchServe, picture: Path) -> None:
    image = image_at(torchserve.url, picture)
    torchserve.script = [BUSY] * 3
    assert image.ask([POINT]).answers[0]
    torchserve.script = [EMBEDDING_MISSING, BUSY]
    assert image.ask([POINT]).answers[0]
    assert sent(torchserve) == ["image"] * 4 + ["imageDigest"] + ["image"] * 2


def test_patience_ends(torchserve: FakeTorchServe, picture: Path) -> None:
    torchserve.script = [BUSY, BUSY]
    with pytest.raises(TorchServeBusy):
        image_at(torchserve.url, picture, patience=0.0).ask([POINT])
    assert len(torchserve.requests) == 1
    with pytest.raises(TorchServeUnreachable):
        image_at("http://127.0.0.1:9", picture, patience=0.05).ask([POINT])


@pytest.mark.parametrize(("answer", "error"), [(TOO_LARGE, ImageRejected), (HANG_UP, AnswerLost)])
def test_what_may_have_been_done_is_not_asked_again(
    torchserve: FakeTorchServe, picture: Path, answer: Answer, error: type[Exception]
) -> None:
    torchserve.script = [answer]
    with pytest.raises(error):
        image_at(torchserve.url, picture).ask([POINT])
    assert len(torchserve.requests) == 1


def test_a_file_is_read_once(torchserve: FakeTorchServe, picture: Path) -> None:
    image = image_at(torchserve.url, picture)
    picture.unlink()
    result = image.ask([POINT])
    np.testing.assert_array_equal(result.pixels(), np.asarray(make_image()))


@pytest.mark.parametrize("source", [np.zeros((5, 1025), np.uint8), b"no image"], ids=["large", "none"])
def test_what_cannot_be_asked_about_is_told_before_anything_is_sent(
    torchserve: FakeTorchServe, source: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | bytes
) -> None:
    with pytest.raises(InvalidImage, match=r"1025 × 5 px.*cut out the part|not an image"):
        PromptedImage(TorchServe(torchserve.url, None), "sam_tiny", ImageFile(source), {})
    assert torchserve.requests == []
