"""Training rows as users have them: arrays, tables, data sets, batches.

`as_source` turns all of them into an `AbstractSource`, which delivers checked batches
of NumPy arrays. Whoever reads it never asks what the user gave.
"""
