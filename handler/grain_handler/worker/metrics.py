"""A worker's metrics for Prometheus: one line of output for each value; TorchServe's frontend adds the values up.

config/metrics.yaml declares the same names; TorchServe drops a name that is not declared there. A line takes some
40 µs, up to 0.2 ms if others want the core as well. An image has five lines, a batch two, or four on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch
from ts.metrics.caching_metric import CachingMetric
from ts.metrics.metric_type_enum import MetricTypes

from grain_handler.errors import RequestError
from grain_handler.storage.weights import Checkpoint
from grain_handler.worker.model_config import ModelConfig

P = ParamSpec("P")
T = TypeVar("T")
SERVED = ("model", "version")
"""Labels of all metrics but those of the GPU."""

Stage = Literal["download", "decode", "encode", "masks", "measure", "write"]
"""Stages in their order. `download` is timed once, at a worker's start, `encode` for each batch, the others for each
image."""


class Metrics:
    """The metrics of one worker.

    Args:
        config: model config of the worker; its name and version label the metrics.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._device = config.device
        self._served = [config.name, config.version]
        histogram, counter, gauge = MetricTypes.HISTOGRAM, MetricTypes.COUNTER, MetricTypes.GAUGE
        self._seconds = CachingMetric("grainserve_stage_seconds", "s", [*SERVED, "stage"], histogram)
        self._batch = CachingMetric("grainserve_batch_images", "count", [*SERVED], histogram)
        self._thousands = CachingMetric("grainserve_grains_thousands", "count", [*SERVED], histogram)
        self._errors = CachingMetric("grainserve_errors_total", "count", [*SERVED, "code"], counter)
        self._checkpoints = CachingMetric("grainserve_checkpoints_total", "count", [*SERVED, "source"], counter)
        self._embeddings = CachingMetric("grainserve_embeddings_total", "count", [*SERVED, "source"], counter)
        self._redis = CachingMetric("grainserve_redis_total", "count", [*SERVED, "outcome"], counter)
        # For the whole device: several workers share it, and each would overwrite the others' figures.
        self._gpu_used = CachingMetric("grainserve_gpu_memory_used_bytes", "bytes", ["gpu"], gauge)
        self._gpu_total = CachingMetric("grainserve_gpu_memory_total_bytes", "bytes", ["gpu"], gauge)

    def timed(self, stage: Stage, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a step of the pipeline and records how long it took, unless it ends in an error.

        After `encode` on a GPU it waits until the device is done: the work would count for the next stage otherwise.
        The wait costs the time to launch the first prompts, which could have been launched meanwhile.

        Args:
            stage: stage that the step belongs to.
            step: function to run.
            *args: positional arguments of the step.
            **kwargs: keyword arguments of the step.

        Returns:
            The step's result.
        """
        began = time.perf_counter()
        made = step(*args, **kwargs)
        if stage == "encode" and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        if not isinstance(made, RequestError):
            self._seconds.add_or_update(_number(time.perf_counter() - began), [*self._served, stage])
        return made

    def fetched(self, checkpoint: Checkpoint) -> None:
        """Counts a checkpoint by its source: the bucket, this machine's cache, or a file that was named."""
        self._checkpoints.add_or_update(1, [*self._served, checkpoint.source])

    def batch(self, images: int) -> None:
        """Records the number of images in a batch."""
        self._batch.add_or_update(images, self._served)

    def embedded(self, source: str, images: int) -> None:
        """Records the number of embeddings from a source: `computed`, `process` or `redis`."""
        self._embeddings.add_or_update(images, [*self._served, source])

    def redis(self, outcome: str) -> None:
        """Records the outcome of a look or a write in Redis (see `embeddings.shared`)."""
        self._redis.add_or_update(1, [*self._served, outcome])

    def answered(self, grains: int) -> None:
        """Records the number of grains in an image's answer, in thousands: TorchServe's histogram buckets end at 10."""
        self._thousands.add_or_update(grains / 1000, self._served)

    def refused(self, error: RequestError) -> None:
        """Counts a request that is answered with an error."""
        self._errors.add_or_update(1, [*self._served, error.code])

    def memory(self) -> None:
        """Records how full the GPU is; does nothing on a CPU."""
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            gpu = [str(self._device.index or 0)]
            self._gpu_used.add_or_update(total - free, gpu)
            self._gpu_total.add_or_update(total, gpu)


def _number(seconds: float) -> float:
    """Rounds to microseconds, which are enough."""
    return round(seconds, 6)
