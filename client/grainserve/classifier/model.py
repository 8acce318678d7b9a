"""The classifier: its statistics, and its file.

Linear discriminant analysis with a shrunken covariance (Ledoit & Wolf 2004): one normal distribution a class, all of
one covariance, so that fifty grains a class are enough. Two questions are asked of it:

- Which class? Its probabilities, softened by one temperature (Guo et al. 2017) that is fitted on grains that were not
  learnt from, so that of grains named with 0.9 nine in ten are right.
- Is it any of them? The mean distance to the five nearest labelled grains, in standard deviations within a class. A
  probability does not tell: far away from all classes one of them is still by far the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from grainserve.classifier.contents import odd_nodes
from grainserve.errors import InvalidClassifier

FORMAT = "grainserve classifier 1"
UNKNOWN = "unknown"

NEIGHBOURS = 5

NOVEL = 0.05
"""Share of grains of the known classes that may be called unlike all of them."""

HOTTEST = 20.0
"""Temperatures go from 1, the pipeline's own probabilities, to this: never surer than it is."""


@dataclass(frozen=True)
class Fitted:
    """What is learnt from labelled grains.

    Attributes:
        pipeline: StandardScaler, then LinearDiscriminantAnalysis.
        whitening: features × features; makes the scatter within a class a unit sphere.
        grains: n × features, the labelled grains in that space.
    """

    pipeline: Any
    whitening: NDArray[np.float64]
    grains: NDArray[np.float64]

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the classes, before their temperature; n × features → n × classes."""
        return np.asarray(self.pipeline.predict_proba(values))

    def away(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean distance to the nearest labelled grains, in standard deviations; n × features → n."""
        from scipy.spatial.distance import cdist  # noqa: PLC0415

        distances = cdist(self.pipeline[:-1].transform(values) @ self.whitening, self.grains)
        return np.asarray(np.partition(distances, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS].mean(axis=1))


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        features: Columns of the table, in the pipeline's order.
        fitted: What was learnt.
        temperature: 1 or more: how much too sure the pipeline's own probabilities are.
        farthest: Distance to the nearest labelled grains, in standard deviations, beyond which a grain is "unknown".
        threshold: Probability of the likeliest class under which a grain is "unknown".
        card: What is known about it: `validation.examine`.
    """

    features: tuple[str, ...]
    fitted: Fitted
    temperature: float
    farthest: float
    threshold: float
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The classes it knows, without "unknown"."""
        return [str(name) for name in self.fitted.pipeline.classes_]

    def judge(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Calibrated probabilities, n × classes, and `Fitted.away`, n; the worker judges alike.

        Args:
            values: n × features, finite.
        """
        return softened(self.fitted.shares(values), self.temperature), self.fitted.away(values)

    def name(self, values: NDArray[np.float64]) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
        """Classes and confidences of n grains, as results have them; a grain that lacks a measurement is unknown, 0."""
        names, confidence = np.full(len(values), UNKNOWN, dtype=object), np.zeros(len(values))
        known = np.isfinite(values).all(axis=1)
        if known.any():
            shares, away = self.judge(values[known])
            names[known], confidence[known] = named(
                np.array(self.classes), shares, away, threshold=self.threshold, farthest=self.farthest
            )
        return names.astype(np.str_), confidence

    def save(self, path: Path) -> None:
        """Writes the file that `load` and a worker read."""
        import sklearn  # noqa: PLC0415
        from skops.io import dump  # noqa: PLC0415

        content = {
            "format": FORMAT,
            "scikit_learn": sklearn.__version__,
            "features": list(self.features),
            "pipeline": self.fitted.pipeline,
            "whitening": self.fitted.whitening,
            "grains": self.fitted.grains,
            "temperature": self.temperature,
            "farthest": self.farthest,
            "threshold": self.threshold,
            "card": self.card,
        }
        dump(content, path)


def load(path: Path) -> Classifier:
    """Reads a classifier, without running anything that is in the file, or unpacking more than a classifier has.

    Raises:
        InvalidClassifier: It is damaged, too large or no classifier.
    """
    from skops.io import load as read  # noqa: PLC0415
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        if odd := odd_nodes(path):
            raise InvalidClassifier(f"{path} holds what a classifier has no need of: {', '.join(odd)}")
        content = read(path, trusted=[])
        if content["format"] != FORMAT:
            raise InvalidClassifier(f"{path} is {content['format']!r}, this version reads {FORMAT!r}: train it again")
        return Classifier(
            tuple(content["features"]),
            Fitted(content["pipeline"], content["whitening"], content["grains"]),
            content["temperature"],
            content["farthest"],
            content["threshold"],
            content["card"] | {"scikitLearn": content["scikit_learn"]},
        )
    except UntrustedTypesFoundException as error:
        raise InvalidClassifier(f"{path} holds what a classifier has no need of: {error}") from None
    except (BadZipFile, LookupError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        raise InvalidClassifier(f"{path} is damaged or no classifier: {error!r}") from error


def fit(values: NDArray[np.float64], classes: NDArray[np.str_]) -> Fitted:
    """Learns from labelled grains; n × features, n."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    pipeline = Pipeline([("scale", StandardScaler()), ("discriminant", discriminant)]).fit(values, classes)
    whitening = np.linalg.cholesky(np.linalg.inv(discriminant.covariance_))
    return Fitted(pipeline, whitening, pipeline[:-1].transform(values) @ whitening)


def softened(shares: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities, n × classes, at a temperature."""
    powers = shares ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fitted_temperature(shares: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """The temperature at which the true classes are likeliest.

    Args:
        shares: n × classes, of grains that were not learnt from.
        truth: Column of each grain's class.
    """
    from scipy.optimize import minimize_scalar  # noqa: PLC0415

    logarithms = np.log(np.maximum(shares, np.finfo(float).tiny))
    right = np.arange(len(truth)), truth

    def surprise(logarithm: float) -> float:
        scaled = logarithms / np.exp(logarithm)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[right]).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(0.0, np.log(HOTTEST)), method="bounded").x))


def named(
    classes: NDArray[np.str_],
    shares: NDArray[np.float64],
    away: NDArray[np.float64],
    *,
    threshold: float,
    farthest: float,
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Classes and confidences from what `Classifier.judge` returns."""
    likeliest = shares.max(axis=1)
    near = away <= farthest
    names = np.where(near & (likeliest >= threshold), classes[shares.argmax(axis=1)], UNKNOWN)
    return names, np.where(near, likeliest, 0.0)
