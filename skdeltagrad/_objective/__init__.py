"""Losses, and the sums over rows that solvers minimise."""
