"""A model of standardised columns, as a pipeline of scikit-learn."""

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def with_scaler(model, spread, with_mean):
    """Return a pipeline of a scaler and a linear model that predicts as it does.

    Parameters
    ----------
    model : linear model
        Fitted; changed in place.
    spread : ColumnSpread
        The columns' means and standard deviations.
    with_mean : bool
        Whether the scaler subtracts the means.
    """
    scaler = StandardScaler(with_mean=with_mean)
    scaler.mean_, scaler.var_ = spread.mean(), spread.variance()
    scaler.scale_ = spread.scale()
    scaler.n_features_in_ = len(scaler.scale_)
    scaler.n_samples_seen_ = np.float64(spread.weight)
    coef = model.coef_
    model.coef_ = coef * scaler.scale_
    if with_mean:
        model.intercept_ = model.intercept_ + coef @ scaler.mean_
    if hasattr(model, "feature_names_in_"):
        scaler.feature_names_in_ = model.feature_names_in_
        del model.feature_names_in_
    return make_pipeline(scaler, model)
