"""Times the pipeline without TorchServe: the handler's three steps on one image, in a process that does nothing else.

    python -m benchmarks.side_by_side.pipeline image.png --options '{"points_per_side": 12}' --requests 5

Prints JSON in its last line: {"seconds": […], "threads": torch's, "objects": found}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from grain_handler.service import GrainHandler
from tools.mar import ROOT
from tools.stack import weights_file

MODEL, VERSION = "sam_tiny", "1.0"
# As many requests as the server answers before it is measured.
WARM_UP = 2


def context() -> Any:
    """Returns TorchServe's own context, filled as for a worker with the committed checkpoint and one request."""
    config = yaml.safe_load((ROOT / "config" / f"{MODEL}.yaml").read_text())
    config["grainserve"]["checkpoint"] = str(weights_file(MODEL))
    metrics = MetricsCacheYamlImpl(config_file_path=str(ROOT / "config" / "metrics.yaml"))
    metrics.initialize_cache()
    filled = Context(
        model_name=MODEL,
        model_dir=str(ROOT),
        manifest={"model": {"modelName": MODEL, "modelVersion": VERSION}},
        batch_size=1,
        gpu=0 if torch.cuda.is_available() else None,
        mms_version="1.0",
        metrics=metrics,
        model_yaml_config=config,
    )
    filled.request_ids = metrics.request_ids = {0: "bare"}
    return filled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--options", type=json.loads, default={}, help="options of the request, JSON")
    parser.add_argument("--requests", type=int, default=5, help="how many are timed (default %(default)s)")
    arguments = parser.parse_args()
    worker = context()
    handler = GrainHandler()
    handler.initialize(worker)
    # As TorchServe hands a form to its worker: every field as bytes.
    fields = {name: str(value).encode() for name, value in arguments.options.items()}
    row = {"image": arguments.image.read_bytes(), **fields}
    seconds = []
    for _ in range(WARM_UP + arguments.requests):
        worker.request_processor = [RequestProcessor({})]
        began = time.perf_counter()
        (body,) = handler.postprocess(handler.inference(handler.preprocess([row])))
        seconds.append(time.perf_counter() - began)
        status, _phrase = worker.get_response_status(0)
        if status != 200:
            sys.exit(f"status {status}: {body!r:.500}")
    found = {"seconds": seconds[WARM_UP:], "threads": torch.get_num_threads()}
    print(json.dumps({**found, "objects": len(json.loads(body)["segmentedObjects"])}))


if __name__ == "__main__":
    main()
