"""Folders of annotated images: label maps, COCO, and errors in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from benchmarks.scored.images import photographs
from grain_handler.wire.image import read_image
from tests.unit.handler.pictures import gradient
from tools.problem import Problem
from training import distill
from training.folder import Annotated, read, split


def blocks(height: int = 60, width: int = 80) -> np.ndarray:
    """Draws three grains, one of them on another."""
    labels = np.zeros((height, width), np.int32)
    labels[5:40, 5:40] = 1
    labels[10:20, 10:20] = 2
    labels[45:55, 50:70] = 300
    return labels


def write_image(folder: Path, name: str, size: tuple[int, int] = (80, 60)) -> None:
    Image.new("RGB", size, (90, 120, 150)).save(folder / name)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_label_maps_of_16_bits(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path, "a.jpg")
    Image.fromarray(blocks().astype(np.uint16)).save(tmp_path / f"a_labels{suffix}")
    write_image(tmp_path, "without labels.png")
    (found,) = read(tmp_path)
    assert found.name == "a"
    assert found.image.shape == (60, 80, 3)
    assert (found.labels == blocks()).all()


def test_coco_of_run_lengths_and_polygons(tmp_path: Path) -> None:
    write_image(tmp_path, "b.png")
    truth = blocks()
    big = coco.encode(np.asfortranarray((truth == 1) | (truth == 2), dtype=np.uint8))
    annotations = [
        {"image_id": 7, "area": 100, "segmentation": [[10, 10, 20, 10, 20, 20, 10, 20]]},
        {"image_id": 7, "area": 1225, "segmentation": {"size": big["size"], "counts": big["counts"].decode()}},
        {"image_id": 8, "area": 9, "segmentation": [[0, 0, 3, 0, 3, 3]]},
    ]
    content = {"images": [{"id": 7, "file_name": "b.png", "height": 60, "width": 80}], "annotations": annotations}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    (found,) = read(tmp_path)
    assert ((found.labels > 0) == ((truth == 1) | (truth == 2))).all()
    assert len(np.unique(found.labels)) == 3, "the small grain lies on the large one, whatever their order"
    assert np.bincount(found.labels.ravel())[2] == 100


def test_large_images_are_reduced_as_they_are_served(tmp_path: Path) -> None:
    write_image(tmp_path, "c.png", (2048, 1000))
    labels = np.zeros((1000, 2048), np.uint16)
    labels[100:300, 500:900] = 5
    Image.fromarray(labels).save(tmp_path / "c_labels.png")
    (found,) = read(tmp_path)
    assert found.image.shape == (500, 1024, 3)
    assert found.labels.shape == (500, 1024)
    assert (found.labels == 5).sum() == 100 * 200


def turned(path: Path) -> None:
    picture = Image.fromarray(gradient(60, 80))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


PICTURES: dict[str, Callable[[Path], object]] = {
    "turned by its EXIF": turned,
    "grey of 16 bits": lambda path: Image.fromarray(gradient(80, 60)[..., 0].astype(np.uint16) * 150 + 700).save(path),
    "transparent": lambda path: Image.fromarray(np.dstack([gradient(80, 60), gradient(80, 60)[..., 0]])).save(path),
}


def from_a_folder(folder: Path) -> np.ndarray:
    return read(folder)[0].image


def from_unlabelled(folder: Path) -> np.ndarray:
    return distill.photographs(folder)[0]


def from_the_benchmark(folder: Path) -> np.ndarray:
    about = {"image": "a.png", "labels": "a_labels.png", "kind": "sand", "edge_grains_labelled": True}
    (folder / "a.json").write_text(json.dumps(about))
    return next(photographs(folder)).image


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("look", [from_a_folder, from_unlabelled, from_the_benchmark])
def test_what_is_learnt_from_and_scored_looks_as_it_is_served(
    kind: str, look: Callable[[Path], np.ndarray], tmp_path: Path
) -> None:
    PICTURES[kind](tmp_path / "a.png")
    Image.fromarray(np.ones((80, 60), np.uint16)).save(tmp_path / "a_labels.png")
    assert (look(tmp_path) == read_image((tmp_path / "a.png").read_bytes()).pixels).all()


def test_pictures_of_results_are_not_images(tmp_path: Path) -> None:
    for name in ("a.jpg", "a_labels.png", "a_overlay.png", "a_sizes.png"):
        write_image(tmp_path, name)
    assert len(distill.photographs(tmp_path)) == 1


def test_faults_are_said(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no annotated image"):
        read(tmp_path)
    write_image(tmp_path, "d.png")
    Image.fromarray(np.zeros((60, 80), np.uint16)).save(tmp_path / "d_labels.png")
    with pytest.raises(Problem, match="no grain"):
        read(tmp_path)
    Image.fromarray(np.ones((61, 80), np.uint16)).save(tmp_path / "d_labels.png")
    with pytest.raises(Problem, match="80 × 60 px, its labels 80 × 61"):
        read(tmp_path)
    write_image(tmp_path, "d_labels.png")
    with pytest.raises(Problem, match=r"d_labels.png has 3 channels: labels must have one channel"):
        read(tmp_path)
    (tmp_path / "d_labels.png").write_bytes(b"\x89PNG")
    with pytest.raises(Problem, match=r"d_labels.png cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("look", [read, distill.photographs])
def test_a_folder_that_is_not_there_is_named(look: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"there is no folder .*rocks"):
        look(tmp_path / "rocks")


@pytest.mark.parametrize(
    ("images", "labels"), [(("a.jpg",), ("a_labels.png", "a_labels.tif")), (("a.jpg", "a.png"), ("a_labels.png",))]
)
def test_an_image_that_is_there_twice_is_named(
    images: tuple[str, ...], labels: tuple[str, ...], tmp_path: Path
) -> None:
    """It would be learnt from twice, or both learnt from and kept apart."""
    for name in images:
        write_image(tmp_path, name)
    for name in labels:
        Image.fromarray(blocks().astype(np.uint16)).save(tmp_path / name)
    twice = f"as {images[0]} with {labels[0]} and as {images[-1]} with {labels[-1]}"
    with pytest.raises(Problem, match=f"has a twice, {twice}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("segmentation", "fault"),
    [
        ([], "annotation 12 of b.png has no segmentation"),
        ([[1, 1, 5, 1, 5, 5], [1, 1, 5, 5]], "annotation 12 of b.png has a polygon that is no list of six numbers"),
        ([1, 1, 5, 1, 5, 5], "annotation 12 of b.png has a polygon that is no list of six numbers"),
    ],
)
def test_faults_of_coco_are_said(segmentation: list[Any], fault: str, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "b.png", "height": 60, "width": 80}],
        "annotations": [{"id": 12, "image_id": 7, "segmentation": segmentation}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(Problem, match=r"annotations.json names .*b.png, which is not there"):
        read(tmp_path)
    write_image(tmp_path, "b.png")
    with pytest.raises(Problem, match=fault):
        read(tmp_path)
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(Problem, match=r"annotations.json is not JSON"):
        read(tmp_path)


def test_a_part_is_kept_apart() -> None:
    images = [Annotated(str(i), np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.int32)) for i in range(10)]
    learnt, kept = split(images, seed=3)
    assert (len(learnt), len(kept)) == (8, 2)
    assert {each.name for each in learnt} | {each.name for each in kept} == {str(i) for i in range(10)}
    assert [each.name for each in split(images, seed=3)[1]] == [each.name for each in kept]
    with pytest.raises(Problem, match="two annotated images"):
        split(images[:1], seed=3)
