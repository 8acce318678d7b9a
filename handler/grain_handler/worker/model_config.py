"""The settings of a worker: its model config, its device, its version."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from grain_handler.sam.precision import resolve
from grain_handler.worker.device import choose

SECTION = "grainserve"
"""Key of our section in the `.mar`'s YAML; TorchServe reads the rest."""


class ModelConfig(BaseModel):
    """One model version, as served.

    In a URI or path, the model config may write `${NAME}` for the environment variable NAME.

    Attributes:
        model: name in the registry of SAM modules.
        checkpoint: `gs://` URI or path of the checkpoint.
        defaults: options that replace stock SAM's for this model.
        precision: numbers that the model computes with (see `sam.precision`); never `auto` once read.
        encoder_package: `gs://` URI or path of the image encoder compiled ahead of time (see `sam.compiled`); None runs
            the encoder as it is.
        classifier: `gs://` URI or path of a classifier of grains (see `grains.classify`); None gives every grain the
            request's label.
        seeds: `gs://` URI or path of a seed head (see `sam.seed_head`), for a model that predicts no seeds itself.
            Without it, such a model refuses `points: seeds`.
        memory_mib: memory that intermediate results of one image may take, MiB; None takes the device's default.
        embedding_cache_mib: memory that kept images and their embeddings may take in a worker, MiB; 0 keeps none.
        prompts_only: True for a model that answers prompts and refuses requests without any: its batches are never held
            up by automatic masks.
        prompt_decoder: `gs://` URI or path of a decoder that has learnt to be corrected by clicks (see
            `sam.prompt_decoder`), for a model of prompts alone; None answers with the checkpoint's own.
        redis: URL of the Redis in which workers share kept embeddings, from the environment variable GRAINSERVE_REDIS;
            None shares none. Nothing is shared where nothing is kept.
        max_answer_bytes: longest answer sent, bytes; less than TorchServe's `max_response_size`, since a longer answer
            kills the worker.
        name: TorchServe model name.
        version: TorchServe model version.
        device: device that the model runs on.
        cache: folder that keeps verified copies of checkpoints.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    model: str
    checkpoint: str
    defaults: dict[str, Any] = Field(default_factory=dict)
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    encoder_package: str | None = None
    classifier: str | None = None
    seeds: str | None = None
    memory_mib: int | None = Field(default=None, ge=1)
    embedding_cache_mib: int = Field(default=0, ge=0)
    prompts_only: bool = False
    prompt_decoder: str | None = None
    redis: str | None = Field(default=None, repr=False)
    max_answer_bytes: int = 48 * 1024 * 1024
    name: str
    version: str
    device: torch.device
    cache: Path

    @model_validator(mode="after")
    def _check_prompt_decoder(self) -> Self:
        if self.prompt_decoder and not self.prompts_only:
            raise ValueError(
                "prompt_decoder: only for a model with prompts_only: true, or automatic masks would change"
            )
        return self

    @classmethod
    def read(cls, context: Any) -> ModelConfig:
        """Reads the config of this worker from TorchServe's context.

        Raises:
            ValueError: the YAML lacks our section, or names an environment variable that is not set.
            DeviceError: a GPU is required and the worker would run on the CPU.
        """
        told = context.model_yaml_config or {}
        section = told.get(SECTION)
        if section is None:
            raise ValueError(f"the model config has no section '{SECTION}': see config/sam_tiny.yaml")
        files = ("checkpoint", "encoder_package", "classifier", "seeds", "prompt_decoder")
        named = {key: expand(section[key]) for key in files if section.get(key)}
        cache = os.environ.get("GRAINSERVE_WEIGHTS_CACHE") or Path.home() / ".cache" / "grainserve"
        device = choose(context.system_properties.get("gpu_id"), str(told.get("deviceType", "")))
        config = cls(
            **{**section, **named},
            name=context.manifest["model"]["modelName"],
            version=context.manifest["model"]["modelVersion"],
            device=device,
            cache=Path(cache),
            redis=os.environ.get("GRAINSERVE_REDIS") or None,
        )
        return config.model_copy(update={"precision": resolve(config.precision, device)})


def expand(text: str) -> str:
    """Replaces `${NAME}` by the environment variable NAME.

    Raises:
        ValueError: a variable is not set or empty; the message names it.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if not os.environ.get(name):
            raise ValueError(f"{text}: the environment variable {name} is not set")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, text)
