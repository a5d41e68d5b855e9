"""What `inspection` asks of a fitted estimator."""

import numpy as np
from sklearn.base import clone

from .._data.edit import Edit


class InspectedEstimator:
    """A fitted estimator as `inspection` sees it; none of its methods changes it.

    Parameters
    ----------
    estimator : BaseDeltaGrad

    Attributes
    ----------
    engine : AbstractEngine
    training_set : TrainingSet
        Its row table is a copy, so that rows can leave it.
    settings : Settings
    default_scoring : str or None
        The score of `inspection.data_values`; None for what `score` of the estimator
        computes.
    """

    def __init__(self, estimator):
        self._estimator = estimator
        self.engine = estimator._engine
        self.training_set = estimator._training_set.aside()
        self.settings = estimator._settings()
        self.default_scoring = estimator._default_scoring

    @property
    def feature_names(self):
        """Names of the columns of `fit`; "x0", "x1", ... where they have none."""
        n_features = self._estimator.n_features_in_
        numbered = [f"x{number}" for number in range(n_features)]
        return tuple(getattr(self._estimator, "feature_names_in_", numbered))

    def output_names(self, n_outputs):
        """Return the classes, or the numbers of the targets, as a tuple."""
        classes = getattr(self._estimator, "classes_", np.arange(n_outputs))
        return tuple(classes.tolist())

    def given_targets(self, y):
        """Return stored targets as they were given to `fit`: labels for codes."""
        classes = getattr(self._estimator, "classes_", None)
        return y if classes is None else classes[y]

    def unfitted(self):
        """Return an estimator for some of the rows, with their stored weights.

        These contain the factors of a ``class_weight`` dict already, but not those of
        "balanced", which depend on the rows.
        """
        other = clone(self._estimator).set_params(verbose=0, callback=None)
        if isinstance(getattr(other, "class_weight", None), dict):
            other.set_params(class_weight=None)
        return other

    def targets_without(self, index):
        """Return `Targets` after the rows of some storage indices have left."""
        return self._estimator._edit_targets(self.training_set.table, Edit(index))

    def codes(self, y):
        """Return given targets as the loss reads them."""
        return self._estimator._code_targets(y)

    def predictions(self, raw):
        """Return targets predicted from raw predictions (..., n_outputs)."""
        return self._estimator._predictions(raw)

    def attributes(self, coef, intercept):
        """Return coefficients as the fitted attributes of the estimator, by name."""
        return self._estimator._publish(coef, intercept)
