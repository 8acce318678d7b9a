"""A process that is interrupted at each call: the next one finishes its work or takes it back."""

from __future__ import annotations

import pytest

from grainserve.errors import TorchServeUnreachable
from grainserve.rollout.canary import CanaryFailed
from grainserve.rollout.swap import Rollout
from tests.unit.client.rollout.site import Site, Tried, fail, unplug_at_each_call


def test_a_swap_that_is_cut_short_anywhere_is_finished_by_the_next(site: Site) -> None:
    site.rollout().swap(site.mar("0"))
    number = 1

    def work(rollout: Rollout) -> None:
        rollout.swap(site.mar(str(number)))

    def then(_: int) -> None:
        nonlocal number
        assert site.management.default("sam_tiny") in (str(number - 1), str(number)), "somebody answers"
        work(site.rollout())
        site.assert_serves(str(number), previous=str(number - 1))
        number += 1

    unplug_at_each_call(site, work, then)


def test_a_swap_that_is_cut_short_anywhere_is_ended_by_one_to_another_version(site: Site) -> None:
    site.rollout().swap(site.mar("0"))
    number = 1

    def then(_: int) -> None:
        nonlocal number
        site.rollout().swap(site.mar(f"{number}-other"))
        site.assert_serves(f"{number}-other")
        number += 1

    unplug_at_each_call(site, lambda rollout: rollout.swap(site.mar(str(number))), then)


def test_a_swap_that_is_cut_short_anywhere_is_ended_by_apply(site: Site) -> None:
    """`apply` runs beside every replica: it goes forward after the switch, and back before it."""
    site.rollout().swap(site.mar("0"))
    number = 1

    def work(rollout: Rollout) -> None:
        rollout.swap(site.mar(str(number)))

    def then(_: int) -> None:
        nonlocal number
        served = site.management.default("sam_tiny")
        site.apply()
        site.assert_serves(served)
        work(site.rollout())
        site.assert_serves(str(number), previous=str(number - 1))
        number += 1

    unplug_at_each_call(site, work, then)


def test_a_rollback_that_is_cut_short_anywhere_is_finished(site: Site) -> None:
    """The next rollback finishes it until it is declared, `apply` after that."""
    site.rollout().swap(site.mar("1.0"))
    site.rollout().swap(site.mar("2.0"))

    def then(_: int) -> None:
        if site.declared.default == "1.0":
            site.apply()
        else:
            site.rollout().rollback("sam_tiny")
        site.assert_serves("1.0", previous="2.0")
        site.rollout().swap(site.mar("2.0"))

    unplug_at_each_call(site, lambda rollout: rollout.rollback("sam_tiny"), then)


def test_the_first_version_is_tried_when_its_loading_was_cut_short(site: Site) -> None:
    """TorchServe made it the default at registration."""

    def then(_: int) -> None:
        if site.management.registered and not site.declared.default:
            with pytest.raises(CanaryFailed):
                site.rollout(Tried(fail)).swap(site.mar("1.0"))
            assert site.management.registered == {}
        elif site.management.registered:
            site.rollout().swap(site.mar("1.0"))
            site.rollout().remove("sam_tiny", "1.0", last=True)

    unplug_at_each_call(site, lambda rollout: rollout.swap(site.mar("1.0")), then)


def test_a_switch_that_was_made_but_not_answered_is_finished(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    rollout, set_default = site.rollout(), site.management.set_default

    def unanswered(model: str, version: str) -> None:
        set_default(model, version)
        raise TorchServeUnreachable("no answer")

    rollout.versions.management.set_default = unanswered  # type: ignore[method-assign]
    with pytest.raises(TorchServeUnreachable):
        rollout.swap(site.mar("2.0"))
    assert site.management.default("sam_tiny") == "2.0"
    rollout.versions.management.set_default = set_default  # type: ignore[method-assign]
    site.rollout().swap(site.mar("2.0"))
    site.assert_serves("2.0", previous="1.0")
