"""The baseline: logistic regression on which words are there, not on their order."""

from __future__ import annotations

from typing import Any

from input_pipeline import Splits, words_of
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

__all__ = ["bag_of_words"]


def bag_of_words(splits: Splits) -> dict[str, float]:
    """Fits it to the training reviews, its strength chosen by the validation ones.

    Returns:
      `validation_accuracy` and `test_accuracy`.
    """
    analyzer: Any = words_of
    bag = TfidfVectorizer(analyzer=analyzer)
    train = bag.fit_transform(splits.train.texts)
    validation, test = (
        (bag.transform(part.texts), part.labels)
        for part in (splits.validation, splits.test)
    )
    found = []
    for strength in (0.3, 1.0, 3.0, 10.0):
        model = LogisticRegression(C=strength, max_iter=1000)
        model.fit(train, splits.train.labels)
        found.append((model.score(*validation), model))
    accuracy, best = max(found, key=lambda pair: pair[0])
    return {
        "validation_accuracy": float(accuracy),
        "test_accuracy": float(best.score(*test)),
    }
