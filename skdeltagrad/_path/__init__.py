"""The engine of ``solver="gd"`` and ``"sgd"``: a cached descent is replayed.

Gradients of most steps are predicted, by L-BFGS as in the paper or by Hessians that are
kept at a few points of the path, instead of being computed.
"""
