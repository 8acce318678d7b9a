from __future__ import annotations

from pathlib import Path

import pytest

from grainserve.cli.image_files import gather
from grainserve.errors import InvalidImage
from tests.unit.client.cli.test_application import run, words
from tests.unit.client.made import make_image


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "old").mkdir(parents=True)
    for name in ("b.tif", "a.PNG", "c.jpg"):
        make_image().convert("RGB").save(folder / name)
    for name in ("notes.txt", "a_overlay.png", "a_sizes.png", "a_segments.png", "a.csv", ".hidden.png"):
        (folder / name).write_bytes(b"")
    return folder


def test_a_folder_is_its_images_and_the_rest_is_told(scans: Path, tmp_path: Path) -> None:
    single = tmp_path / "without_ending"
    found = gather([single, scans])
    assert found.images == [single, scans / "a.PNG", scans / "b.tif", scans / "c.jpg"]
    assert {path.name: why for path, why in found.passed_over} == {
        "notes.txt": "not an image by its name",
        "a.csv": "not an image by its name",
        "a_overlay.png": "grainserve made it of a",
        "a_sizes.png": "grainserve made it of a",
        "a_segments.png": "grainserve made it of a",
        "old": "a folder: name it to have its images",
    }


def test_a_picture_that_is_only_named_like_an_overlay_is_an_image(tmp_path: Path) -> None:
    make_image().save(tmp_path / "map_overlay.png")
    assert gather([tmp_path]).images == [tmp_path / "map_overlay.png"]


def test_a_folder_without_images_is_told(scans: Path) -> None:
    with pytest.raises(InvalidImage, match="old has no image in it"):
        gather([scans / "old"])


def test_scale_and_submit_take_folders_and_end_with_what_was_passed_over(bucket_name: str, scans: Path) -> None:
    submitted = run("submit", scans)
    assert submitted.exit_code == 0, submitted.output
    assert [Path(line.split("  ")[1]).name for line in submitted.stdout.splitlines()] == ["a.PNG", "b.tif", "c.jpg"]
    measured = run("scale", scans, "--scale", "file")
    for done in (submitted, measured):
        assert "passed over:" in done.stderr.splitlines()[-1]
        assert "notes.txt (not an image by its name)" in words(done.stderr)


def test_analyze_takes_a_folder(bucket_name: str, torchserve: object, scans: Path, tmp_path: Path) -> None:
    done = run("analyze", scans, "--out", tmp_path / "out", "--to", "json")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.json", "b.json", "c.json"}
    assert "notes.txt (not an image by its name)" in words(done.stderr)


def test_many_are_counted_not_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_image().save(tmp_path / "a.png")
    for number in range(14):
        (tmp_path / f"{number}.txt").write_text("")
    gather([tmp_path]).say_passed_over()
    assert capsys.readouterr().err.splitlines()[-1] == "passed over: 4 more"


def test_where_all_fail_no_files_are_promised(bucket_name: str, torchserve: object, tmp_path: Path) -> None:
    done = run("analyze", tmp_path / "missing.png", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "files are in" not in words(done.output)
