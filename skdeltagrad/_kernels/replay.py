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
    n_outputs, n_dof = drift.shape
    n_groups = responses.shape[0]
    last_group = n_groups - 1
    of_last = old_factor[last_group]
    square = _square(drift)
    for step in range(first, last):
        length = math.sqrt(square)
        if not math.isfinite(length):
            return step
        lengths_out[step] = length
        old_step = old_steps[step]
        if rate[step] == 0.0:  # nobody is left: the new run stands still
            square_of_move = 0.0
            for k in range(n_outputs):
                for j in range(n_dof):
                    move = np.float64(old_step[k, j])
                    square_of_move += move * move
                    iterate[k, j] += move
                    drift[k, j] -= move
            square = _square(drift)
            moves_out[step] = math.sqrt(square_of_move)
            continue
        hessian_product(drift, step, hessian, responses)
        if n_groups > 1:
            others[:] = 0.0
            gradient[:] = 0.0
        square_of_response = 0.0
        for group in range(last_group):
            response = responses[group]
            by_weight = weight[step, group]
            # Where nobody is left nothing may be: not even the prediction's error,
            # which points along the removed rows.
            somebody = weight[step, group] > 0.0
            for k in range(n_outputs):
                for j in range(n_dof):
                    known = old_sums[step, group, k, j]
                    others[k, j] += old_factor[group] * known
                    square_of_response += response[k, j] ** 2
                    change = response[k, j] + length * residual[group, k, j]
                    sum_ = known + by_weight * change if somebody else 0.0
                    if step == first:
                        sum_ += touched[group, k, j]
                    gradient[k, j] += factor[group] * sum_
                    new_sums[step, group, k, j] = sum_
        # The last group's gradient is what the others leave of the step.
        scale = -1.0 / old_rate[step] if old_rate[step] > 0.0 else 0.0
        inverse = 1.0 / of_last if of_last > 0.0 else 0.0
        response = responses[last_group]
        by_weight = weight[step, last_group]
        somebody = weight[step, last_group] > 0.0
        square = square_of_move = 0.0
        for k in range(n_outputs):
            for j in range(n_dof):
                penalised = iterate[k, j] if j < n_features else 0.0
                known = scale * (old_step[k, j] + old_shrinkage[step, k] * penalised)
                if n_groups > 1:
                    known = inverse * (known - others[k, j])
                square_of_response += response[k, j] ** 2
                change = response[k, j] + length * residual[last_group, k, j]
                sum_ = known + by_weight * change if somebody else 0.0
                if step == first:
                    sum_ += touched[last_group, k, j]
                total = factor[last_group] * sum_
                if n_groups > 1:
                    total += gradient[k, j]
                penalised = iterate[k, j] + drift[k, j] if j < n_features else 0.0
                new_steps[step, k, j] = (
                    -rate[step] * total - shrinkage[step, k] * penalised
                )
                # The step as it is recorded, be it in single precision.
                move = np.float64(new_steps[step, k, j]) - np.float64(old_step[k, j])
                square_of_move += move * move
                drift[k, j] += move
                square += drift[k, j] ** 2
                iterate[k, j] += old_step[k, j]
        moves_out[step] = math.sqrt(square_of_move)
        bends_out[step] = math.sqrt(square_of_response)
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
