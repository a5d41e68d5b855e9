"""The scikit-learn faces: parameters, requests, reports, dumps and exports.

An estimator owns a training set (`_data`) and an engine (`_optimum` or `_path`). It
checks what the caller asks for, lets the engine follow the edit within a transaction,
and publishes coefficients and a report.
"""
