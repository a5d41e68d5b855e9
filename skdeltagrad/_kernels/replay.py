"""Predicted steps of a replay: many of them at a call, with nothing of Python between.

What is carried on is the *drift* of the new run from the cached one. With w and s the
cached iterate and step, v = w + drift, and B the Hessian that predicts,

    gradient at w    g = -(s + shrinkage w) / rate             (intercepts not shrunk)
    at v             g' = g + S_b (B drift + r |drift|) + touched rows
                     S_b, B, r: of the rows that stay
    new step         s' = -rate' g' - shrinkage' v
    next drift       drift + s' - s

summed over groups of rows where there are several. Primed are the sizes of the new run.

=========== ==================================== ==================================
argument    shape                                meaning
=========== ==================================== ==================================
first, last scalars                              steps to make: [first, last)
iterate     (n_outputs, n_dof)                   w; OUT: at `last`
drift       (n_outputs, n_dof)                   OUT: likewise
touched     (n_groups, n_outputs, n_dof)         gradient sums of rows that join, at v,
                                                 less those of rows that leave, at w, of
                                                 the first step
residual    (n_groups, n_outputs, n_dof)         r, per unit of weight
n_features  scalar                               columns from here on are intercepts
work        (n_groups + 2, n_outputs, n_dof)     scratch
lengths_out (n_steps,)                           OUT: |drift| at each step
moves_out   (n_steps,)                           OUT: how far it moves from there
bends_out   (n_steps,)                           OUT: |B drift|, over all groups
=========== ==================================== ==================================

Tuples: `cached` and `sizes` hold rate (n_steps,), shrinkage (n_steps, n_outputs) and
group_weight (n_groups,) of the old and the new run; `old_run` and `new_run` their steps
(n_steps, n_outputs, n_dof) and the gradient sums of all groups but the last; `weight`
those of the batches' rows that stay, (n_steps, n_groups); and `hessian` is

=========== ==================================== ==================================
frame       (n_outputs, m)                       Q, coordinates of the loss;
                                                 identity if it is square
basis       (n_directions, n_dof)                u, orthonormal; none where blocks are
                                                 whole Hessians
tail        (n_groups, n_dof)                    second moments in other directions
bends       (n_points, n_groups, m, m)           A, second derivatives of the loss
blocks      (n_points, n_groups, size, size)     C, in the directions u of all
                                                 coordinates, or of each where size is
                                                 n_directions
point       (n_steps,)                           the last point up to a step
progress    (n_steps,)                           how far it is to the next, 0 to 1
=========== ==================================== ==================================

    B = Q (A (x) diag(tail) + U' C U) Q',      A and C between those of two points.
"""

import math

import numpy as np
from numba import njit

_ANY_ORDER = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def _square(drift):
    total = 0.0
    for k in range(drift.shape[0]):
        for j in range(drift.shape[1]):
            total += drift[k, j] ** 2
    return total


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def _add_product(block, factor, vectors, products_out):
    """Add ``factor * block @ vector`` for each of some vectors, given end to end."""
    size = block.shape[0]
    for first in range(0, vectors.shape[0], size):
        vector = vectors[first : first + size]
        for i in range(size):
            row = block[i]
            total = 0.0
            for j in range(size):
                total += row[j] * vector[j]
            products_out[first + i] += factor * total


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def _add_mixed(frame, parts, mixed_out):
    """Add ``frame @ parts``, for a few long parts."""
    for k in range(frame.shape[0]):
        for m in range(frame.shape[1]):
            factor = frame[k, m]
            for j in range(parts.shape[1]):
                mixed_out[k, j] += factor * parts[m, j]


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def hessian_product(drift, step, hessian, products_out):
    """``B drift`` for each group, per unit of weight."""
    frame, basis, tail, bends, blocks, point, progress = hessian
    before, share = point[step], progress[step]
    after = before + 1 if share > 0.0 else before
    framed = frame.shape[0] != frame.shape[1]
    inside = drift
    if framed:
        inside = np.zeros((frame.shape[1], drift.shape[1]))
        _add_mixed(frame.T, drift, inside)
    m, n_dof = inside.shape
    whole = basis.shape[0] == 0
    along = inside if whole else np.dot(inside, basis.T)
    vectors = along.ravel()
    products = np.empty_like(vectors)
    for group in range(products_out.shape[0]):
        products[:] = 0.0
        _add_product(blocks[before, group], 1.0 - share, vectors, products)
        if share > 0.0:
            _add_product(blocks[after, group], share, vectors, products)
        found = products.reshape(along.shape)
        if not whole:
            found = np.dot(found, basis)
            for k in range(m):
                for other in range(m):
                    bend = (1.0 - share) * bends[before, group, k, other]
                    bend += share * bends[after, group, k, other]
                    for j in range(n_dof):
                        found[k, j] += bend * tail[group, j] * inside[other, j]
        out = products_out[group]
        if framed:
            out[:] = 0.0
            _add_mixed(frame, found, out)
        else:
            for k in range(m):  # loops: an array assigned takes seconds to compile
                for j in range(n_dof):
                    out[k, j] = found[k, j]


