"""The scale of an upload, found in its file or from the scale bar in its picture."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from grainserve.errors import ScaleConflict, ScaleNotFound
from grainserve.gateway import found_scale
from grainserve.scale.units import Scale
from tests.unit.gateway.conftest import Gateway, png
from tests.unit.gateway.test_jobs import failure


def tiff(side: int = 40) -> bytes:
    """Makes a TIFF as ImageJ writes it, of 2.5 µm per px."""
    file = io.BytesIO()
    Image.new("L", (side, side)).save(
        file, "TIFF", x_resolution=0.4, y_resolution=0.4, description="ImageJ=1.54f\nunit=micron\n"
    )
    return file.getvalue()


@pytest.mark.parametrize("mode", ["file", "auto"])
def test_the_scale_is_taken_from_the_file(gateway: Gateway, mode: str) -> None:
    answer = gateway.ask("POST", f"/upload?scale={mode}", data=tiff())
    found = answer.json()["scale"]
    assert found["umPerPx"] == pytest.approx(2.5)
    assert found["source"]
    options = gateway.service.store.job(answer.json()["imageId"]).options
    assert options["um_per_px"] == found["umPerPx"]
    assert options["scale_source"] == found["source"]


def test_an_image_without_a_scale_is_taken_without_one(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/upload?scale=auto", data=png())
    assert answer.status_code == 202
    found = answer.json()["scale"]
    assert found["umPerPx"] is None
    assert found["error"]["code"] == ScaleNotFound.code
    assert "um_per_px" not in gateway.service.store.job(answer.json()["imageId"]).options


def test_sources_that_disagree_give_no_scale(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def disagree(*_: Any) -> Scale:
        raise ScaleConflict("the file says one thing, its bar another")

    monkeypatch.setattr(found_scale, "find_scale", disagree)
    answer = gateway.ask("POST", "/upload?scale=auto", data=tiff())
    assert answer.status_code == 202
    assert answer.json()["scale"]["error"]["code"] == ScaleConflict.code


def test_who_does_not_ask_is_told_nothing(gateway: Gateway) -> None:
    assert "scale" not in gateway.ask("POST", "/upload", data=tiff()).json()


@pytest.mark.parametrize(
    "query", ["scale=bar", "scale=auto&scale=file", "scale=auto&um_per_px=2", "scale=auto&scale_source=x"]
)
def test_what_cannot_be_meant_is_refused(gateway: Gateway, query: str) -> None:
    assert failure(gateway.ask("POST", f"/upload?{query}", data=tiff()), 422) == "invalid_option"


def test_the_scale_of_an_object_is_not_looked_for(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/upload?scale=auto", json={"uri": "gs://bucket/a.png"})
    assert failure(answer, 422) == "invalid_option"


def test_a_picture_too_large_to_search_is_asked_its_file_alone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []

    def find(_: bytes, mode: str) -> Scale:
        modes.append(mode)
        return Scale(2.0, "metadata")

    monkeypatch.setattr(found_scale, "find_scale", find)
    monkeypatch.setattr(found_scale, "MOST_PIXELS", 64 * 48)
    gateway.ask("POST", "/upload?scale=auto", data=png(64, 48))
    gateway.ask("POST", "/upload?scale=auto", data=png(64, 49))
    assert modes == ["auto", "file"]


def test_two_pictures_are_searched_at_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    searching, most, lock, both = 0, 0, threading.Lock(), threading.Barrier(2)

    def find(*_: Any) -> Scale:
        nonlocal searching, most
        with lock:
            searching += 1
            most = max(most, searching)
        both.wait()  # the six come in pairs: none goes on alone, and a third at the side of two would be counted
        with lock:
            searching -= 1
        return Scale(2.0, "metadata")

    monkeypatch.setattr(found_scale, "find_scale", find)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: gateway.ask("POST", "/upload?scale=auto", data=png()), range(6)))
    assert [answer.status_code for answer in answers] == [202] * 6
    assert most == 2
