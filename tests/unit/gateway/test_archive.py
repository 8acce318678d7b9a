"""Archives, and the names in them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from grainserve.gateway.archive import CHUNK, MOST_CHARACTERS, unique_stems, zip_parts


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("sand.png", "sand"),
        ("sand.v2.TIFF", "sand.v2"),
        ("3.5 mm", "3.5 mm"),
        ("Düne 1", "Düne 1"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x\\y.png", "C__x_y"),
        ("a\x00b\n.png", "a_b_"),
        ("evil\u202egnp.exe", "evil_gnp.exe"),
        ("con.png", "_con"),
        ("LPT1.txt", "_LPT1.txt"),
        (".png", "png"),
        ("...", "_"),
        ("", "_"),
        (" sand. .png", "sand"),
        ("x" * 300, "x" * MOST_CHARACTERS),
    ],
)
def test_names_are_safe_on_every_system(name: str, safe: str) -> None:
    assert unique_stems([name]) == [safe]


def test_no_two_names_are_one_file() -> None:
    given = ["sand.png", "SAND.tif", "sand", "sand_2", "x" * 300, "x" * 301, "..", "../"]
    found = unique_stems(given)
    assert found[:4] == ["sand", "SAND_2", "sand_3", "sand_2_2"]
    assert len({each.casefold() for each in found}) == len(given)


def test_an_archive_comes_in_parts_while_its_files_are_made(tmp_path: Path) -> None:
    file, asked = tmp_path / "file", []

    def files() -> Iterator[tuple[str, Path]]:
        for number in range(3):
            asked.append(number)
            file.write_bytes(bytes([number]) * (2 * CHUNK + number))
            yield f"results/Düne {number}.csv", file

    parts = zip_parts(files())
    begun = next(parts)
    assert asked == [0], "one file at a time"
    data = begun + b"".join(parts)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        for number in range(3):
            assert archive.read(f"results/Düne {number}.csv") == bytes([number]) * (2 * CHUNK + number)
            assert archive.getinfo(f"results/Düne {number}.csv").date_time[0] > 2000
