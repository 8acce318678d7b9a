"""Swaps against a TorchServe in memory: each failure, and a plug that is pulled at each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from grainserve.errors import InvalidConfiguration, TorchServeUnreachable
from grainserve.rollout import archives, versions
from grainserve.rollout.archives import ArchiveChanged
from grainserve.rollout.canary import CanaryFailed
from grainserve.rollout.declared import Declarations, DeclaredModel
from grainserve.rollout.reconcile import ApplyFailed, Reconciliation
from grainserve.rollout.swap import Rollout, Trial
from grainserve.rollout.turn import ChangeUnderWay, turn
from grainserve.rollout.versions import NotDrained, NotReady, Versions
from grainserve.storage import Bucket
from tests.unit.client.rollout.imitation import ImitatedManagement, Plug, Unplugged, make_mar


@dataclass
class Site:
    """A TorchServe, its model store, the bucket."""

    management: ImitatedManagement
    bucket_name: str
    folder: Path

    def rollout(self, *trials: Trial, plug: Plug | None = None) -> Rollout:
        """A fresh process that works on them."""
        bucket, management = Bucket(self.bucket_name), self.management
        if plug:
            plugged = ImitatedManagement(management.model_store)
            for name in ("versions", "register", "set_default", "delete", "pass_through"):
                setattr(plugged, name, plug.through(getattr(management, name)))
            for name in ("read", "create", "replace"):
                setattr(bucket, name, plug.through(getattr(bucket, name)))
            management = plugged
        return Rollout(
            Versions(management, management.model_store, bucket, print), Declarations(bucket), 5.0, 5.0, trials
        )

    def apply(self, *, wait: bool = True) -> None:
        """What `grainserve models apply` does; without waiting, a look of its `--watch`."""
        Reconciliation(self.rollout()).apply(wait=wait)

    def mar(self, version: str, code: str = "pass") -> Path:
        """An archive."""
        return make_mar(self.folder, version, code=code)

    @property
    def declared(self) -> DeclaredModel:
        """What is declared of the model."""
        return Declarations(Bucket(self.bucket_name)).read()["sam_tiny"]

    def assert_serves(self, version: str, *, previous: str | None = None) -> None:
        """That version alone is there, is the default, and is declared so."""
        assert list(self.management.registered["sam_tiny"]) == [version]
        assert self.management.default("sam_tiny") == version
        declared = self.declared
        assert (declared.default, declared.candidate) == (version, None)
        assert [name for name, each in declared.versions.items() if each.loaded] == [version]
        if previous:
            assert declared.previous == previous


@pytest.fixture
def site(bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(versions, "SETTLE", 0.0)
    monkeypatch.setattr(versions, "LOOK_EVERY", 0.001)
    return Site(ImitatedManagement(tmp_path / "store"), bucket_name, tmp_path)


class Tried:
    """A trial that notes what it was asked, and does something then."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._then = then

    def prepare(self, model: str, old: str | None) -> None:
        self.asked.append(("prepare", old))

    def attempt(self, model: str, version: str) -> None:
        self.asked.append(("attempt", version))
        self._then()


def fail() -> None:
    raise CanaryFailed("41 grains became 3")


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


def unplug_at_each_call(site: Site, work: Callable[[Rollout], object], then: Callable[[int], None]) -> None:
    """Pulls the plug after 0, 1, 2, … calls, until the work gets done; `then` each time."""
    for last in range(200):
        plug = Plug()
        plug.last = last
        try:
            work(site.rollout(plug=plug))
        except Unplugged:
            then(last)
        else:
            assert last > 8
            return
    raise AssertionError("the work never got done")


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
    """As beside every replica: forward once it was switched, back before."""
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
    """By the next one until it is declared, by `apply` after that."""
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
    """TorchServe made it the default when it was registered."""

    def then(_: int) -> None:
        if site.management.registered and not site.declared.default:
            with pytest.raises(CanaryFailed):
                site.rollout(Tried(fail)).swap(site.mar("1.0"))
            assert site.management.registered == {}
        elif site.management.registered:
            site.rollout().swap(site.mar("1.0"))
            site.rollout().remove("sam_tiny", "1.0", last=True)

    unplug_at_each_call(site, lambda rollout: rollout.swap(site.mar("1.0")), then)


# What the old version still has -------------------------------------------------------------------------------------


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


# The new version fails late -----------------------------------------------------------------------------------------


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