# The parts of `predict_steps` are inlined. Calls that pass slices of arrays would take
# up to nine times as long as what they compute.
@njit(nogil=True, cache=True, fastmath=_ANY_ORDER, inline="always")
def _stand_still(old_step, iterate, drift):
    """A step of a batch without rows; the square of how far the drift moves."""
    square_of_move = 0.0
    for k in range(drift.shape[0]):
        for j in range(drift.shape[1]):
            move = np.float64(old_step[k, j])
            square_of_move += move * move
            iterate[k, j] += move
            drift[k, j] -= move
    return square_of_move


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER, inline="always")
def _predict_group(
    known, response, residual, touched, length, by_weight, is_first, factors,
    others_out, gradient_out, sums_out,
):  # fmt: skip
    """Gradient sums of a group whose old ones are cached; |response|^2.

    Adds the old and the new sums, times the group's old and new factor, to `others_out`
    and `gradient_out`.
    """
    old_factor, factor = factors
    # Where nobody is left nothing may be: not even the prediction's error, which points
    # along the removed rows.
    somebody = by_weight > 0.0
    square_of_response = 0.0
    for k in range(response.shape[0]):
        for j in range(response.shape[1]):
            others_out[k, j] += old_factor * known[k, j]
            square_of_response += response[k, j] ** 2
            change = response[k, j] + length * residual[k, j]
            sum_ = known[k, j] + by_weight * change if somebody else 0.0
            if is_first:
                sum_ += touched[k, j]
            gradient_out[k, j] += factor * sum_
            sums_out[k, j] = sum_
    return square_of_response


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER, inline="always")
def _step_by_last_group(
    iterate, drift, others, gradient, response, residual, touched, length, by_weight,
    is_first, n_features, old_sizes, sizes, old_step, step_out,
):  # fmt: skip
    """Make a step; the last group's old gradient is what others leave of the old one.

    Returns
    -------
    squares : tuple
        Of the lengths of the response, of the drift's move, and of the drift after it.
    """
    old_rate, old_shrinkage, old_factor = old_sizes
    rate, shrinkage, factor = sizes
    scale = -1.0 / old_rate if old_rate > 0.0 else 0.0
    inverse = 1.0 / old_factor if old_factor > 0.0 else 0.0
    somebody = by_weight > 0.0
    of_response = of_move = of_drift = 0.0
    for k in range(drift.shape[0]):
        for j in range(drift.shape[1]):
            penalised = iterate[k, j] if j < n_features else 0.0
            known = scale * (old_step[k, j] + old_shrinkage[k] * penalised)
            known = inverse * (known - others[k, j])
            of_response += response[k, j] ** 2
            change = response[k, j] + length * residual[k, j]
            sum_ = known + by_weight * change if somebody else 0.0
            if is_first:
                sum_ += touched[k, j]
            total = factor * sum_ + gradient[k, j]
            penalised = iterate[k, j] + drift[k, j] if j < n_features else 0.0
            step_out[k, j] = -rate * total - shrinkage[k] * penalised
            # The step as it is recorded, be it in single precision.
            move = np.float64(step_out[k, j]) - np.float64(old_step[k, j])
            of_move += move * move
            drift[k, j] += move
            of_drift += drift[k, j] ** 2
            iterate[k, j] += old_step[k, j]
    return of_response, of_move, of_drift


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def predict_steps(
    first, last, iterate, drift, touched, residual, n_features, cached, sizes, old_run,
    new_run, weight, hessian, work, lengths_out, moves_out,
    bends_out,
):  # fmt: skip
    """Make steps of a replay; record them in `new_run`, which is OUT.

    Returns
    -------
    step : int
        `last`, or the step before which the drift was no number any more.
    """
    old_rate, old_shrinkage, old_factor = cached
    rate, shrinkage, factor = sizes
    old_steps, old_sums = old_run
    new_steps, new_sums = new_run
    responses, others, gradient = work[:-2], work[-2], work[-1]
    last_group = responses.shape[0] - 1
    square = _square(drift)
    for step in range(first, last):
        length = math.sqrt(square)
        if not math.isfinite(length):
            return step
        lengths_out[step] = length
        if rate[step] == 0.0:
            moves_out[step] = math.sqrt(_stand_still(old_steps[step], iterate, drift))
            square = _square(drift)
            continue
        hessian_product(drift, step, hessian, responses)
        others[:] = 0.0
        gradient[:] = 0.0
        square_of_responses = 0.0
        for group in range(last_group):
            square_of_responses += _predict_group(
                old_sums[step, group], responses[group], residual[group],
                touched[group], length, weight[step, group], step == first,
                (old_factor[group], factor[group]), others, gradient,
                new_sums[step, group],
            )  # fmt: skip
        of_last, square_of_move, square = _step_by_last_group(
            iterate, drift, others, gradient, responses[last_group],
            residual[last_group], touched[last_group], length,
            weight[step, last_group], step == first, n_features,
            (old_rate[step], old_shrinkage[step], old_factor[last_group]),
            (rate[step], shrinkage[step], factor[last_group]), old_steps[step],
            new_steps[step],
        )  # fmt: skip
        moves_out[step] = math.sqrt(square_of_move)
        bends_out[step] = math.sqrt(square_of_responses + of_last)
    return last


