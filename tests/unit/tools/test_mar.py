"""A model archive: complete, small, without weights, and the same bytes every time."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools import mar
from tools.problem import Problem


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Makes a package with a subpackage, and files that must not be packed."""
    package = tmp_path / "grain_handler"
    (package / "inner" / "__pycache__").mkdir(parents=True)
    for name in ("__init__.py", "service.py", "inner/__init__.py", "inner/__pycache__/x.pyc", ".hidden"):
        (package / name).write_text(name)
    return package


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = tmp_path / "some.yaml"
    config.write_text("minWorkers: 1\n")
    return config


def test_content(package: Path, config: Path, tmp_path: Path) -> None:
    out = mar.pack("sam_tiny", "1.5", config=config, package=package, out=tmp_path / "store" / "unique.mar")
    assert out == tmp_path / "store" / "unique.mar"
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [
            "MAR-INF/MANIFEST.json",
            "grain_handler/__init__.py",
            "grain_handler/inner/__init__.py",
            "grain_handler/service.py",
            "model-config.yaml",
            "service.py",
        ]
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        assert archive.read("model-config.yaml") == b"minWorkers: 1\n"
    # "python3" would be looked up on PATH.
    assert manifest["runtime"] == "python"
    assert manifest["model"] == {
        "configFile": "model-config.yaml",
        "handler": "service.py",
        "modelName": "sam_tiny",
        "modelVersion": "1.5",
    }


def test_equal_content_gives_equal_bytes_also_at_the_same_time(package: Path, config: Path, tmp_path: Path) -> None:
    def pack(number: int) -> bytes:
        return mar.pack("m", "1.0", config=config, package=package, out=tmp_path / f"{number}.mar").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        first = set(pool.map(pack, range(4)))
    os.utime(package / "service.py", (1, 1))
    (package / "service.py").chmod(0o755)
    assert {pack(4)} == first
    (package / "service.py").write_text("changed")
    assert {pack(5)} != first


def test_a_full_disk_keeps_no_part_of_an_archive(
    package: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(archive: Path, out: Path) -> None:
        out.write_bytes(archive.read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mar, "_rewrite", full)
    with pytest.raises(OSError, match="No space left"):
        mar.pack("m", "1.0", config=config, package=package, out=tmp_path / "store" / "m.mar")
    assert list((tmp_path / "store").iterdir()) == []


def test_the_repositorys_own_holds_code_and_config_and_no_weights(tmp_path: Path) -> None:
    out = mar.pack("sam_tiny", "1.0", out=tmp_path / "sam_tiny.mar")
    with zipfile.ZipFile(out) as archive:
        held = archive.infolist()
    assert {Path(each.filename).suffix for each in held} == {".py", ".yaml", ".json"}
    assert max(each.file_size for each in held) < 30_000, "each file is one that a person reads"
    assert out.stat().st_size < 2_500 * len(held), (
        "kilobytes: it grows by what it holds, not by bytes that nobody reads"
    )


@pytest.mark.parametrize(("model", "version"), [("../m", "1.0"), ("m m", "1.0")])
def test_a_name_torchserve_cannot_take(model: str, version: str, package: Path, config: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"could not pack .* special characters|could not pack"):
        mar.pack(model, version, config=config, package=package, out=tmp_path / "x.mar")
    assert not (tmp_path / "x.mar").exists()


def test_missing_pieces_are_named(package: Path, config: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"the model config .*config/no_model\.yaml is not there"):
        mar.pack("no_model", "1.0", package=package)
    (package / "service.py").unlink()
    with pytest.raises(Problem, match="the handler"):
        mar.pack("m", "1.0", config=config, package=package, out=tmp_path / "x.mar")
