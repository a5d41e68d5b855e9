"""The engine of ``solver="newton"``: it keeps a converged optimum.

An edit is a Newton step from a cached gradient with a cached Hessian, and a bound on
its distance to the new optimum.
"""
