"""A client of TorchServe's management API, for use in its container: the API listens on loopback alone."""

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
# Ignores the proxy variables: they do not apply to loopback.
_opener = build_opener(ProxyHandler({}))


class Unreachable(Exception):
    """TorchServe does not answer, or not in time."""


class Refused(Exception):
    """TorchServe answers with an error; the message holds TorchServe's words."""


class Management:
    """The management API of one TorchServe.

    Args:
        url: address of the API; None: the one in this container.
        metrics_url: address of the metrics; None: the one in this container.
        patience: longest wait for an answer, s.
    """

    def __init__(self, url: str | None = None, metrics_url: str | None = None, patience: float = 5) -> None:
        self.url = url or f"http://127.0.0.1:{os.environ.get(PORT, '8081')}"
        self.metrics_url = metrics_url or f"http://127.0.0.1:{os.environ.get(METRICS_PORT, '8082')}/metrics"
        self.patience = patience

    def listens(self) -> bool:
        """Tells whether something listens at the address. A connection that times out counts as listening."""
        address = urlsplit(self.url)
        try:
            create_connection((address.hostname, address.port), self.patience).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True

    def models(self) -> list[str]:
        """Returns the names of all registered models."""
        names: list[str] = []
        token: str | None = "0"
        while token is not None:
            page = self._ask("GET", "models", {"limit": str(PAGE), "next_page_token": token})
            names += [model["modelName"] for model in page["models"]]
            token = page.get("nextPageToken")
        return names

    def versions(self, model: str) -> list[dict[str, Any]]:
        """Returns TorchServe's description of every version of a model, with its workers and its queue."""
        described: list[dict[str, Any]] = self._ask("GET", f"models/{quote(model)}/all")
        return described

    def default(self, model: str) -> dict[str, Any]:
        """Returns TorchServe's description of a model's default version."""
        described: dict[str, Any] = self._ask("GET", f"models/{quote(model)}")[0]
        return described

    def barrier(self, model: str, version: str, timeout: float) -> int | None:
        """Sends a barrier: a question that passes through a version's queue like a request.

        The worker that takes it answers once it has ended the requests that it took before.

        Args:
            model: model name.
            version: model version.
            timeout: longest wait for the answer, s.

        Returns:
            Process id of the worker that answered; None if its handler does not return it.
        """
        path = f"models/{quote(model)}/{quote(version)}"
        told = self._ask("GET", path, {"customized": "true"}, timeout)[0].get("customizedMetadata")
        pid = told.get("pid") if isinstance(told, dict) else None
        return pid if isinstance(pid, int) else None

    def requests_taken(self) -> int:
        """Returns the number of requests for predictions that TorchServe has taken so far, over all models."""
        lines = self._read("GET", self.metrics_url).decode().splitlines()
        return round(sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(_TAKEN)))

    def register(self, archive: str) -> None:
        """Registers an archive of the model store; its workers start in the background."""
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
