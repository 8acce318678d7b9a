"""Folders of annotated images: label maps, COCO, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from tools.problem import Problem
from training.folder import Annotated, read, split


def blocks(height: int = 60, width: int = 80) -> np.ndarray:
    """Three grains, one of them on another."""
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


def test_a_part_is_kept_apart() -> None:
    images = [Annotated(str(i), np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), np.int32)) for i in range(10)]
    learnt, kept = split(images, 0.2, seed=3)
    assert (len(learnt), len(kept)) == (8, 2)
    assert {each.name for each in learnt} | {each.name for each in kept} == {str(i) for i in range(10)}
    assert [each.name for each in split(images, 0.2, seed=3)[1]] == [each.name for each in kept]
    with pytest.raises(Problem, match="two annotated images"):
        split(images[:1], 0.2, seed=3)
