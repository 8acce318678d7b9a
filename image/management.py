"""TorchServe's management API, asked from within its container: it listens on loopback and nowhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.client import HTTPException
from socket import create_connection
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

PORT, METRICS_PORT = "GRAINSERVE_MANAGEMENT_PORT", "GRAINSERVE_METRICS_PORT"
PAGE = 100
_TAKEN = "ts_inference_requests_total{"
# What a proxy variable says is not about loopback.
_opener = build_opener(ProxyHandler({}))


class Unreachable(Exception):
    """TorchServe does not answer: not yet, no longer, or too late."""


class Refused(Exception):
    """TorchServe answers with an error; the text is its own."""


class Management:
    """The API of one TorchServe.

    Args:
        url: Its address; that of this container when not given.
        metrics_url: Address of its metrics, likewise.
        patience: Seconds to wait for what it can tell at once.
    """

    def __init__(self, url: str | None = None, metrics_url: str | None = None, patience: float = 5) -> None:
        self.url = url or f"http://127.0.0.1:{os.environ.get(PORT, '8081')}"
        self.metrics_url = metrics_url or f"http://127.0.0.1:{os.environ.get(METRICS_PORT, '8082')}/metrics"
        self.patience = patience

    def listens(self) -> bool:
        """Whether connections are taken at its address; one that only takes long is no refusal."""
        address = urlsplit(self.url)
        try:
            create_connection((address.hostname, address.port), self.patience).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True

    def models(self) -> list[str]:
        """Names of all registered models."""
        names: list[str] = []
        token: str | None = "0"
        while token is not None:
            page = self._ask("GET", "models", {"limit": str(PAGE), "next_page_token": token})
            names += [model["modelName"] for model in page["models"]]
            token = page.get("nextPageToken")
        return names

    def versions(self, model: str) -> list[dict[str, Any]]:
        """What it says about every version of a model: its workers and its queue."""
        described: list[dict[str, Any]] = self._ask("GET", f"models/{quote(model)}/all")
        return described

    def default(self, model: str) -> dict[str, Any]:
        """What it says about the version that answers when none is named."""
        described: dict[str, Any] = self._ask("GET", f"models/{quote(model)}")[0]
        return described

    def barrier(self, model: str, version: str, timeout: float) -> int | None:
        """Passes a question through the queue of a version: a worker answers it after what it had taken before.

        Returns:
            Process id of the worker that answered; None when its handler does not tell.
        """
        path = f"models/{quote(model)}/{quote(version)}"
        told = self._ask("GET", path, {"customized": "true"}, timeout)[0].get("customizedMetadata")
        pid = told.get("pid") if isinstance(told, dict) else None
        return pid if isinstance(pid, int) else None

    def requests_taken(self) -> int:
        """How many requests for predictions have come in so far, of all models."""
        lines = self._read("GET", self.metrics_url).decode().splitlines()
        return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(_TAKEN)))

    def register(self, archive: str) -> None:
        """Has an archive of the model store loaded; its workers start in the background."""
        self._ask("POST", "models", {"url": archive, "synchronous": "false"}, timeout=60)

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None, timeout: float | None = None) -> Any:
        return json.loads(self._read(method, f"{self.url}/{path}?{urlencode(query or {})}", timeout))

    def _read(self, method: str, url: str, timeout: float | None = None) -> bytes:
        try:
            with _opener.open(Request(url, method=method), timeout=timeout or self.patience) as answer:
                body: bytes = answer.read()
                return body
        except HTTPError as error:
            raise Refused(f"{method} {url}: {error.code} {error.read(1000).decode(errors='replace')}") from error
        except (HTTPException, OSError) as error:
            raise Unreachable(f"{url} does not answer: {error}") from error
