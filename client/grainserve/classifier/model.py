"""The classifier: its statistics, and its file.

It is a linear discriminant analysis with a shrunken covariance (Ledoit & Wolf 2004): a normal distribution for each
class, all with the same covariance, so that fifty grains of a class are enough. It answers two questions:

- Which class is it? The probabilities of the classes say, softened by a temperature (Guo et al. 2017). The temperature
  is fitted on held-out grains, so that nine in ten grains named with 0.9 are right.
- Is it any class at all? The mean distance to the five nearest labelled grains says, in standard deviations within a
  class. Probabilities do not: even far away from all classes, one class is by far the nearest.
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
"""Share of grains of the known classes that may count as unlike all classes."""

HOTTEST = 20.0
"""Highest temperature. The lowest is 1, so that probabilities never become surer than the pipeline's own."""


@dataclass(frozen=True)
class Fitted:
    """Numbers that training learns from labelled grains.

    Attributes:
        pipeline: StandardScaler, then LinearDiscriminantAnalysis.
        whitening: features × features; maps the scatter within a class to a unit sphere.
        grains: n × features, labelled grains in the whitened space.
    """

    pipeline: Any
    whitening: NDArray[np.float64]
    grains: NDArray[np.float64]

    def shares(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the probabilities of the classes before the temperature, n × classes.

        Args:
            values: n × features, finite.
        """
        return np.asarray(self.pipeline.predict_proba(values))

    def away(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the mean distance to the nearest labelled grains, n, in standard deviations.

        Args:
            values: n × features, finite.
        """
        from scipy.spatial.distance import cdist  # noqa: PLC0415

        distances = cdist(self.pipeline[:-1].transform(values) @ self.whitening, self.grains)
        return np.asarray(np.partition(distances, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS].mean(axis=1))


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        features: columns of the table, in the pipeline's order.
        fitted: what training learnt from labelled grains.
        temperature: divisor of the log probabilities, 1 or more; 1 keeps the pipeline's own probabilities.
        farthest: distance to the nearest labelled grains, in standard deviations, beyond which a grain is "unknown".
        threshold: probability of the likeliest class below which a grain is "unknown".
        card: figures of the training and its cross-validation; see `train`.
    """

    features: tuple[str, ...]
    fitted: Fitted
    temperature: float
    farthest: float
    threshold: float
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Names of the known classes, without "unknown"."""
        return [str(name) for name in self.fitted.pipeline.classes_]

    def judge(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Computes what decides the class of each grain, in the same way as the worker.

        Args:
            values: n × features, finite.

        Returns:
            Calibrated probabilities, n × classes, and distances of `Fitted.away`, n.
        """
        return softened(self.fitted.shares(values), self.temperature), self.fitted.away(values)

    def name(self, values: NDArray[np.float64]) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
        """Names the classes of n grains.

        Args:
            values: n × features; a grain with a value that is not finite is "unknown" with confidence 0.

        Returns:
            n names of classes and n confidences, as results have them.
        """
        names, confidence = np.full(len(values), UNKNOWN, dtype=object), np.zeros(len(values))
        known = np.isfinite(values).all(axis=1)
        if known.any():
            shares, away = self.judge(values[known])
            names[known], confidence[known] = named(
                np.array(self.classes), shares, away, threshold=self.threshold, farthest=self.farthest
            )
        return names.astype(np.str_), confidence

    def save(self, path: Path) -> None:
        """Writes the file that `load` and workers read."""
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
    """Reads a classifier. Runs no code from the file, and unpacks no more than a classifier holds.

    Raises:
        InvalidClassifier: the file is damaged, too large or no classifier.
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
    """Learns from labelled grains.

    Args:
        values: n × features, finite.
        classes: n, names of the classes.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    pipeline = Pipeline([("scale", StandardScaler()), ("discriminant", discriminant)]).fit(values, classes)
    whitening = np.linalg.cholesky(np.linalg.inv(discriminant.covariance_))
    return Fitted(pipeline, whitening, pipeline[:-1].transform(values) @ whitening)


def softened(shares: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Softens probabilities by a temperature.

    Args:
        shares: n × classes, probabilities.
        temperature: 1 keeps the probabilities; a higher temperature evens them out.
    """
    powers = shares ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fitted_temperature(shares: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """Fits the temperature that makes the true classes likeliest.

    Args:
        shares: n × classes, probabilities of held-out grains.
        truth: n, column of each grain's true class.
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
    """Names grains by the two values that `Classifier.judge` returns.

    Args:
        classes: names of the classes.
        shares: n × classes, calibrated probabilities.
        away: n, distances to the nearest labelled grains.
        threshold: probability of the likeliest class below which a grain is "unknown".
        farthest: distance beyond which a grain is "unknown".

    Returns:
        n names of classes and n confidences; 0 for a grain beyond `farthest`.
    """
    likeliest = shares.max(axis=1)
    near = away <= farthest
    names = np.where(near & (likeliest >= threshold), classes[shares.argmax(axis=1)], UNKNOWN)
    return names, np.where(near, likeliest, 0.0)
