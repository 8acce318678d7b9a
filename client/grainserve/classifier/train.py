"""Trains a classifier and tests it by cross-validation: every figure comes from held-out grains."""

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
"""Least share of right names among the named grains; the automatic threshold is the lowest that reaches it."""

BINS = (0.0, 0.5, 0.7, 0.9, 0.97, 1.0)
"""Edges of the bins of confidence."""


class _Unseen(NamedTuple):
    """Probabilities, n × classes, and distances, n, of held-out grains."""

    shares: NDArray[np.float64]
    away: NDArray[np.float64]


def train(data: Labelled, threshold: float | None = None) -> Classifier:
    """Trains a classifier and examines it by cross-validation.

    Args:
        data: labelled grains.
        threshold: probability of the likeliest class below which a grain is "unknown"; None takes the lowest of
            `THRESHOLDS` at which 95 % of the named grains are right.

    Returns:
        Classifier with its card.

    Raises:
        InvalidClassifier: no threshold of `THRESHOLDS` reaches 95 %.
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
    """Trains a classifier without threshold and card, and computes what cross-validation says of held-out grains."""
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
    """Makes the folds; returns what they hold out, "tables" or "grains", and the indices of each fold.

    Grains of one image share its light, so folds hold out whole tables where enough grains of every class remain to
    learn from.
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
    """Labelled grains, with what cross-validation says of them."""

    def __init__(self, classes: NDArray[np.str_], truth: NDArray[np.str_], unseen: _Unseen, farthest: float) -> None:
        self._classes, self._truth, self._unseen, self._farthest = classes, truth, unseen, farthest
        self.likeliest = classes[unseen.shares.argmax(axis=1)]

    def _named(self, threshold: float) -> NDArray[np.str_]:
        shares, away = self._unseen
        return named(self._classes, shares, away, threshold=threshold, farthest=self._farthest)[0]

    def outcome(self, threshold: float) -> dict[str, float | None]:
        """Returns the share of grains that a threshold names, and the share of right names among them."""
        names = self._named(threshold)
        is_named = names != UNKNOWN
        return {"named": _share(is_named), "right": _share(names[is_named] == self._truth[is_named])}

    def at(self, threshold: float) -> dict[str, Any]:
        """Returns the outcome at a threshold, in all and for each class, with the confusion matrix."""
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
        """Compares, for each bin of confidence, the mean confidence with the share that is right."""
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
    """Returns for each class the share of its grains that a classifier trained without the class calls unknown."""
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
