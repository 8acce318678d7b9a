"""What the storage library does behind our back."""

from __future__ import annotations

import threading

import pytest

from grainserve.storage import Bucket


def test_a_call_is_one_call(bucket_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA")
    started: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    bucket, asked = Bucket(bucket_name), []
    bucket.client._http.hooks["response"].append(lambda response, **_: asked.append(response.url))
    assert bucket.read("nothing") is None
    assert len(asked) == 1
    assert started == []
