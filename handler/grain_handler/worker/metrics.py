"""What a worker tells Prometheus, through TorchServe: one line a value on its output, added up by the frontend.

config/metrics.yaml declares the same names; one that is not declared there is dropped. A line takes some
40 µs, up to 0.2 ms where others want the core as well; an image has five, and a batch two, four on a GPU.
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
"""The labels that all have."""

Stage = Literal["download", "decode", "encode", "masks", "measure", "write"]
"""In their order. `encode` is of a batch, `download` of a worker's start, the others are of an image."""


class Metrics:
    """The figures of one worker.

    Args:
        config: whose name and version are on every line.
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
        # Of the whole device: several workers share it, and each would write over the others' figures.
        self._gpu_used = CachingMetric("grainserve_gpu_memory_used_bytes", "bytes", ["gpu"], gauge)
        self._gpu_total = CachingMetric("grainserve_gpu_memory_total_bytes", "bytes", ["gpu"], gauge)

    def timed(self, stage: Stage, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a step of the pipeline and notes how long it took, unless it came to an error.

        What `encode` starts on a GPU is waited for: it would count as the next stage's. This costs the time to launch
        the first prompts, which could have been launched meanwhile.
        """
        began = time.perf_counter()
        made = step(*args, **kwargs)
        if stage == "encode" and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        if not isinstance(made, RequestError):
            self._seconds.add_or_update(_number(time.perf_counter() - began), [*self._served, stage])
        return made

    def fetched(self, checkpoint: Checkpoint) -> None:
        """A worker has its checkpoint: from the bucket, from this machine's cache, or from a file that was named."""
        self._checkpoints.add_or_update(1, [*self._served, checkpoint.source])

    def batch(self, images: int) -> None:
        """A batch has come."""
        self._batch.add_or_update(images, self._served)

    def embedded(self, source: str, images: int) -> None:
        """Embeddings were computed, or were kept in the process or in Redis."""
        self._embeddings.add_or_update(images, [*self._served, source])

    def redis(self, outcome: str) -> None:
        """What came of a look or a write; see `embeddings.shared`."""
        self._redis.add_or_update(1, [*self._served, outcome])

    def answered(self, grains: int) -> None:
        """An image has its answer. The histogram is in thousands: TorchServe's buckets end at 10."""
        self._thousands.add_or_update(grains / 1000, self._served)

    def refused(self, error: RequestError) -> None:
        """A request is answered with an error."""
        self._errors.add_or_update(1, [*self._served, error.code])

    def memory(self) -> None:
        """How full the GPU is; nothing on a CPU."""
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            gpu = [str(self._device.index or 0)]
            self._gpu_used.add_or_update(total - free, gpu)
            self._gpu_total.add_or_update(total, gpu)


def _number(seconds: float) -> float:
    """Microseconds are enough."""
    return round(seconds, 6)
