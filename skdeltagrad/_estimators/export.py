"""A `StandardScaler` of the rows that an estimator was fitted on."""

import numpy as np
from sklearn.preprocessing import StandardScaler


def scaler_of(spread, with_mean):
    """The scaler that a fit on these rows would give.

    Parameters
    ----------
    spread : ColumnSpread
    with_mean : bool
    """
    scaler = StandardScaler(with_mean=with_mean)
    scaler.mean_, scaler.var_ = spread.mean(), spread.variance()
    scaler.scale_ = spread.scale()
    scaler.n_features_in_ = len(scaler.scale_)
    scaler.n_samples_seen_ = np.float64(spread.weight)
    return scaler
