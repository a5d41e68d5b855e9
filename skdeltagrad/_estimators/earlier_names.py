"""Where dumps of earlier versions say that the estimators are.

A pickle names the module of a class. Those of version 0.1 and earlier name modules that
have since moved into this folder; `pickle` finds them under their earlier names, too.
"""

import sys

from . import logistic, ridge

_MODULES = {"skdeltagrad._logistic": logistic, "skdeltagrad._ridge": ridge}


def register() -> None:
    """Let `pickle` find the estimators where earlier versions had them."""
    sys.modules.update(_MODULES)
