"""The committed files under deploy/ are what `make render` writes, and Kubernetes accepts them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools import render
from tools.problem import Problem
from tools.properties import CONFIG, read


def test_copies_of_the_configuration_are_fresh() -> None:
    for file, text in render.configuration().items():
        assert file.read_text() == text, "run `make render`"


def test_pods_get_the_repositorys_settings_but_for_the_few_that_are_named() -> None:
    ours, theirs = read(CONFIG), read(render.DEPLOY / "base" / "config" / "config.properties")
    assert {key: theirs[key] for key in theirs if theirs[key] != ours.get(key)} == render.SETTINGS
    assert set(ours) == set(theirs)


def test_a_setting_that_is_not_there_cannot_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.properties"
    file.write_text("# job_queue_size=100\n")
    monkeypatch.setattr(render, "CONFIG", file)
    with pytest.raises(Problem, match="job_queue_size 0 times"):
        render.configuration()


def test_what_prometheus_and_grafana_read_is_in_the_clusters_objects() -> None:
    folder = render.DEPLOY / "monitoring"
    for file, text in render.monitoring().items():
        assert file.read_text() == text, "run `make render`"
    rules, dashboard = (yaml.safe_load((folder / name).read_text()) for name in ("rules.yaml", "dashboard.yaml"))
    assert rules["kind"] == "PrometheusRule"
    assert rules["spec"] == yaml.safe_load((folder / "alerts.yaml").read_text())
    assert dashboard["metadata"]["labels"] == {"grafana_dashboard": "1"}
    (text,) = dashboard["data"].values()
    assert text == (folder / "dashboard.json").read_text()


def test_the_committed_inferenceservice_is_fresh() -> None:
    """It is made from the committed gpu overlay, without kubectl."""
    assert render.rendered("kserve").read_text() == render.kserve(render.rendered("gpu").read_text()), (
        "run `make render`"
    )


@pytest.mark.parametrize("overlay", render.OVERLAYS)
def test_the_committed_output_is_fresh(overlay: str) -> None:
    if render.find_kubectl() is None:
        pytest.skip("kubectl is not installed, which renders")
    assert render.rendered(overlay).read_text() == render.render(overlay), "run `make render`"


@pytest.mark.parametrize("overlay", render.RENDERED)
def test_kubernetes_schemas_take_it_and_no_unknown_field(overlay: str) -> None:
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed, which holds the schemas")
    text = render.rendered(overlay).read_text()
    assert render.invalid(text) == []
    assert render.invalid(text.replace("terminationGracePeriodSeconds", "terminationGracePeriod")) != []
