"""What `inspection` asks of a fitted estimator."""

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
