"""`apply` loads the declared versions, after a restart and after a swap elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from grainserve.errors import InvalidConfiguration
from grainserve.rollout import archives
from grainserve.rollout.archives import ArchiveChanged
from grainserve.rollout.lock import ChangeUnderWay
from grainserve.rollout.reconcile import ApplyFailed, Reconciliation
from grainserve.storage.bucket import Bucket
from tests.unit.client.rollout.imitation import ImitatedManagement
from tests.unit.client.rollout.site import Site


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
    site.rollout().swap(site.mar("4.0"))  # 2.0 is not even known any more
    other.apply()
    other.assert_serves("4.0")


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
    """A look does not wait for a version that loads; the old version goes when the new one is ready."""
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
