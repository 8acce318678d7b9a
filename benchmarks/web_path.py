"""Measures the way from three dropped TIFFs to the report of their sample, in clicks and in seconds of our own.

    python -m benchmarks.web_path

An imitation of TorchServe answers at once with 600 made-up grains for each image, so that SAM takes no part in the
seconds. Gateway, dispatcher, GCS emulator and Chromium are real.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, expect

from benchmarks.web_page import grains
from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.gateway.keys import Keys
from grainserve.gateway.service import Service
from grainserve.jobs.store import JobStore
from grainserve.storage.bucket import Bucket
from grainserve.torchserve.inference import TorchServe
from tests.browser import browsing
from tests.unit.client.fake_torchserve import FakeTorchServe
from tests.unit.gateway.conftest import serving
from tools.ports import choose_free
from tools.problem import main_exit
from tools.stack import Emulator

RESULTS = Path(__file__).resolve().parent / "results" / "web_path.json"
IMAGES, GRAINS, REPEATS = 3, 600, 5


class Measured(FakeTorchServe):
    """A TorchServe that answers at once with the same grains for every image."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self._result = result

    def result(self, body: dict[str, Any]) -> bytes:
        """Returns the result, under the image id of the request."""
        metadata = self._result["metadata"] | {"imageId": body["imageId"]}
        return json.dumps(self._result | {"metadata": metadata}).encode()


def main() -> int:
    result, picture = grains(GRAINS)
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Emulator(
                folder / "objects", port=choose_free(1)[0], log=folder / "gcs.log", say=lambda _: None
            ) as emulator,
            Measured(result) as torchserve,
        ):
            os.environ["STORAGE_EMULATOR_HOST"] = emulator.url
            for number in range(REPEATS):
                bucket = f"path-{number}"
                emulator.client().create_bucket(bucket)
                store, server = JobStore(Bucket(bucket)), TorchServe(torchserve.url, torchserve.url)
                service = Service(store, server, "sam_tiny", None, Keys({}), dispatcher=Dispatcher(store, server))
                with serving(service) as gateway, browsing(gateway.url) as page:
                    runs.append(walked(page, tiffs(picture, folder)))
                    print(runs[-1], flush=True)
    found = {
        "images": IMAGES,
        "grainsPerImage": GRAINS,
        "clicks": runs[0]["clicks"],
        "sampleShownSeconds": statistics.median(run["sampleShownSeconds"] for run in runs),
        "reportSavedSeconds": statistics.median(run["reportSavedSeconds"] for run in runs),
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def tiffs(picture: bytes, folder: Path) -> list[Path]:
    """Writes the picture as TIFFs whose metadata give a scale of 2.5 µm per px."""
    files = []
    for number in range(IMAGES):
        files.append(folder / f"sand_{number}.tif")
        across = 1e4 / 2.5
        tags = {282: across, 283: across, 296: 3, 270: "ImageJ=1.54\nunit=cm\n"}
        with Image.open(io.BytesIO(picture)) as image:
            image.save(files[-1], "TIFF", tiffinfo=tags)
    return files


def walked(page: Page, files: list[Path]) -> dict[str, Any]:
    """Goes the way as a person does, without pausing, and returns clicks and seconds since the drop."""
    clicks, begun = 0, time.perf_counter()
    page.set_input_files("#file", files)

    def click(role: Any, name: str) -> None:
        nonlocal clicks
        page.get_by_role(role, name=name).click()
        clicks += 1

    click("button", f"Make a sample of these {IMAGES} images")
    expect(page.locator(".statistics")).to_contain_text(f"{IMAGES * GRAINS:,}", timeout=60_000)
    shown = time.perf_counter() - begun
    click("button", "Report")
    with page.expect_download() as download:
        click("menuitem", "HTML")
    saved = Path(download.value.path())
    seconds = time.perf_counter() - begun
    if b"</html>" not in saved.read_bytes():
        raise ValueError("what was saved is no page")
    return {"clicks": clicks, "sampleShownSeconds": round(shown, 2), "reportSavedSeconds": round(seconds, 2)}


if __name__ == "__main__":
    main_exit(main)
