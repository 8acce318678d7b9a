"""Training, and what it says about itself: every figure is of grains that were not learnt from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grainserve.classifier.labelled import FEWEST, Labelled
from grainserve.classifier.model import (
    NOVEL,
    UNKNOWN,
    Classifier,
    fit,
    fitted_temperature,
    named,
    softened,
)
from grainserve.errors import InvalidClassifier

FOLDS = 5
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
RIGHT = 0.95
"""The automatic threshold is the lowest at which this share of the named grains is right."""

BINS = (0.0, 0.5, 0.7, 0.9, 0.97, 1.0)
"""Edges of the confidences whose grains are counted together."""


class _Unseen(NamedTuple):
    """What classifiers say of grains that they have not learnt from: n × classes, n."""

    shares: NDArray[np.float64]
    away: NDArray[np.float64]


def train(data: Labelled, threshold: float | None = None) -> Classifier:
    """Trains a classifier and examines it by cross-validation.

    Args:
        data: What to learn from.
        threshold: Probability of the likeliest class under which a grain is "unknown"; None takes the lowest at which
            95 % of the named grains are right.

    Returns:
        The classifier with its card.

    Raises:
        InvalidClassifier: No threshold is high enough for that.
    """
    fitted, unseen = _fitted(data)
    judged = _Judged(np.array(fitted.classes), data.classes, unseen, fitted.farthest)
    classifier = replace(fitted, threshold=_automatic(judged) if threshold is None else threshold)
    card = {
        "grains": len(data.classes),
        "tables": int(data.tables.max()) + 1,
        "leftOut": data.left_out,
        "folds": _folds(data)[0],
        **judged.at(classifier.threshold),
        "accuracy": _share(judged.likeliest == data.classes),
        "reliability": judged.reliability(),
        "rejection": [{"threshold": each, **judged.outcome(each)} for each in THRESHOLDS],
        "novelty": _novelty(data, classifier.threshold),
    }
    return replace(classifier, card=card)


def _fitted(data: Labelled) -> tuple[Classifier, _Unseen]:
    """A classifier without threshold and card, and what its like say of grains they have not seen."""
    known = np.unique(data.classes)
    shares, away = np.zeros((len(data.classes), len(known))), np.zeros(len(data.classes))
    for learnt, held_out in _folds(data)[1]:
        fitted = fit(data.values[learnt], data.classes[learnt])
        shares[held_out] = fitted.shares(data.values[held_out])
        away[held_out] = fitted.away(data.values[held_out])
    temperature = fitted_temperature(shares, np.searchsorted(known, data.classes))
    farthest = float(np.quantile(away, 1 - NOVEL))
    classifier = Classifier(data.features, fit(data.values, data.classes), temperature, farthest, threshold=0.0)
    return classifier, _Unseen(softened(shares, temperature), away)


def _folds(data: Labelled) -> tuple[str, list[tuple[NDArray[np.intp], NDArray[np.intp]]]]:
    """What is held out together, "tables" or "grains", and the folds.

    Grains of one image share its light, so that whole tables are held out where enough grains of every class are left
    to learn from.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # noqa: PLC0415

    tables = len(np.unique(data.tables))
    if tables > 1:
        splitter = StratifiedGroupKFold(min(FOLDS, tables), shuffle=True, random_state=0)
        folds = list(splitter.split(data.values, data.classes, data.tables))
        known = np.unique(data.classes)
        if all((data.classes[learnt] == name).sum() >= FEWEST for learnt, _ in folds for name in known):
            return "tables", folds
    grains = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return "grains", list(grains.split(data.values, data.classes))


class _Judged:
    """Labelled grains beside what was said of them."""

    def __init__(self, classes: NDArray[np.str_], truth: NDArray[np.str_], unseen: _Unseen, farthest: float) -> None:
        self._classes, self._truth, self._unseen, self._farthest = classes, truth, unseen, farthest
        self.likeliest = classes[unseen.shares.argmax(axis=1)]

    def _named(self, threshold: float) -> NDArray[np.str_]:
        shares, away = self._unseen
        return named(self._classes, shares, away, threshold=threshold, farthest=self._farthest)[0]

    def outcome(self, threshold: float) -> dict[str, float | None]:
        """How many are named, and how many of those rightly."""
        names = self._named(threshold)
        is_named = names != UNKNOWN
        return {"named": _share(is_named), "right": _share(names[is_named] == self._truth[is_named])}

    def at(self, threshold: float) -> dict[str, Any]:
        """The same, class by class."""
        names = self._named(threshold)
        columns = [*self._classes.tolist(), UNKNOWN]
        confusion = [[int(((self._truth == row) & (names == name)).sum()) for name in columns] for row in self._classes]
        per_class = {
            name: {
                "grains": int((self._truth == name).sum()),
                "precision": _share(self._truth[names == name] == name),
                "recall": _share(names[self._truth == name] == name),
            }
            for name in self._classes.tolist()
        }
        return {**self.outcome(threshold), "perClass": per_class, "confusion": {"columns": columns, "rows": confusion}}

    def reliability(self) -> list[dict[str, float | int | None]]:
        """Whether a confidence of 0.9 is right nine times in ten."""
        confidence, right = self._unseen.shares.max(axis=1), self.likeliest == self._truth
        of = np.clip(np.digitize(confidence, BINS) - 1, 0, len(BINS) - 2)
        return [
            {
                "from": BINS[i],
                "to": BINS[i + 1],
                "grains": int((of == i).sum()),
                "confidence": round(float(confidence[of == i].mean()), 4),
                "right": _share(right[of == i]),
            }
            for i in np.unique(of).tolist()
        ]


def _automatic(judged: _Judged) -> float:
    outcomes = {each: judged.outcome(each)["right"] or 0.0 for each in THRESHOLDS}
    for threshold, right in outcomes.items():
        if right >= RIGHT:
            return threshold
    best = max(outcomes, key=lambda each: outcomes[each])
    raise InvalidClassifier(
        f"these measurements do not tell these classes apart: at best {outcomes[best]:.0%} of the named grains are "
        f"right, at threshold {best}; label more grains, join classes that look alike, or say --threshold {best}"
    )


def _novelty(data: Labelled, threshold: float) -> dict[str, float | None]:
    """For each class the share of its grains that a classifier which was never shown it calls unknown."""
    shares: dict[str, float | None] = {}
    known = np.unique(data.classes)
    for name in known.tolist() if len(known) > 2 else []:
        others = data.classes != name
        learnt = replace(data, values=data.values[others], classes=data.classes[others], tables=data.tables[others])
        classifier = replace(_fitted(learnt)[0], threshold=threshold)
        shares[name] = _share(classifier.name(data.values[~others])[0] == UNKNOWN)
    return shares


def _share(those: NDArray[np.bool_]) -> float | None:
    return round(float(those.mean()), 4) if len(those) else None
