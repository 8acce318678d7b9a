"""Classes of grains: the label given, or a classifier's word on the measurements.

A classifier is a file that `grainserve classifier train` writes: a linear discriminant analysis over columns of the
result's table, and the labelled grains themselves. It gives two answers about a grain: which class is the likeliest,
and how far the grain lies from the nearest labelled grains. A grain that is far from all of them, or has no likely
class, is "unknown".

scikit-learn is imported only if there is a classifier: it costs a worker a second or two of its start, and memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from grain_handler.errors import ClassifierError
from grain_handler.grains.measure import Properties, measure_labels
from grain_handler.storage.weights import Checkpoint
from grain_handler.storage.zips import check_stored

FORMAT = "grainserve classifier 1"
CONTENT = {"pipeline", "features", "scikit_learn", "whitening", "grains", "temperature", "farthest", "threshold"}
SCHEMA = "schema.json"
"""Member of the archive in which skops keeps the tree of objects."""
MOST, MOST_SCHEMA = 64 * 2**20, 4 * 2**20
"""Most bytes that a file's parts, and its tree, may unpack to. A thousand labelled grains take 200 kB in all."""
NODES = {"DictNode", "JsonNode", "ListNode", "NdArrayNode", "ObjectNode", "TupleNode", "TypeNode"}
"""Kinds of objects in a classifier. Others are refused: a sparse matrix, say, is an archive that unpacks once more."""
UNKNOWN = "unknown"
NEIGHBOURS = 5
"""A grain's distance is its mean distance to this many nearest labelled grains."""


@dataclass(frozen=True)
class Named:
    """A grain's class.

    Attributes:
        name: name of the class.
        confidence: probability of the likeliest class that the classifier knows, 0…1; 0 for a grain that is far from
            all labelled grains, or lacks a measurement; None for a label that was given.
        source: `given` for the request's label, else `classifier`.
    """

    name: str
    confidence: float | None
    source: Literal["given", "classifier"]


class Classifier:
    """A classifier that has been checked; `load` makes it.

    Attributes:
        file: file that it was read from.
        classes: classes that it knows, without "unknown".
        threshold: least probability of a class, 0…1; a grain whose likeliest class has less is "unknown".
    """

    def __init__(self, file: Checkpoint, content: Mapping[str, Any]) -> None:
        self.file = file
        self.threshold = float(content["threshold"])
        self._features = list(content["features"])
        self._pipeline = content["pipeline"]
        self._temperature = float(content["temperature"])
        self._farthest = float(content["farthest"])
        self._whitening = content["whitening"]
        self._labelled = content["grains"]
        self.classes = [str(name) for name in self._pipeline.classes_]

    def name(self, grains: Sequence[Properties]) -> list[Named]:
        """Names the classes of an image's grains, all at once.

        Args:
            grains: measurements of the grains.

        Returns:
            One class for each grain, in the same order.
        """
        named = [Named(UNKNOWN, 0.0, "classifier")] * len(grains)
        if not grains:
            return named
        rows = [dict(columns(properties)) for properties in grains]
        values = np.array([[row.get(name) for name in self._features] for row in rows], np.float64)
        complete = np.flatnonzero(np.isfinite(values).all(axis=1))
        if len(complete):
            shares, far = self._judge(values[complete])
            for i, share, is_far in zip(complete, shares, far, strict=True):
                best = int(share.argmax())
                if not is_far:
                    name = self.classes[best] if share[best] >= self.threshold else UNKNOWN
                    named[i] = Named(name, float(share[best]), "classifier")
        return named

    def _judge(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Computes calibrated probabilities, n × classes, and marks grains far from all labelled ones, n, bool.

        `grainserve`, the client, judges in the same way.
        """
        powers = self._pipeline.predict_proba(values) ** (1 / self._temperature)
        distances = cdist(self._pipeline[:-1].transform(values) @ self._whitening, self._labelled)
        nearest = np.partition(distances, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS].mean(axis=1)
        return powers / powers.sum(axis=1, keepdims=True), nearest > self._farthest


def given(label: str, count: int) -> list[Named]:
    """Gives the same label to every one of `count` grains."""
    return [Named(label, None, "given")] * count


def columns(properties: Properties) -> Iterator[tuple[str, Any]]:
    """Yields measurements as columns of the client's table, name and value: `meanIntensity_r`, `texture_entropy`, …"""
    for name, value in properties.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}_{part}", each) for part, each in value.items())
        elif isinstance(value, list):
            yield from ((f"{name}_{channel}", each) for channel, each in zip("rgb", value, strict=True))
        else:
            yield name, value


