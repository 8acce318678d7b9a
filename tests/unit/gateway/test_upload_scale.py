"""Uploads whose scale the gateway finds."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.gateway.conftest import Gateway, Start, png


def scaled(um_per_px: float = 2.0, units: int = 3) -> bytes:
    """A TIFF whose resolution, in pixels per centimetre, gives the scale as ImageJ writes it."""
    file = io.BytesIO()
    resolution = 1e4 / um_per_px
    description = "ImageJ=1.53t\nunit=cm\n"
    Image.new("RGB", (64, 48), (90, 120, 60)).save(
        file, "TIFF", tiffinfo={282: resolution, 283: resolution, 296: units, 270: description}
    )
    return file.getvalue()


@pytest.mark.parametrize("mode", ["file", "auto", "if-found"])
def test_the_scale_of_the_file_goes_to_the_job(start: Start, torchserve: FakeTorchServe, mode: str) -> None:
    gateway = start(dispatch=True)
    answer = gateway.ask("POST", f"/upload?scale={mode}&min_area=30", data=scaled())
    assert answer.status_code == 202, answer.text
    assert answer.json()["scale"]["umPerPx"] == pytest.approx(2.0)
    assert answer.json()["scaleProblem"] is None
    gateway.until_done(answer.json()["imageId"])
    options = torchserve.requests[0][1]
    assert options["um_per_px"] == pytest.approx(2.0)
    assert options["scale_source"] == answer.json()["scale"]["source"]
    assert options["min_area"] == 30


def test_an_image_without_a_scale_is_refused_or_measured_in_px(start: Start, torchserve: FakeTorchServe) -> None:
    gateway = start(dispatch=True)
    refused = gateway.ask("POST", "/upload?scale=auto", data=png())
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "scale_not_found")
    taken = gateway.ask("POST", "/upload?scale=if-found", data=png()).json()
    assert taken["scale"] is None
    assert "no scale" in taken["scaleProblem"]
    gateway.until_done(taken["imageId"])
    assert "um_per_px" not in torchserve.requests[0][1]


def test_a_search_that_makes_no_sense_is_refused(gateway: Gateway) -> None:
    for query, status, code in (
        ("scale=guess", 422, "invalid_request"),
        ("scale=auto&um_per_px=2", 422, "invalid_option"),
    ):
        refused = gateway.ask("POST", f"/upload?{query}", data=scaled())
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    refused = gateway.ask("POST", "/upload?scale=auto", json={"uri": "gs://bucket/image.png"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_option")


def test_an_image_that_breaks_off_is_refused(gateway: Gateway) -> None:
    refused = gateway.ask("POST", "/upload?scale=if-found", data=png()[:-900])
    assert refused.status_code == 415, refused.text
    assert not gateway.ask("GET", "/images").json()["images"]


def test_without_the_parameter_nothing_is_searched(gateway: Gateway) -> None:
    assert "scale" not in gateway.ask("POST", "/upload", data=scaled()).json()
