from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from grain_handler.errors import InvalidOption
from grain_handler.grains.classify import given
from grain_handler.masks import Mask
from grain_handler.segment import Segmentation
from grain_handler.wire.request import parse
from grain_handler.worker import logs
from tests.unit.handler.pictures import encoded, gradient
from tools.mar import ROOT

PNG = encoded(gradient(), "PNG")
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level("INFO", "grain_handler.worker.logs")
    # TorchServe reads line by line; config/log4j2.xml knows ours by this expression.
    properties = ET.parse(ROOT / "config" / "log4j2.xml").iterfind("Properties/Property")
    (event,) = [each.text for each in properties if each.get("name") == "event"]
    assert event is not None

    def read() -> list[dict[str, Any]]:
        assert all(re.fullmatch(event, message) for message in caplog.messages)
        return [json.loads(message) for message in caplog.messages]

    return read


def test_an_answer_is_one_line(lines: Lines) -> None:
    request = parse({"image": PNG, "imageId": b"sand-7"}, {}, "request-1", {})
    assert not isinstance(request, Exception)
    mask = Mask(1, 2, np.ones((3, 4), bool), 0.9, 0.8)
    logs.answered(request.image_id, 200, Segmentation(request, [mask, mask], [{}, {}], given("grain", 2), 1.23456))
    assert lines() == [{"event": "answered", "imageId": "sand-7", "status": 200, "objects": 2, "seconds": 1.2346}]


def test_what_a_user_wrote_cannot_make_a_line_of_its_own(lines: Lines) -> None:
    try:
        raise InvalidOption('{"event":"forged"}\n[METRICS]forged:1|#x:y\nünïcode')
    except InvalidOption as error:
        logs.fault("sand-7", "unexpected fault")
        logs.answered("sand-7", error.status, error)
    fault, answered = lines()
    assert fault["message"] == "unexpected fault"
    assert 'InvalidOption: {"event":"forged"}\n[METRICS]' in fault["traceback"]
    assert answered == {"event": "answered", "imageId": "sand-7", "status": 422, "code": "invalid_option"}


@pytest.mark.parametrize(
    ("row", "image_id"),
    [
        ({"body": b"no image"}, "request-1"),
        ({"body": {"imageId": "sand-7", "image": "no base64"}}, "sand-7"),
        ({"image": PNG, "imageId": b"sand-7", "min_area": b"x"}, "sand-7"),
        ({"imageId": b"sand-7"}, "sand-7"),
        ({"image": PNG, "imageId": b"no id\n"}, "request-1"),
    ],
)
def test_an_error_knows_its_image(row: dict[str, Any], image_id: str) -> None:
    error = parse(row, {}, "request-1", {})
    assert isinstance(error, Exception)
    assert error.image_id == image_id
