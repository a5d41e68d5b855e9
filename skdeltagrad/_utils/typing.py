"""Types of what the public functions take; for readers and type checkers."""

from typing import Literal

from numpy.typing import ArrayLike
from scipy import sparse

# Frames are array-like, too.
MatrixLike = ArrayLike | sparse.sparray | sparse.spmatrix
Ids = int | str | ArrayLike
Positions = int | slice | ArrayLike
# What leaves together: those that share an id, or a label.
Groups = Literal["sample_id"] | ArrayLike | None
OnMissing = Literal["raise", "ignore"]
Solver = Literal["newton", "gd", "sgd"]
Kind = Literal["auto", "exact", "subset", "kronecker", "diagonal"]
