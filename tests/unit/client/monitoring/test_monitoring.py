"""Dashboard, alerts and docs/metrics.md name only existing metrics, and the alerts do what they say."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from grainserve.dispatch.dispatcher import Dispatcher
from grainserve.gateway.metrics import Metrics
from grainserve.jobs.store import JobStore
from grainserve.monitoring.exporter import Exporter, bucket_gauges, torchserve_gauges
from grainserve.torchserve.inference import TorchServe
from grainserve.torchserve.management import Management
from tests.promtool import promtool
from tests.unit.client.fake_torchserve import FakeTorchServe
from tools.mar import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
PAGE = (ROOT / "docs" / "metrics.md").read_text()
RULES = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
NAME = re.compile(r"\b(?:grainserve[_:]\w+|ts_\w+|[A-Z][A-Za-z]+(?:Time|[245]XX))\b")


def of_workers() -> set[str]:
    """Returns the metrics declared to TorchServe, which drops all others."""
    declared = yaml.safe_load((ROOT / "config" / "metrics.yaml").read_text())
    names: set[str] = set()
    for section in ("ts_metrics", "model_metrics"):
        for kind, entries in declared[section].items():
            for entry in entries:
                names |= with_suffixes(entry["name"]) if kind == "histogram" else {entry["name"]}
    return names


def with_suffixes(histogram: str) -> set[str]:
    return {f"{histogram}_{suffix}" for suffix in ("bucket", "sum", "count")}


@pytest.fixture
def offered(store: JobStore, torchserve: FakeTorchServe) -> set[str]:
    """Returns the names of all existing metrics."""
    client = TorchServe(torchserve.url, torchserve.url)
    gauges = [*torchserve_gauges(Management(torchserve.url)), *bucket_gauges(store), *Exporter([]).collect()]
    text = asyncio.run(Metrics(store, Dispatcher(store, client)).text()).decode()
    names = of_workers() | RECORDED | {family.name for family in gauges}
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            names |= with_suffixes(family.name)
        else:
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (each["definition"] for each in DASHBOARD["templating"]["list"] if "definition" in each)


def test_dashboard_and_alerts_ask_for_what_is_offered(offered: set[str]) -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 20
    assert asked <= offered, asked - offered


def test_the_page_describes_everything_that_is_offered_and_nothing_else(offered: set[str]) -> None:
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in offered}
    described = set(re.findall(r"^\| `([\w:]+)`", PAGE, re.MULTILINE))
    assert described == bare


def test_the_page_says_what_to_do_at_each_alert() -> None:
    alerts = {rule["alert"] for rule in RULES if "alert" in rule}
    assert set(re.findall(r"^\| (Grainserve\w+) \|", PAGE, re.MULTILINE)) == alerts


def test_panels_do_not_overlap_and_have_names_of_their_own() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_alerts_are_raised_when_they_should_be_and_only_then() -> None:
    promtool("check", "rules", "alerts.yaml", folder=MONITORING)
    promtool("test", "rules", "alerts_test.yaml", folder=MONITORING)


def test_each_alert_and_each_recorded_figure_is_tried() -> None:
    trials = (MONITORING / "alerts_test.yaml").read_text()
    untried = [rule.get("alert", rule.get("record")) for rule in RULES]
    assert [name for name in untried if not re.search(rf"\b{name}\b", trials)] == []
