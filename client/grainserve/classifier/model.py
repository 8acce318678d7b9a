"""The classifier: its statistics, and its file.

Linear discriminant analysis with a shrunken covariance (Ledoit & Wolf 2004): one normal distribution a class, all of
one covariance, so that fifty grains a class are enough. Two answers come from it:

- which class: its probabilities, softened by one temperature (Guo et al. 2017) that is fitted on grains that the fold
  at hand has not seen, so that of grains named with 0.9, nine in ten are right;
- whether it is any class: the Mahalanobis distance to the nearest one (Lee et al. 2018). A probability does not tell
  that: far away from all classes, one of them is still by far the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from grainserve.errors import InvalidClassifier

FORMAT = "grainserve classifier 1"
UNKNOWN = "unknown"

NOVEL = 0.02
"""Share of grains of the known classes that may be called unlike all of them."""

HOTTEST = 20.0
"""Temperatures go from 1, the pipeline's own probabilities, to this: never surer than it is."""


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        features: Columns of the table, in the pipeline's order.
        pipeline: StandardScaler, then LinearDiscriminantAnalysis.
        temperature: 1 or more: how much too sure the pipeline's own probabilities are.
        farthest: Mahalanobis distance to the nearest class beyond which a grain is "unknown".
        threshold: Probability of the likeliest class under which a grain is "unknown".
        card: What is known about it: `validation.examine`.
    """

    features: tuple[str, ...]
    pipeline: Any
    temperature: float
    farthest: float
    threshold: float
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The classes it knows, without "unknown"."""
        return [str(name) for name in self.pipeline.classes_]

    def judge(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Calibrated probabilities, n × classes, and distances to the nearest class, n; the worker judges alike.

        Args:
            values: n × features, finite.
        """
        return softened(self.pipeline.predict_proba(values), self.temperature), distances(self.pipeline, values)

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
            "pipeline": self.pipeline,
            "temperature": self.temperature,
            "farthest": self.farthest,
            "threshold": self.threshold,
            "card": self.card,
        }
        dump(content, path)


def load(path: Path) -> Classifier:
    """Reads a classifier, without running anything that is in the file.

    Raises:
        InvalidClassifier: It is damaged or no classifier.
    """
    from skops.io import load as read  # noqa: PLC0415
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        content = read(path, trusted=[])
        if content["format"] != FORMAT:
            raise InvalidClassifier(f"{path} is {content['format']!r}, this version reads {FORMAT!r}: train it again")
        return Classifier(
            tuple(content["features"]),
            content["pipeline"],
            content["temperature"],
            content["farthest"],
            content["threshold"],
            content["card"] | {"scikitLearn": content["scikit_learn"]},
        )
    except UntrustedTypesFoundException as error:
        raise InvalidClassifier(f"{path} holds what a classifier has no need of: {error}") from None
    except (BadZipFile, LookupError, ValueError, TypeError, AttributeError) as error:
        raise InvalidClassifier(f"{path} is damaged or no classifier: {error!r}") from error


def fit(values: NDArray[np.float64], classes: NDArray[np.str_]) -> Any:
    """The pipeline, fitted; n × features, n."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: PLC0415
    from sklearn.pipeline import Pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    discriminant = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return Pipeline([("scale", StandardScaler()), ("discriminant", discriminant)]).fit(values, classes)


def distances(pipeline: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mahalanobis distance of each of n grains to the nearest class."""
    discriminant = pipeline[-1]
    away = pipeline[:-1].transform(values)[:, None] - discriminant.means_
    precision = np.linalg.pinv(discriminant.covariance_, hermitian=True)
    return np.asarray(np.sqrt(np.einsum("nki,ij,nkj->nk", away, precision, away).min(axis=1)))


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
