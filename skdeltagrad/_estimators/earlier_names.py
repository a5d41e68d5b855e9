"""Earlier names of the estimators' modules, which pickles contain.

A pickle names the module of a class. The modules that pickles of version 0.1 and
earlier name have moved into this folder.
"""

import sys

from . import logistic, ridge

_MODULES = {"skdeltagrad._logistic": logistic, "skdeltagrad._ridge": ridge}


def register() -> None:
    """Let `pickle` find the estimators under the earlier names of their modules."""
    sys.modules.update(_MODULES)
