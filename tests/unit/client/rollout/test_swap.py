"""Swaps at a TorchServe in memory: forward and back, each failure, and the old version's last requests."""

from __future__ import annotations

import pytest

from grainserve.errors import InvalidConfiguration
from grainserve.rollout import archives
from grainserve.rollout.canary import CanaryFailed
from grainserve.rollout.versions import NotDrained, NotReady
from tests.unit.client.rollout.site import Site, Tried, fail


def test_swap_there_and_back(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.assert_serves("1.0")
    tried = Tried()
    site.rollout(tried).swap(site.mar("2.0"))
    assert tried.asked == [("prepare", "1.0"), ("attempt", "2.0")]
    site.assert_serves("2.0", previous="1.0")
    assert site.rollout().rollback("sam_tiny") == "1.0"
    site.assert_serves("1.0", previous="2.0")
    assert site.rollout().rollback("sam_tiny") == "2.0"


@pytest.mark.parametrize("first", [True, False])
def test_a_failed_canary_leaves_the_old_version_and_nothing_of_the_new_one(site: Site, first: bool) -> None:
    if not first:
        site.rollout().swap(site.mar("1.0"))
    with pytest.raises(CanaryFailed, match="41 grains"):
        site.rollout(Tried(fail)).swap(site.mar("2.0"))
    if first:
        assert site.management.registered == {}
    else:
        site.assert_serves("1.0")
    assert "2.0" not in site.declared.versions


def test_a_version_that_does_not_load_is_taken_back(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    broken = site.mar("2.0")
    site.management.broken.add(archives.read(broken)[0].file)
    with pytest.raises(NotReady, match="keep ending"):
        site.rollout().swap(broken)
    site.assert_serves("1.0")


def test_the_same_swap_again_changes_nothing(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().swap(site.mar("2.0"))
    site.rollout().swap(site.mar("2.0"))
    site.assert_serves("2.0", previous="1.0")


def test_another_archive_under_a_version_that_was_served_is_refused(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().swap(site.mar("2.0"))
    for version in ("1.0", "2.0"):
        with pytest.raises(InvalidConfiguration, match="a version of its own"):
            site.rollout().swap(site.mar(version, code="something else"))
    site.assert_serves("2.0")


def test_what_somebody_registered_by_hand_can_be_gone_back_to(site: Site) -> None:
    by_hand = site.mar("1.0")
    site.management.model_store.mkdir()
    (site.management.model_store / "sam_tiny.mar").write_bytes(by_hand.read_bytes())
    site.management.register("sam_tiny.mar")
    site.rollout().swap(site.mar("2.0"))
    site.assert_serves("2.0", previous="1.0")
    site.rollout().rollback("sam_tiny")
    site.assert_serves("1.0")


def test_what_cannot_be_gone_back_to_is_not_swapped_away(site: Site) -> None:
    site.management.model_store.mkdir()
    store = site.management.model_store / "sam_tiny.mar"
    store.write_bytes(site.mar("1.0").read_bytes())
    site.management.register("sam_tiny.mar")
    store.write_bytes(site.mar("2.0").read_bytes())  # as `make mar` does
    with pytest.raises(InvalidConfiguration, match=r"make mar VERSION=1\.0"):
        site.rollout().swap(store)
    assert site.management.default("sam_tiny") == "1.0"


def test_the_old_version_answers_what_it_has(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().scale("sam_tiny", None, 3)
    site.management.queued["1.0"] = 20
    site.rollout().swap(site.mar("2.0"))
    assert site.management.lost == {}
    site.assert_serves("2.0")


def test_an_old_version_whose_workers_died_keeps_its_queue_until_they_are_back(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.management.queued["1.0"] = 3
    site.management.slow[site.management.registered["sam_tiny"]["1.0"].archive] = 40
    site.rollout(Tried(lambda: site.management.replace_workers("sam_tiny", "1.0", ready=False))).swap(site.mar("2.0"))
    assert site.management.lost == {}


def test_what_an_old_version_cannot_answer_is_left_until_somebody_says_so(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))

    def dies() -> None:
        site.management.queued["1.0"] = 3
        site.management.replace_workers("sam_tiny", "1.0", ready=False)

    hasty = site.rollout(Tried(dies))
    hasty.drain_seconds = 0.05
    with pytest.raises(NotDrained, match=r"3 in its queue.*--drain-within 0"):
        hasty.swap(site.mar("2.0"))
    assert site.management.default("sam_tiny") == "2.0"
    assert set(site.management.registered["sam_tiny"]) == {"1.0", "2.0"}
    for _ in range(2):  # and again
        with pytest.raises(NotDrained):
            hasty.swap(site.mar("2.0"))
    at_once = site.rollout()
    at_once.drain_seconds = 0
    at_once.remove("sam_tiny", "1.0")
    site.assert_serves("2.0")
    assert site.management.lost == {"1.0": 3}


def test_a_version_that_loses_its_workers_after_the_canary_is_not_switched_to(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    dies = Tried(lambda: site.management.replace_workers("sam_tiny", "2.0", ready=False))
    with pytest.raises(NotReady, match="lost its workers"):
        site.rollout(dies).swap(site.mar("2.0"))
    site.assert_serves("1.0")


@pytest.mark.parametrize("by_apply", [True, False])
def test_the_old_version_is_kept_while_the_new_one_has_no_worker(site: Site, by_apply: bool) -> None:
    site.rollout().swap(site.mar("1.0"))
    rollout = site.rollout()
    set_default = site.management.set_default

    def switched(model: str, version: str) -> None:
        set_default(model, version)
        site.management.replace_workers(model, version, ready=False)

    rollout.versions.management.set_default = switched  # type: ignore[method-assign]
    with pytest.raises(NotReady, match=r"1\.0 is kept"):
        rollout.swap(site.mar("2.0"))
    rollout.versions.management.set_default = set_default  # type: ignore[method-assign]
    if by_apply:
        site.apply(wait=False)
        assert set(site.management.registered["sam_tiny"]) == {"1.0", "2.0"}
    site.rollout().rollback("sam_tiny")
    site.assert_serves("1.0", previous="2.0")


def test_a_version_that_was_registered_before_stays_when_it_fails_its_canary(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().register(site.mar("2.0"), workers=2)
    with pytest.raises(CanaryFailed):
        site.rollout(Tried(fail)).swap(site.mar("2.0"))
    assert site.management.registered["sam_tiny"]["2.0"].wanted == 2
    assert site.management.default("sam_tiny") == "1.0"
    assert site.declared.candidate is None
    assert (site.declared.versions["2.0"].loaded, site.declared.versions["2.0"].workers) == (True, 2)


def test_a_version_that_was_registered_by_hand_is_not_taken_for_an_archive_of_its_name(site: Site) -> None:
    """`make mar` may since have written other code under the same name."""
    site.management.model_store.mkdir()
    store = site.management.model_store / "sam_tiny-1.0.mar"
    store.write_bytes(site.mar("1.0").read_bytes())
    site.management.register(store.name)
    store.write_bytes(site.mar("1.0", code="new code").read_bytes())
    with pytest.raises(InvalidConfiguration, match="nobody knows from which archive"):
        site.rollout().swap(store)


def test_the_default_version_is_not_removed_and_others_are_drained(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().register(site.mar("2.0"))
    with pytest.raises(InvalidConfiguration, match="swap to another one first"):
        site.rollout().remove("sam_tiny", "1.0")
    site.rollout().remove("sam_tiny", "2.0")
    site.assert_serves("1.0")
    assert "2.0" not in site.declared.versions
    with pytest.raises(InvalidConfiguration, match="to go back to"):
        site.rollout().rollback("sam_tiny")
