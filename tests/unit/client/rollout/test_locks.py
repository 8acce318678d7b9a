"""Several commands at once: beside `apply`, one after the other, and at another TorchServe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from grainserve.rollout.declared import Declarations
from grainserve.rollout.lock import ChangeUnderWay, change_lock
from grainserve.storage.bucket import Bucket
from tests.unit.client.rollout.imitation import ImitatedManagement, Plug, Unplugged
from tests.unit.client.rollout.site import Site


def test_apply_beside_a_swap_does_nothing_to_it(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.management.at_each_look = lambda: site.apply(wait=False)
    defaults = []
    set_default = site.management.set_default

    def noted(model: str, version: str) -> None:
        defaults.append(version)
        set_default(model, version)

    site.management.set_default = noted  # type: ignore[method-assign]
    site.rollout().swap(site.mar("2.0"))
    site.rollout().register(site.mar("3.0"))
    site.rollout().scale("sam_tiny", None, 3)
    site.management.at_each_look = lambda: None
    assert defaults == ["2.0"]
    assert set(site.management.registered["sam_tiny"]) == {"2.0", "3.0"}


def test_who_comes_second_waits_for_their_turn(site: Site) -> None:
    impatient = site.rollout()
    impatient.ready_seconds = 0.05
    with change_lock(site.management.model_store, "sam_tiny", seconds=0, say=print):
        with pytest.raises(ChangeUnderWay, match="another `grainserve models`"):
            impatient.swap(site.mar("1.0"))
        with pytest.raises(ChangeUnderWay):
            impatient.remove("sam_tiny", "1.0")
    impatient.swap(site.mar("1.0"))
    site.assert_serves("1.0")


def test_a_swap_that_was_begun_elsewhere_is_ended_there_or_given_up(site: Site, tmp_path: Path) -> None:
    other = Site(ImitatedManagement(tmp_path / "other", "http://other"), site.bucket_name, tmp_path)
    site.rollout().swap(site.mar("1.0"))
    other.apply()
    plug = Plug()
    plug.last = 14
    with pytest.raises(Unplugged):
        site.rollout(plug=plug).swap(site.mar("2.0"))
    assert site.declared.candidate == "2.0"
    for version in ("3.0", "2.0"):
        with pytest.raises(ChangeUnderWay, match=r"begun at .*http://nowhere.*--take-over"):
            other.rollout().swap(site.mar(version))
    with pytest.raises(ChangeUnderWay):
        other.rollout().rollback("sam_tiny")
    other.apply()
    assert other.management.default("sam_tiny") == "1.0"
    taking = other.rollout()
    taking.take_over = True
    taking.swap(site.mar("3.0"))
    other.assert_serves("3.0")
    site.apply()
    site.assert_serves("3.0")


def test_a_swap_begun_elsewhere_while_this_one_drains_is_kept(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    declarations = Declarations(Bucket(site.bucket_name))
    begun = False

    def begin() -> None:
        nonlocal begun
        if not begun and site.declared.default == "2.0":
            begun = True
            version = replace(site.declared.versions["2.0"], loaded=False)
            declarations.change_model(
                "sam_tiny",
                lambda each: replace(each.with_version("3.0", version), candidate="3.0", candidate_at="elsewhere"),
            )

    site.management.at_each_look = begin
    site.rollout().swap(site.mar("2.0"))
    assert begun
    assert (site.declared.candidate, set(site.declared.versions)) == ("3.0", {"1.0", "2.0", "3.0"})