def load(file: Checkpoint) -> Classifier:
    """Reads a classifier. It runs nothing that is in the file, and unpacks no more than a classifier has.

    Args:
        file: file that `weights.fetch` returned.

    Raises:
        ClassifierError: the file is damaged or too large, holds anything but what `grainserve classifier train` makes,
            was trained with another scikit-learn, or uses measurements that this worker does not make.
    """
    import sklearn  # noqa: PLC0415
    from skops.io import load as read  # noqa: PLC0415
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        if odd := _odd_nodes(file.path):
            raise ClassifierError(f"classifier {file.uri} holds what a classifier has no need of: {', '.join(odd)}")
        content = read(file.path, trusted=[])
    except UntrustedTypesFoundException as error:
        raise ClassifierError(f"classifier {file.uri} holds what a classifier has no need of: {error}") from None
    except (BadZipFile, LookupError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise ClassifierError(
            f"classifier {file.uri} cannot be read, it is damaged or no classifier: {error!r}; upload it again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not _is_ours(content.get("pipeline")):
        raise ClassifierError(f"{file.uri} is no {FORMAT!r}: make one with `grainserve classifier train`")
    missing = CONTENT - content.keys()
    if missing:
        raise ClassifierError(
            f"classifier {file.uri} is damaged, it lacks {', '.join(sorted(missing))}: upload it again"
        )
    trained, here = content["scikit_learn"], sklearn.__version__
    if trained.split(".")[:2] != here.split(".")[:2]:
        raise ClassifierError(
            f"classifier {file.uri} was trained with scikit-learn {trained}, this worker has {here}: train it again "
            f"with scikit-learn=={here}"
        )
    grain = _some_grain()
    unknown = sorted(set(content["features"]) - {name for name, _ in columns(grain)})
    if unknown:
        raise ClassifierError(
            f"classifier {file.uri} wants measurements that this worker does not make: {', '.join(unknown)}; train it "
            "on results of this version"
        )
    try:
        classifier = Classifier(file, content)
        # Parts that do not fit together fail now, and not with every image.
        classifier.name([grain])
    except (ValueError, TypeError, AttributeError) as error:
        raise ClassifierError(
            f"classifier {file.uri} is damaged, its parts do not fit together: {error}; upload it again"
        ) from error
    return classifier


def _odd_nodes(path: Path) -> list[str]:
    """Checks a file's tree of objects, before skops reads its parts; returns the kinds of objects that are not ours.

    skops reads a part as often as the tree names it, so a part counts as often towards the size.

    Raises:
        BadZipFile: the file is no archive, or larger than any classifier.
        LookupError, ValueError, TypeError, RecursionError: the tree cannot be read.
    """
    check_stored(path)
    with ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if sizes[SCHEMA] > MOST_SCHEMA:
            raise BadZipFile(f"its tree has over {MOST_SCHEMA >> 20} MiB")
        nodes: list[dict[str, Any]] = []
        json.loads(archive.read(SCHEMA), object_hook=nodes.append)
    if sum(sizes.get(node.get("file", ""), 0) for node in nodes) > MOST:
        raise BadZipFile(f"its parts would unpack to over {MOST >> 20} MiB")
    return sorted({str(node["__loader__"]) for node in nodes if "__loader__" in node} - NODES)


def _is_ours(pipeline: Any) -> bool:
    """Tells whether a pipeline has exactly the steps that `grainserve classifier train` gives it."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    return type(pipeline) is Pipeline and [type(step) for _, step in pipeline.steps] == [
        StandardScaler,
        LinearDiscriminantAnalysis,
    ]


def _some_grain() -> Properties:
    """Measures a grain with a scale, so that it has every measurement."""
    image = np.zeros((4, 4, 3), np.uint8)
    return measure_labels(np.ones((4, 4), np.int32), image, [0], 1.0)[0]
