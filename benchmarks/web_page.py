"""Measures the page in Chromium: frame times while the picture is moved and enlarged, first paint, weight.

    python -m benchmarks.web_page

A real gateway serves results of made-up grains; the browser has no GPU, so that a laptop draws faster than this. What
else runs on the machine shows in the frames: `loads` says how much that was, and `paintMs` is the page's own part.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from grainserve.gateway.keys import Keys
from grainserve.gateway.service import Service
from grainserve.jobs.markers import Ticket
from grainserve.jobs.store import Claim, JobStore
from grainserve.results.masks import Window, encode_rle
from grainserve.storage.bucket import Bucket
from tests.browser import browsing
from tests.unit.client.made import make_properties, make_result
from tests.unit.gateway.conftest import Gateway, serving
from tools.ports import choose_free
from tools.problem import Problem, main_exit
from tools.stack import Emulator

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results" / "web_page.json"
PAGE = ROOT.parent / "client" / "grainserve" / "gateway" / "page"
SIDE = 1024
COUNTS = (600, 5000)
BUCKET = "page"
GESTURE = """async (wheel) => {
  const canvas = document.querySelector("#picture"), box = canvas.getBoundingClientRect(), times = [];
  const common = { pointerId: 7, bubbles: true, cancelable: true, button: 0 };
  const at = (x, y) => ({ clientX: box.x + x, clientY: box.y + y, ...common });
  const frame = () => new Promise(requestAnimationFrame);
  const fire = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, at(x, y)));
  canvas.setPointerCapture = () => {};
  let before = await frame();
  const tick = async () => { const now = await frame(); times.push(now - before); before = now; };
  if (wheel) {
    for (let step = 0; step < 120; step++) {
      const deltaY = step < 60 ? -40 : 40;
      canvas.dispatchEvent(new WheelEvent("wheel", { ...at(box.width / 3, box.height / 3), deltaY }));
      await tick();
    }
  } else {
    const middle = [box.width / 2, box.height / 2];
    fire("pointerdown", ...middle);
    for (let step = 1; step <= 120; step++) {
      const turn = (step / 60) * Math.PI;
      fire("pointermove", middle[0] + 300 * Math.sin(turn), middle[1] + 150 * Math.sin(2 * turn));
      await tick();
    }
    fire("pointerup", ...middle);
  }
  return times;
}"""

TIMED = """async () => {
  const { Painter } = await import("/page/painter.js"), { paint } = Painter.prototype;
  window.painted = [];
  Painter.prototype.paint = function (context) {
    const begun = performance.now(), again = paint.call(this, context);
    painted.push(performance.now() - begun);
    return again;
  };
}"""


def main() -> int:
    found: dict[str, Any] = {"weightBytes": weights(), "firstPaint": {}, "frames": {}, "loads": {}}
    found["weightBytes"]["total"] = sum(found["weightBytes"].values())
    with gateway() as running:
        ids = {count: stored(running, *grains(count)) for count in COUNTS}
        with browsing(running.url) as page:
            page.wait_for_selector(".welcome")
            paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
            found["firstPaint"]["startMs"] = round(page.evaluate(paint), 1)
        for count, image_id in ids.items():
            with browsing(running.url) as page:
                page.evaluate(TIMED)
                page.evaluate("hash => location.hash = hash", f"#/image/{image_id}")
                found["frames"][str(count)] = measured(page)
            found["loads"][str(count)] = round(os.getloadavg()[0], 1)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["frames"], indent=1))
    return 0


def weights() -> dict[str, int]:
    """Returns the size of each file of the page, bytes."""
    return {
        path.relative_to(PAGE).as_posix(): path.stat().st_size for path in sorted(PAGE.rglob("*")) if path.is_file()
    }


def measured(page: Page) -> dict[str, Any]:
    """Returns how the gestures went on a page that shows an image."""
    page.wait_for_selector("#grains tbody tr")
    page.wait_for_selector("#picture[data-painted=true]")
    found: dict[str, Any] = {}
    page.wait_for_selector("#figures", timeout=120_000)
    for colour in ("none", "size"):
        page.select_option("#colour", colour)
        page.click("[data-act=fit]")
        page.wait_for_timeout(500)
        zoom = page.evaluate(GESTURE, True)
        for _ in range(3):
            page.click("[data-act=in]")
        page.wait_for_timeout(500)
        painted = page.evaluate("painted.splice(0)")
        found[colour] = {"zoom": figures(zoom), "pan": figures(page.evaluate(GESTURE, False))}
        found[colour] |= {"paintMs": figures(painted + page.evaluate("painted.splice(0)"))}
        del found[colour]["paintMs"]["framesPerSecond"]
    return found


def figures(times: list[float]) -> dict[str, float]:
    """Returns frames per second, and times between frames, ms."""
    ordered = sorted(times)
    return {
        "framesPerSecond": round(1000 * len(times) / sum(times), 1),
        "medianMs": round(statistics.median(times), 2),
        "p95Ms": round(ordered[int(0.95 * len(ordered))], 2),
        "longestMs": round(ordered[-1], 2),
    }


def grains(count: int) -> tuple[dict[str, Any], bytes]:
    """Makes a result of so many ellipses in a frame of 1024 × 1024 px, and its picture (PNG)."""
    chance, columns = np.random.default_rng(count), int(np.ceil(np.sqrt(count)))
    pitch = SIDE / columns
    result = make_result(um_per_px=2.5, masks=[])
    result["metadata"]["image"] |= {"width": SIDE, "height": SIDE}
    pixels = chance.integers(40, 70, (SIDE, SIDE, 3), dtype=np.uint8)
    reach = int(pitch)
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for number in range(1, count + 1):
        row, column = divmod(number - 1, columns)
        x, y = int((column + 0.5) * pitch), int((row + 0.5) * pitch)
        long, slope = chance.uniform(0.3, 0.48) * pitch, chance.uniform(0, np.pi)
        along = across * np.cos(slope) + down * np.sin(slope)
        aside = -across * np.sin(slope) + down * np.cos(slope)
        patch = (along / long) ** 2 + (aside / (long * chance.uniform(0.55, 0.95))) ** 2 <= 1
        frame = np.zeros((SIDE, SIDE), bool)
        top, left = max(0, y - reach), max(0, x - reach)
        part = patch[top - y + reach :, left - x + reach :][: SIDE - top, : SIDE - left]
        frame[top : top + part.shape[0], left : left + part.shape[1]] = part
        pixels[frame] = chance.integers(90, 230, 3, dtype=np.uint8)
        properties = make_properties(frame, 2.5)
        properties |= {"orientationFromX": float(180 - np.degrees(slope)) % 180, "aspectRatio": 1.3}
        box = properties["boundingBox"]
        inside = frame[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
        result["segmentedObjects"].append(
            {
                "id": number,
                "class": "grain",
                "classConfidence": None,
                "classSource": "given",
                "score": float(chance.uniform(0.6, 1)),
                "mask": encode_rle(Window(box["x"], box["y"], inside), SIDE, SIDE),
                "properties": properties,
            }
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return result, file.getvalue()


def stored(running: Gateway, result: dict[str, Any], image: bytes, name: str = "sand.png") -> str:
    """Stores an image with its result, and returns the image id."""
    image_id = running.upload(image, params={"name": name, "um_per_px": "2.5"})
    store = running.service.store
    claim = store.claim(Ticket(store.job(image_id).submitter, image_id), "benchmark")
    if not isinstance(claim, Claim):
        raise Problem(f"the job of {image_id} cannot be claimed")
    result["metadata"]["imageId"] = image_id
    store.finish(claim, result)
    return image_id


@contextmanager
def gateway() -> Iterator[Gateway]:
    """Runs a gateway on loopback with a bucket of its own."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        with Emulator(files / "objects", port=choose_free(1)[0], log=files / "gcs.log", say=lambda _: None) as emulator:
            os.environ["STORAGE_EMULATOR_HOST"] = emulator.url
            emulator.client().create_bucket(BUCKET)
            service = Service(JobStore(Bucket(BUCKET)), None, "sam_tiny", None, Keys({}))
            with serving(service) as running:
                yield running


if __name__ == "__main__":
    main_exit(main)
