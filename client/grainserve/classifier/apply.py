"""Applies a classifier to existing results, without a server: a preview of what it would say once served."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from grainserve.classifier.model import load
from grainserve.errors import InvalidResult
from grainserve.result import Result
from grainserve.storage.checkpoints import file_crc32c


def classify(result: Result, file: Path) -> Result:
    """Replaces the classes of a result's grains by those that a worker with this classifier would give.

    Args:
        result: result of any worker.
        file: file of the classifier.

    Raises:
        InvalidClassifier: the file is damaged or no classifier.
        InvalidResult: the result lacks a measurement that the classifier needs.
    """
    classifier = load(file)
    rows = [grain.row() for grain in result.grains]
    missing = [name for name in classifier.features if any(name not in row for row in rows)]
    if missing:
        raise InvalidResult(
            f"the result of image {result.image_id} has no {', '.join(missing)}, which {file} looks at: analyze the "
            "image again with this version (and a scale, for sizes)"
        )
    values = np.array([[row[name] for name in classifier.features] for row in rows], np.float64)
    names, confidences = classifier.name(values.reshape(len(rows), len(classifier.features)))
    about = {"uri": str(file), "generation": None, "crc32c": file_crc32c(file)}
    data = result.to_dict()
    grains = zip(data["segmentedObjects"], names.tolist(), confidences.tolist(), strict=True)
    return Result(
        {
            "metadata": data["metadata"]
            | {"classifier": about | {"classes": classifier.classes, "threshold": classifier.threshold}},
            "segmentedObjects": [
                grain | {"class": name, "classConfidence": confidence, "classSource": "classifier"}
                for grain, name, confidence in grains
            ],
        }
    )
