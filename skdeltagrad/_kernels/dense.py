"""Products of dense rows, read in place.

========== ============================== ======================================
argument   shape                          meaning
========== ============================== ======================================
X          (n_stored, n_features)         stored rows, C order, float64 or float32
indices    (n_rows,)                      storage indices of the rows to read
coef       (n_outputs, n_dof)             iterate, C order; columns from n_features
                                          on (the intercept) are not read
intercept  (n_outputs,)                   added to every row's product
pointwise  (n_rows, n_outputs)            one number per row and output
*_out      as stated                      OUT: results
========== ============================== ======================================

Four rows times two outputs are kept in registers at once: every entry of X that is
loaded serves two products and every coefficient four. On AVX-512 that is about 17
GFLOP/s a core; four by four was 10% faster and twice the code, one by one a third of
the speed. Sums are re-associated (that is what lets them be vectorised), so results
depend on the machine's vector width in the last bits, never on the thread count.
"""

from numba import njit

_SUM_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, fastmath=_SUM_IN_ANY_ORDER)
def matvec(X, indices, coef, intercept, raw_out):
    """``raw_out[i, k] = sum_j X[indices[i], j] * coef[k, j] + intercept[k]``."""
    n_rows = indices.shape[0]
    n_features = X.shape[1]
    n_outputs = coef.shape[0]
    for i in range(0, n_rows - 3, 4):
        a = X[indices[i]]
        b = X[indices[i + 1]]
        c = X[indices[i + 2]]
        d = X[indices[i + 3]]
        for k in range(0, n_outputs - 1, 2):
            u = coef[k]
            v = coef[k + 1]
            au = av = bu = bv = cu = cv = du = dv = 0.0
            for j in range(n_features):
                au += a[j] * u[j]
                av += a[j] * v[j]
                bu += b[j] * u[j]
                bv += b[j] * v[j]
                cu += c[j] * u[j]
                cv += c[j] * v[j]
                du += d[j] * u[j]
                dv += d[j] * v[j]
            raw_out[i, k] = au + intercept[k]
            raw_out[i, k + 1] = av + intercept[k + 1]
            raw_out[i + 1, k] = bu + intercept[k]
            raw_out[i + 1, k + 1] = bv + intercept[k + 1]
            raw_out[i + 2, k] = cu + intercept[k]
            raw_out[i + 2, k + 1] = cv + intercept[k + 1]
            raw_out[i + 3, k] = du + intercept[k]
            raw_out[i + 3, k + 1] = dv + intercept[k + 1]
        if n_outputs % 2:
            k = n_outputs - 1
            u = coef[k]
            au = bu = cu = du = 0.0
            for j in range(n_features):
                au += a[j] * u[j]
                bu += b[j] * u[j]
                cu += c[j] * u[j]
                du += d[j] * u[j]
            raw_out[i, k] = au + intercept[k]
            raw_out[i + 1, k] = bu + intercept[k]
            raw_out[i + 2, k] = cu + intercept[k]
            raw_out[i + 3, k] = du + intercept[k]
    for i in range(n_rows - n_rows % 4, n_rows):
        a = X[indices[i]]
        for k in range(n_outputs):
            u = coef[k]
            au = 0.0
            for j in range(n_features):
                au += a[j] * u[j]
            raw_out[i, k] = au + intercept[k]


@njit(nogil=True, cache=True, fastmath=_SUM_IN_ANY_ORDER)
def rmatvec(X, indices, pointwise, gradient_out):
    """``gradient_out[k, j] += sum_i pointwise[i, k] * X[indices[i], j]``.

    `gradient_out` has shape (n_outputs, n_dof); columns from n_features on are left
    alone.
    """
    n_rows = indices.shape[0]
    n_features = X.shape[1]
    n_outputs = pointwise.shape[1]
    for i in range(0, n_rows - 3, 4):
        a = X[indices[i]]
        b = X[indices[i + 1]]
        c = X[indices[i + 2]]
        d = X[indices[i + 3]]
        for k in range(0, n_outputs - 1, 2):
            u = gradient_out[k]
            v = gradient_out[k + 1]
            au, av = pointwise[i, k], pointwise[i, k + 1]
            bu, bv = pointwise[i + 1, k], pointwise[i + 1, k + 1]
            cu, cv = pointwise[i + 2, k], pointwise[i + 2, k + 1]
            du, dv = pointwise[i + 3, k], pointwise[i + 3, k + 1]
            for j in range(n_features):
                u[j] += au * a[j] + bu * b[j] + cu * c[j] + du * d[j]
                v[j] += av * a[j] + bv * b[j] + cv * c[j] + dv * d[j]
        if n_outputs % 2:
            k = n_outputs - 1
            u = gradient_out[k]
            au, bu = pointwise[i, k], pointwise[i + 1, k]
            cu, du = pointwise[i + 2, k], pointwise[i + 3, k]
            for j in range(n_features):
                u[j] += au * a[j] + bu * b[j] + cu * c[j] + du * d[j]
    for i in range(n_rows - n_rows % 4, n_rows):
        a = X[indices[i]]
        for k in range(n_outputs):
            u = gradient_out[k]
            au = pointwise[i, k]
            for j in range(n_features):
                u[j] += au * a[j]


@njit(nogil=True, cache=True)
def column_moments(X, indices, weight, shift, count_out, sum_out, square_out):
    """Add 1 (where d is not 0), ``weight * d`` and ``weight * d^2``, d = x - shift.

    `weight` has shape (n_rows,): one weight per entry of `indices`; `shift` has shape
    (n_features,).
    """
    for i in range(indices.shape[0]):
        row = X[indices[i]]
        w = weight[i]
        for j in range(X.shape[1]):
            d = row[j] - shift[j]
            wd = w * d
            count_out[j] += d != 0.0
            sum_out[j] += wd
            square_out[j] += wd * d


@njit(nogil=True, cache=True, fastmath=_SUM_IN_ANY_ORDER)
def squared_distances(X, indices, centre, scale, distance_out):
    """``distance_out[i] = sum_j scale[j] (X[indices[i], j] - centre[j])^2``."""
    for i in range(indices.shape[0]):
        row = X[indices[i]]
        total = 0.0
        for j in range(X.shape[1]):
            difference = row[j] - centre[j]
            total += scale[j] * difference * difference
        distance_out[i] = total


@njit(nogil=True, cache=True)
def extend(X, indices, centre, scale, rows_out):
    """``rows_out[i] = scale[i] (X[indices[i]] - centre, 1)``.

    `scale` has shape (n_rows,), `rows_out` (n_rows, n_features + 1), or
    (n_rows, n_features): then there is no 1.
    """
    n_features = X.shape[1]
    for i in range(indices.shape[0]):
        row = X[indices[i]]
        out = rows_out[i]
        for j in range(n_features):
            out[j] = scale[i] * (row[j] - centre[j])
        for j in range(n_features, out.shape[0]):
            out[j] = scale[i]