@njit(nogil=True, cache=True, fastmath=_ANY_ORDER)
def propagate(
    first, last, change, sources, growth, n_features, sizes, new_run, weight, hessian,
    work, record,
):  # fmt: skip
    """Propagate a change of the new iterate through the steps, by the Hessians.

    `sources`, (n_sources, n_groups, n_outputs, n_dof), add to the gradients, per unit
    of weight, times `growth`, (n_sources, n_steps). `change` is OUT. If `record`, the
    steps of `new_run` are changed accordingly.
    """
    rate, shrinkage, factor = sizes
    new_steps, new_sums = new_run
    responses = work[:-2]
    n_outputs, n_dof = change.shape
    n_groups = responses.shape[0]
    for step in range(first, last):
        if rate[step] == 0.0:
            continue
        hessian_product(change, step, hessian, responses)
        for group in range(n_groups):
            response = responses[group]
            for number in range(sources.shape[0]):
                grown = growth[number, step]
                if grown == 0.0:
                    continue
                for k in range(n_outputs):
                    for j in range(n_dof):
                        response[k, j] += grown * sources[number, group, k, j]
            by_weight = weight[step, group]
            for k in range(n_outputs):
                for j in range(n_dof):
                    response[k, j] *= by_weight
                    if record and group < n_groups - 1:
                        new_sums[step, group, k, j] += response[k, j]
        for k in range(n_outputs):
            for j in range(n_dof):
                gradient = 0.0
                for group in range(n_groups):
                    gradient += factor[group] * responses[group, k, j]
                penalty = shrinkage[step, k] if j < n_features else 0.0
                of_step = -rate[step] * gradient - penalty * change[k, j]
                if record:
                    before = np.float64(new_steps[step, k, j])
                    new_steps[step, k, j] = before + of_step
                    of_step = np.float64(new_steps[step, k, j]) - before
                change[k, j] += of_step
