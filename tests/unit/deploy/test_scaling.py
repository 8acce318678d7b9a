"""promtool runs the autoscaler's queries on made-up series: they follow the load up and down again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.promtool import promtool
from tools.render import DEPLOY

WHERE = 'namespace="grainserve"'
BACKLOG, QUEUE = "grainserve_backlog_seconds", "grainserve_queue_depth"


def query(name: str) -> str:
    """Returns a query as prometheus-adapter fills it in."""
    rules = yaml.safe_load((DEPLOY / "monitoring" / "adapter.yaml").read_text())["rules"]
    text = next(each["metricsQuery"] for each in [*rules["custom"], *rules["external"]] if each["name"]["as"] == name)
    return str(text).replace("<<.LabelMatchers>>", WHERE).replace("<<.GroupBy>>", "pod")


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    named = ",".join(f'{key}="{value}"' for key, value in {"namespace": "grainserve", **labels}.items())
    return {"series": f"{name}{{{named}}}", "values": values}


def served(images: str, encode: str, masks: str, pod: str = "a") -> list[dict[str, str]]:
    """Makes workers' series: images answered, seconds of two stages, and a download, which belongs to no image."""
    return [
        series("grainserve_grains_thousands_count", images, pod=pod),
        series("grainserve_stage_seconds_sum", encode, pod=pod, stage="encode"),
        series("grainserve_stage_seconds_sum", masks, pod=pod, stage="masks"),
        series("grainserve_stage_seconds_sum", "0+100x90", pod=pod, stage="download"),
    ]


# Two pods answer an image a minute each, which takes 1 + 4 s.
BUSY = [*served("0+1x60", "0+1x60", "0+4x60"), *served("0+1x60", "0+1x60", "0+4x60", pod="b")]
# They are as busy for half an hour, then idle.
OVER = served("0+1x30 30x60", "0+1x30 30x60", "0+4x30 120x60")


@pytest.mark.parametrize(
    ("name", "given", "minutes", "expected"),
    [
        (BACKLOG, [series("grainserve_pending_jobs", "100x60"), *BUSY], 40, [500.0]),
        # Gateways and exporters count the same jobs; one whose bucket does not answer reports NaN.
        (
            BACKLOG,
            [
                series("grainserve_pending_jobs", "100x60", pod="x"),
                series("grainserve_pending_jobs", "98x60", pod="y"),
                series("grainserve_pending_jobs", " ".join(["NaN"] * 60), pod="z"),
                *BUSY,
            ],
            40,
            [500.0],
        ),
        # Nothing was served yet: ten seconds an image.
        (BACKLOG, [series("grainserve_pending_jobs", "7x60")], 40, [70.0]),
        # All jobs are done: the counters stay, and the backlog is 0.
        (BACKLOG, [series("grainserve_pending_jobs", "100x30 0x60"), *OVER], 80, [0.0]),
        (BACKLOG, [series("grainserve_pending_jobs", "3x90"), *OVER], 80, [30.0]),
        # An image is in work after an idle time: its first stages are counted, but it is not answered yet.
        (
            BACKLOG,
            [series("grainserve_pending_jobs", "3x90"), *served("9x90", "9x77 10x13", "36x77 37x13")],
            80,
            [30.0],
        ),
        # Clicks take milliseconds; a thousand a minute must not make images look quick.
        (
            BACKLOG,
            [
                series("grainserve_pending_jobs", "100x60"),
                *BUSY,
                series("grainserve_grains_thousands_count", "0+1000x60", pod="a", model="m-prompt"),
                series("grainserve_stage_seconds_sum", "0+20x60", pod="a", model="m-prompt", stage="masks"),
            ],
            40,
            [500.0],
        ),
        (BACKLOG, BUSY, 40, []),
        (
            QUEUE,
            [
                series("grainserve_torchserve_queue_depth", "3x60", pod="a", model="m", version="1.0"),
                series("grainserve_torchserve_queue_depth", "1x60", pod="a", model="m", version="2.0"),
                series("grainserve_torchserve_queue_depth", "0x60", pod="b", model="m", version="1.0"),
            ],
            40,
            [3.0, 0.0],
        ),
    ],
)
def test_queries(name: str, given: list[dict[str, str]], minutes: int, expected: list[float], tmp_path: Path) -> None:
    labels = ['{pod="a"}', '{pod="b"}'] if len(expected) > 1 else ["{}"]
    samples = [{"labels": label, "value": value} for label, value in zip(labels, expected, strict=False)]
    asked: dict[str, Any] = {"expr": f"round({query(name)}, 0.001)", "eval_time": f"{minutes}m", "exp_samples": samples}
    text = json.dumps({"tests": [{"interval": "1m", "input_series": given, "promql_expr_test": [asked]}]})
    (tmp_path / "test.yaml").write_text(text)
    promtool("test", "rules", "test.yaml", folder=tmp_path)
