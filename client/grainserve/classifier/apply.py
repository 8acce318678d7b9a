"""A classifier on results that are there already, without a server: to see what it would say before it is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from grainserve.classifier.model import load
from grainserve.errors import InvalidResult
from grainserve.result import Result
from grainserve.storage.checkpoints import file_crc32c


def classify(result: Result, file: Path) -> Result:
    """Names the classes of a result's grains, as a worker with this classifier would have.

    Args:
        result: Of any worker; its classes are replaced.
        file: The classifier.

    Raises:
        InvalidClassifier: The file is damaged or no classifier.
        InvalidResult: The result lacks a measurement that the classifier looks at.
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
