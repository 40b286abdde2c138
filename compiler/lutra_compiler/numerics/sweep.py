"""Product quantization that minimises the error of a layer's output instead of that of its weights.

With H the second moment of a layer's inputs, the squared error of its output is tr((W - Q) H (W - Q)^T): what one subvector does wrong
others can make good where their inputs are correlated (Frantar 2023, van Baalen 2024).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lutra_compiler.numerics.k_means import CODEWORD_L1_LIMIT, FloatArray, assign, integer_codebook
from lutra_compiler.numerics.product_quantization import ROW_SIZE_FLOOR, QuantizedRows, decode

_DAMPING = 0.01  # of the mean of H's diagonal, added to it
_STEPS = 30  # of conjugate gradients


def output_error(weight: FloatArray, rows: QuantizedRows, hessian: FloatArray) -> float:
    """tr((W - Q) H (W - Q)^T) of a weight [out, ..., channels] and its quantization; H [n, n], n = taps * channels, in a row's order."""
    difference = rows.dense(weight.shape[-1]) - weight.reshape(len(weight), -1)
    return float(np.vdot(difference @ hessian, difference))


def sweep(
    weight: FloatArray,
    rows: QuantizedRows,
    hessian: FloatArray,
    *,
    rounds: int = 2,
    learn: bool = True,
    pin_zero: bool = True,
    norm: int = CODEWORD_L1_LIMIT,
) -> QuantizedRows:
    """Better indices, scales and, with `learn`, codewords for `rows`, which `quantize_rows` found for a weight [out, ..., channels].

    `hessian` [n, n] is the second moment of the inputs of one output, in the order of a flattened row (taps x channels). Indices are
    chosen a subvector at a time, all rows at once, and the error is passed on to the columns that follow through the Cholesky factor
    of H^-1. Each round then solves for the codewords (least squares, rounded to the int8 grid), refits the scales and lets each subvector
    choose again, given all others. What had the least `output_error` is returned: never more than that of `rows`.
    """
    flat = weight.reshape(len(weight), -1)
    blocks = _blocks(weight, rows.codebook.shape[1])
    damped = hessian + np.float32(_DAMPING * max(float(np.trace(hessian)) / len(hessian), 1e-30)) * np.eye(len(hessian), dtype=np.float32)
    found = _with_scales(flat, replace(rows, indices=_propagate(flat, rows, damped, blocks)), hessian)
    best = min(rows, found, key=lambda each: output_error(weight, each, hessian))
    for _ in range(rounds):
        if learn:
            found = _with_scales(flat, _with_codewords(flat, found, damped, pin_zero, norm), hessian)
        found = _with_scales(flat, replace(found, indices=_reconsider(flat, found, hessian, blocks)), hessian)
        best = min(best, found, key=lambda each: output_error(weight, each, hessian))
    return best


def _blocks(weight: FloatArray, subvector: int) -> list[tuple[int, int, slice]]:
    """Tap, subvector and columns of a flattened row of every subvector."""
    channels = weight.shape[-1]
    taps = weight[0].size // channels
    return [
        (tap, number, slice(tap * channels + at, tap * channels + min(at + subvector, channels)))
        for tap in range(taps)
        for number, at in enumerate(range(0, channels, subvector))
    ]


def _propagate(flat: FloatArray, rows: QuantizedRows, hessian: FloatArray, blocks: list[tuple[int, int, slice]]) -> npt.NDArray[np.uint8]:
    """Indices by one pass over the columns, those with the strongest inputs first."""
    power = np.diagonal(hessian)
    order = sorted(blocks, key=lambda block: -float(power[block[2]].mean()))
    columns = np.concatenate([np.arange(block[2].start, block[2].stop) for block in order])
    inverse = np.linalg.inv(hessian[np.ix_(columns, columns)].astype(np.float64))
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T  # H^-1 = U^T U
    left: FloatArray = flat[:, columns] / rows.scale[:, None]
    codebook = rows.codebook.astype(np.float32)
    indices = np.empty_like(rows.indices)
    at = 0
    for tap, number, span in order:
        here, width = slice(at, at + span.stop - span.start), span.stop - span.start
        # In these coordinates the squared error is what remains after the columns that follow have made good what they can.
        whitening: FloatArray = np.linalg.inv(factor[here, here]).astype(np.float32)
        chosen = assign(left[:, here] @ whitening, codebook[:, :width] @ whitening)
        indices[:, tap, number] = chosen
        error = (left[:, here] - codebook[chosen, :width]) @ whitening
        at += width
        left[:, at:] -= error @ factor[here, at:].astype(np.float32)
    return indices


