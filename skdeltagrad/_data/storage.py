"""The only module that asks what X is: a new source of rows is recognised here."""

from scipy import sparse

from .csr_rows import CsrRows
from .dense_rows import DenseRows
from .growing_array import in_memory


def canonical(X):
    """Return rows as they are stored.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)

    Returns
    -------
    X : ndarray or CSR matrix
        A CSR matrix has sorted columns, each at most once in a row. It is copied if it
        had not.
    """
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def store(X, array=in_memory):
    """Copy a C-ordered array or a canonical CSR matrix into an `AbstractRows`.

    ``array(name, values)`` makes the `GrowingArray` of each of its parts.
    """
    return CsrRows(X, array) if sparse.issparse(X) else DenseRows(X, array)


def nbytes(X):
    """Return the number of bytes that a copy of the entries of X takes."""
    return X.data.nbytes + X.indices.nbytes if sparse.issparse(X) else X.nbytes
