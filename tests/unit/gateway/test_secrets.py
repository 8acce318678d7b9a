"""A gateway's log and metrics hold no key, whatever the request."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from google.cloud import storage

from grainserve.gateway.keys import make_key
from tests.unit.gateway.conftest import png
from tools.ports import choose_free


@pytest.mark.usefixtures("torchserve")
def test_no_key_is_ever_logged(gcs: storage.Client, bucket_name: str, tmp_path: Path) -> None:
    key, entry = make_key("lab")
    file, log = tmp_path / "keys.toml", tmp_path / "gateway.log"
    file.write_text(entry)
    (port,) = choose_free(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "grainserve", "gateway", "--port", str(port), "--keys", str(file)]
    with log.open("wb") as written, subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT) as gateway:
        try:
            _wait(url)
            good = {"Authorization": f"Bearer {key}"}
            image_id = requests.post(f"{url}/upload", data=png(), headers=good, timeout=30).json()["imageId"]
            analysis = f"{url}/image-analysis?imageId={image_id}"
            while requests.get(analysis, headers=good, timeout=30).status_code == 202:
                time.sleep(0.05)
            for header in (f"Bearer {key}x", f"Bearer {key[:-1]}", f"bearer  {key} {key}", f"Basic {key}", key):
                assert requests.get(analysis, headers={"Authorization": header}, timeout=30).status_code == 401
            for method, path, body in (
                ("GET", f"/image-analysis?imageId={image_id}&key={key}", b""),
                ("GET", f"/images/{key}", b""),
                ("GET", f"/{key}", b""),
                ("POST", f"/upload?key={key}", png()),
                ("POST", "/upload", key.encode()),
                ("PUT", "/upload", b""),
            ):
                answer = requests.request(method, url + path, data=body, headers=good, timeout=30)
                assert 400 <= answer.status_code < 500
            figures = requests.get(f"{url}/metrics", timeout=30).text
            gcs.bucket(bucket_name).delete(force=True)
            assert requests.post(f"{url}/upload", data=png(), headers=good, timeout=60).status_code == 503
        finally:
            gateway.terminate()
            gateway.wait(30)
    text = log.read_text()
    assert bucket_name in text, "what went wrong is logged"
    assert key not in text
    assert key[:-1] not in text
    assert key not in figures


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            if requests.get(f"{url}/healthz", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    pytest.fail("the gateway did not start")
