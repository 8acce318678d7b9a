from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from grainserve.exports.coco import write_coco
from grainserve.result import Result
from tests.unit.client.exports.scenes import CLASSES, hard_masks, hard_result
from tests.unit.client.made import make_result


def test_pycocotools_reads_masks_boxes_and_classes(tmp_path: Path) -> None:
    result = hard_result()
    result.export(tmp_path / "grains_coco.json", image=tmp_path / "scans" / "sand.png")
    dataset = COCO(tmp_path / "grains_coco.json")
    assert [image["file_name"] for image in dataset.loadImgs(dataset.getImgIds())] == ["sand.png"]
    assert sorted(each["name"] for each in dataset.loadCats(dataset.getCatIds())) == sorted(CLASSES)
    annotations = dataset.loadAnns(dataset.getAnnIds(iscrowd=False))
    assert len(annotations) == len(result.grains)
    for annotation, grain, mask in zip(annotations, result.grains, hard_masks(), strict=True):
        np.testing.assert_array_equal(dataset.annToMask(annotation), mask)
        rle = dataset.annToRLE(annotation)
        assert annotation["area"] == coco_mask.area(rle) == grain.area
        assert annotation["bbox"] == coco_mask.toBbox(rle).tolist() == list(grain.properties["boundingBox"].values())
        assert dataset.loadCats(annotation["category_id"])[0]["name"] == grain.label
        assert annotation["attributes"] == {"grain": grain.id}


def test_several_results_are_one_data_set_of_as_many_images(tmp_path: Path) -> None:
    results = [hard_result(), Result(make_result("b" * 32)), Result(make_result("c" * 32, masks=[]))]
    write_coco(results, ["a.png", "b.png", "c.png"], tmp_path / "grains_coco.json")
    dataset = COCO(tmp_path / "grains_coco.json")
    assert len(set(dataset.getAnnIds())) == sum(len(result.grains) for result in results)
    for number, result in zip(dataset.getImgIds(), results, strict=True):
        image = dataset.loadImgs(number)[0]
        assert (image["width"], image["height"]) == (result.width, result.height)
        annotations = dataset.loadAnns(dataset.getAnnIds(number))
        assert [each["attributes"]["grain"] for each in annotations] == [grain.id for grain in result.grains]
        labels = np.zeros((result.height, result.width), int)
        for annotation in annotations:
            labels[dataset.annToMask(annotation) > 0] = annotation["attributes"]["grain"]
        np.testing.assert_array_equal(labels, result.label_map)


def test_an_image_of_no_name_goes_by_its_id(tmp_path: Path) -> None:
    hard_result().export(tmp_path / "grains_coco.json")
    assert COCO(tmp_path / "grains_coco.json").loadImgs(1)[0]["file_name"] == "a" * 32


@pytest.fixture(autouse=True)
def _quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Silences pycocotools, which prints while it loads."""