def test_a_version_that_was_registered_before_stays_when_it_fails_its_canary(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().register(site.mar("2.0"), workers=2)
    with pytest.raises(CanaryFailed):
        site.rollout(Tried(fail)).swap(site.mar("2.0"))
    assert site.management.registered["sam_tiny"]["2.0"].wanted == 2
    assert site.management.default("sam_tiny") == "1.0"
    assert site.declared.candidate is None
    assert (site.declared.versions["2.0"].loaded, site.declared.versions["2.0"].workers) == (True, 2)


# Several at once ----------------------------------------------------------------------------------------------------


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
    with turn(site.management.model_store, "sam_tiny", seconds=0, say=print):
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


# What is declared ---------------------------------------------------------------------------------------------------


def test_after_a_restart_the_default_version_answers_from_the_first_moment(site: Site) -> None:
    site.rollout().swap(site.mar("2.0"))
    site.rollout().register(site.mar("1.5"))
    site.management.registered.clear()
    slow = archives.read(site.mar("2.0"))[0].file
    site.management.slow[slow] = 20
    seen = set()

    def look() -> None:
        if site.management.registered.get("sam_tiny"):
            seen.add(site.management.default("sam_tiny"))

    site.management.at_each_look = look
    site.apply()
    assert set(site.management.registered["sam_tiny"]) == {"1.5", "2.0"}
    assert seen == {"2.0"}


def test_a_look_waits_for_nobody(site: Site, tmp_path: Path) -> None:
    """What loads is left to load; the old version goes when the new one is ready."""
    other = Site(ImitatedManagement(tmp_path / "other", "http://other"), site.bucket_name, tmp_path)
    site.rollout().swap(site.mar("1.0"))
    other.apply(wait=False)
    site.rollout().swap(site.mar("2.0"))
    other.management.slow[archives.read(site.mar("2.0"))[0].file] = 12
    looks = 0
    while set(other.management.registered["sam_tiny"]) != {"2.0"}:
        assert other.management.default("sam_tiny") == "1.0"
        other.apply(wait=False)
        looks += 1
    assert looks > 1
    other.assert_serves("2.0")


def test_one_version_that_does_not_load_keeps_no_other_away(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().register(site.mar("0.9"))
    site.management.registered.clear()
    site.management.broken.add(archives.read(site.mar("0.9"))[0].file)
    with pytest.raises(ApplyFailed, match=r"0\.9 does not load"):
        site.apply()
    assert site.management.default("sam_tiny") == "1.0"


def test_after_a_restart_nothing_is_swapped_before_apply(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.management.registered.clear()
    for work in (site.rollout().swap, site.rollout().register):
        with pytest.raises(InvalidConfiguration, match="`grainserve models apply` first"):
            work(site.mar("2.0"))
    site.apply()
    site.rollout().swap(site.mar("2.0"))
    site.assert_serves("2.0", previous="1.0")


def test_a_version_that_was_registered_by_hand_is_not_taken_for_an_archive_of_its_name(site: Site) -> None:
    """`make mar` may have written other code under the same name since."""
    site.management.model_store.mkdir()
    store = site.management.model_store / "sam_tiny-1.0.mar"
    store.write_bytes(site.mar("1.0").read_bytes())
    site.management.register(store.name)
    store.write_bytes(site.mar("1.0", code="new code").read_bytes())
    with pytest.raises(InvalidConfiguration, match="nobody knows from which archive"):
        site.rollout().swap(store)


def test_the_last_version_goes_with_its_model_everywhere(site: Site, tmp_path: Path) -> None:
    other = Site(ImitatedManagement(tmp_path / "other", "http://other"), site.bucket_name, tmp_path)
    site.rollout().swap(site.mar("1.0"))
    site.rollout().register(site.mar("2.0"))
    other.apply()
    with pytest.raises(InvalidConfiguration, match="other versions"):
        site.rollout().remove("sam_tiny", "1.0", last=True)
    site.rollout().remove("sam_tiny", "2.0")
    with pytest.raises(InvalidConfiguration, match="--last"):
        site.rollout().remove("sam_tiny", "1.0")
    site.rollout().remove("sam_tiny", "1.0", last=True)
    other.apply()
    assert site.management.registered == other.management.registered == {}


def test_what_is_declared_by_a_file_must_be_there(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    reconciliation = Reconciliation(site.rollout())
    declaration = reconciliation.rollout.declarations.read()
    known = declaration["sam_tiny"]
    unknown = replace(known.versions["1.0"], sha256="0" * 64)
    with pytest.raises(InvalidConfiguration, match=r"has no archives/sam_tiny-2\.0-000000000000\.mar"):
        reconciliation.declare({"sam_tiny": known.with_version("2.0", unknown)})
    reconciliation.declare({"sam_tiny": known.with_version("1.0", replace(known.versions["1.0"], workers=2))})
    site.apply()
    assert site.management.registered["sam_tiny"]["1.0"].wanted == 2
    begun = replace(site.declared, candidate="1.0", candidate_at="elsewhere")
    reconciliation.rollout.declarations.change_model("sam_tiny", lambda _: begun)
    with pytest.raises(ChangeUnderWay, match="at elsewhere"):
        reconciliation.declare(declaration)


def test_apply_brings_back_what_a_restart_forgot(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    site.rollout().swap(site.mar("2.0"))
    site.rollout().register(site.mar("3.0"), workers=2)
    site.management.registered.clear()
    for file in site.management.model_store.iterdir():
        file.unlink()
    site.apply()
    assert set(site.management.registered["sam_tiny"]) == {"2.0", "3.0"}
    assert site.management.default("sam_tiny") == "2.0"
    assert site.management.registered["sam_tiny"]["3.0"].wanted == 2


def test_apply_follows_a_swap_at_another_torchserve(site: Site, tmp_path: Path) -> None:
    other = Site(ImitatedManagement(tmp_path / "other"), site.bucket_name, tmp_path)
    site.rollout().swap(site.mar("1.0"))
    other.apply()
    other.assert_serves("1.0")
    site.rollout().swap(site.mar("2.0"))
    other.apply()
    other.assert_serves("2.0")
    site.rollout().swap(site.mar("3.0"))
    site.rollout().swap(site.mar("4.0"))  # and 2.0 is not even known any more
    other.apply()
    other.assert_serves("4.0")


def test_an_archive_with_another_sha256_is_refused(site: Site) -> None:
    site.rollout().swap(site.mar("1.0"))
    archive, _ = archives.read(site.mar("1.0"))
    site.management.registered.clear()
    (site.management.model_store / archive.file).write_bytes(b"changed")
    bucket = Bucket(site.bucket_name)
    stored = bucket.read(archives.FOLDER + archive.file)
    assert stored
    bucket.replace(archives.FOLDER + archive.file, b"changed", "application/zip", stored.generation)
    with pytest.raises(ApplyFailed, match="find out who changed it"):
        site.apply()
    assert site.management.registered == {}
    with pytest.raises(ArchiveChanged):
        archives.fetch(archive, bucket, site.management.model_store)


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
