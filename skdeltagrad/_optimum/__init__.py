"""The engine of ``solver="newton"``: the converged optimum follows its rows.

An edit is a Newton step from a cached gradient with a cached Hessian, and a bound on
its distance to the new optimum.
"""