def _reconsider(flat: FloatArray, rows: QuantizedRows, hessian: FloatArray, blocks: list[tuple[int, int, slice]]) -> npt.NDArray[np.uint8]:
    """Indices after each subvector in turn took the best codeword, given all others (coordinate descent)."""
    codebook = rows.codebook.astype(np.float32)
    indices = rows.indices.copy()
    slope = (rows.dense(flat.shape[1] // rows.indices.shape[1]) - flat) / rows.scale[:, None] @ hessian
    for tap, number, span in blocks:
        words = codebook[:, : span.stop - span.start]
        curvature = hessian[span, span]
        now = indices[:, tap, number]
        # (c - c_now) H (c - c_now) + 2 (c - c_now) slope, less what does not depend on c
        cost = np.einsum("kd,kd->k", words @ curvature, words) + 2 * (slope[:, span] - words[now] @ curvature) @ words.T
        chosen = cost.argmin(1)
        everyone = np.arange(len(flat))
        moved = np.flatnonzero(cost[everyone, chosen] < cost[everyone, now])
        slope[moved] += (words[chosen[moved]] - words[now[moved]]) @ hessian[span]
        indices[moved, tap, number] = chosen[moved]
    return indices


def _with_codewords(flat: FloatArray, rows: QuantizedRows, hessian: FloatArray, pin_zero: bool, norm: int) -> QuantizedRows:
    """The codewords of least output error for the indices, by preconditioned conjugate gradients, on the int8 grid."""
    codewords, subvector = rows.codebook.shape
    _, taps, _ = rows.indices.shape
    channels = flat.shape[1] // taps
    places = rows.indices.ravel().astype(np.int64)

    def spread(codebook: npt.NDArray[Any]) -> FloatArray:
        return decode(codebook.astype(np.float32), rows.indices, channels).reshape(flat.shape) * rows.scale[:, None]

    def gather(per_entry: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        scaled = (per_entry * rows.scale[:, None]).reshape(len(flat), taps, channels)
        padded = np.pad(scaled, ((0, 0), (0, 0), (0, -channels % subvector))).reshape(-1, subvector)
        sums: npt.NDArray[np.float64] = np.stack([np.bincount(places, column, codewords) for column in padded.T], axis=1)
        if pin_zero:
            sums[0] = 0
        return sums

    solution = rows.codebook.astype(np.float64)
    weight = np.maximum(gather(np.broadcast_to(np.diagonal(hessian), flat.shape) * rows.scale[:, None]), 1e-30)
    residual = gather((flat - spread(solution)) @ hessian)
    direction = residual / weight
    product = float(np.vdot(residual, direction))
    for _ in range(_STEPS):
        if product <= 1e-30:
            break
        curved = gather(spread(direction) @ hessian)
        step = product / float(np.vdot(direction, curved))
        solution += step * direction
        residual -= step * curved
        preconditioned = residual / weight
        before, product = product, float(np.vdot(residual, preconditioned))
        direction = preconditioned + product / before * direction
    integers, unit = integer_codebook(solution.astype(np.float32), norm, np.bincount(places, minlength=codewords))
    return replace(rows, codebook=integers, scale=rows.scale * np.float32(unit))


def _with_scales(flat: FloatArray, rows: QuantizedRows, hessian: FloatArray) -> QuantizedRows:
    """Row scales of least output error; a row that would want none keeps its own."""
    decoded = decode(rows.codebook.astype(np.float32), rows.indices, flat.shape[1] // rows.indices.shape[1]).reshape(flat.shape)
    heard = decoded @ hessian
    fitted = np.einsum("on,on->o", heard, flat) / np.maximum(np.einsum("on,on->o", heard, decoded), 1e-30)
    return replace(rows, scale=np.where(fitted > ROW_SIZE_FLOOR * fitted.max(), fitted, rows.scale).astype(np.float32))
