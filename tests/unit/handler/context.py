"""A stand-in for TorchServe's context."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Context(SimpleNamespace):
    """The parts of TorchServe's context that a handler uses."""

    headers: list[dict[str, str]]

    def __init__(self, checkpoint: Path | str, headers: list[dict[str, str]] | None = None, **section: Any) -> None:
        super().__init__(
            manifest={"model": {"modelName": "sam_tiny", "modelVersion": "2.1"}},
            system_properties={"gpu_id": None},
            model_yaml_config={"grainserve": {"model": "sam_tiny", "checkpoint": str(checkpoint)} | section},
            headers=headers or [{}] * 9,
            statuses={},
            types={},
            metrics=SimpleNamespace(add_time=lambda *_: None),
        )

    def get_all_request_header(self, i: int) -> dict[str, str]:
        return self.headers[i]

    def get_request_header(self, i: int, name: str) -> str | None:
        return self.headers[i].get(name)

    def get_request_id(self, i: int) -> str:
        return f"request-{i}"

    def set_response_status(self, code: int, idx: int) -> None:
        self.statuses[idx] = code

    def set_response_content_type(self, i: int, kind: str) -> None:
        self.types[i] = kind
