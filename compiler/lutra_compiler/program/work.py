"""How much of each kind of work a kernel call does: what its cycles are a linear function of.

Counts follow the loops of runtime_c/src/kernels and their inner loops; cost_model.py multiplies them with cycles measured for a CPU.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lutra_compiler.program.kernels import is_flat

Fields = Mapping[str, int]
Work = dict[str, float]

GROUP = 8  # LUTRA_GROUP: subvectors of a row whose indices are adjacent
VECTOR = 16  # int8 that CPUs with vectors multiply at once
PATCH_PIXELS = 4  # LUTRA_PATCH_PIXELS
FLAT_WIDTH = 16  # LUTRA_CONV2D_LUT8_FLAT_WIDTH
FAST_SUBVECTORS = (2, 4, 8, 16)  # lengths for which native table loops exist


def work(kernel: str, fields: Fields) -> Work:
    """Counts by kind; each call counts as one "call"."""
    return {"call": 1.0, **_WORK[kernel](fields)}


@dataclass(frozen=True)
class _Axis:
    """How a convolution meets its input along one axis."""

    size: int
    out: int
    kernel: int
    stride: int
    padding: int
    pool: int

    @property
    def whole(self) -> int:
        """Outputs that fill whole pooling windows."""
        return self.out // self.pool * self.pool

    def inside(self, i: int) -> int:
        """Kernel positions of output i that lie inside the image."""
        start = i * self.stride - self.padding
        return max(0, min(start + self.kernel, self.size) - max(start, 0))

    def readings(self) -> list[int]:
        """For each input position that is read: by how many outputs."""
        read = {
            position
            for i in range(self.whole)
            for position in range(i * self.stride - self.padding, i * self.stride - self.padding + self.kernel)
            if 0 <= position < self.size
        }
        return [len(self._outputs(position)) for position in sorted(read)]

    def _outputs(self, position: int) -> list[int]:
        padded = position + self.padding
        return [i for i in range(self.out) if i * self.stride <= padded < i * self.stride + self.kernel]

    def groups(self, pixels: int) -> list["_Group"]:
        """The vectors of `pixels` input positions, a stride apart, in which the axis is read."""
        found = []
        for phase in range(min(self.stride, self.kernel)):
            skipped = max(0, -(-(self.padding - phase) // self.stride))
            position, column = phase + skipped * self.stride - self.padding, skipped
            taps = len(range(phase, self.kernel, self.stride))
            while position < self.size and column < self.out + taps - 1:
                columns = [column + p for p in range(pixels) if position + p * self.stride < self.size]
                met = [[0 <= c - tap < self.out for c in columns] for tap in range(taps)]
                whole = sum(len(columns) == pixels and all(inside) for inside in met)
                touched = sum(map(any, met))
                found.append(_Group(touched, touched - whole + (whole > 0)))
                position, column = position + pixels * self.stride, column + pixels
        return found


@dataclass(frozen=True)
class _Group:
    """Adjacent pixels: at how many kernel positions they meet an output, and in how many passes if whole vectors share one."""

    taps: int
    passes: int


def _axes(f: Fields) -> tuple[_Axis, _Axis]:
    rows, columns = (
        _Axis(f[f"in_{a}"], f[f"out_{a}"], f[f"kernel_{a}"], f[f"stride_{a}"], f[f"pad_{b}"], f[f"pool_{a}"])
        for a, b in (("h", "top"), ("w", "left"))
    )
    return rows, columns


def _subvectors(f: Fields) -> int:
    return -(-f["in_c"] // f["subvector"])


def _parts(count: int) -> int:
    """In how many unrolled pieces of 8, 4, 2 and 1 a row's lookups are done."""
    return count // GROUP + (count % GROUP).bit_count()


def _requantization(f: Fields, calls: int, pixels: float) -> Work:
    return {"requantized": pixels * f["out_c"], "requantize calls": float(calls)}


def _tables(f: Fields, prefix: str, calls: float, vectors: float) -> Work:
    """Lookup tables of `vectors` subvectors."""
    d, entries = f["subvector"], vectors * (1 << f["log2_codewords"])
    if d in FAST_SUBVECTORS:
        return {f"{prefix} calls": calls, f"{prefix} d{d}": vectors, f"{prefix} entries d{d}": entries}
    return {f"{prefix} calls": calls, f"{prefix} other": vectors, f"{prefix} entries other": entries, f"{prefix} products": entries * d}


def _conv2d_lut(pixels: int) -> Callable[[Fields], Work]:
    def count(f: Fields) -> Work:
        rows, columns = _axes(f)
        subvectors, taps, out_c = _subvectors(f), f["kernel_h"] * f["kernel_w"], f["out_c"]
        blocks = [min(f["block"], subvectors - first) for first in range(0, subvectors, f["block"])]
        readings, groups = rows.readings(), columns.groups(pixels)
        builds, sweeps = len(readings) * len(groups), sum(readings) * sum(group.taps for group in groups)
        passes = sum(readings) * sum(group.passes for group in groups) if f["keep_offsets"] else sweeps
        padding_sweeps = taps if f["padded"] else 0
        all_sweeps = sweeps + padding_sweeps
        packed = "packed " if f["packed_sums"] else ""
        begun = min(rows.out, rows.whole + -(-f["kernel_h"] // f["stride_h"]))
        edge = sum(taps - rows.inside(i) * columns.inside(j) for i in range(begun) for j in range(columns.out)) if f["padded"] else 0
        outputs = rows.whole * columns.whole
        return {
            "rows": float(len(readings)),
            f"{f['index_bits']}-bit expanded": float((taps if f["keep_offsets"] else all_sweeps) * out_c * subvectors),
            "expanded groups": float((taps if f["keep_offsets"] else all_sweeps) * out_c * sum(-(-b // GROUP) for b in blocks)),
            "passes": float((passes + padding_sweeps) * len(blocks)),
            "sweep rows": float(all_sweeps * out_c * sum(map(_parts, blocks))),
            "swept groups": float(all_sweeps * out_c * sum(-(-b // GROUP) for b in blocks)),
            "swept fours": float(all_sweeps * out_c * sum(-(-b // 4) for b in blocks)),
            f"{packed}lookups": float(all_sweeps * out_c * subvectors),
            "edge": float(edge * out_c),
            "begun": float(begun * columns.out),
            "zeroed": float(begun * columns.out * out_c),
            **_tables(f, "tables", builds * (len(blocks) + (f["in_c"] % f["subvector"] > 0)), float(builds * subvectors)),
            **_requantization(f, outputs, outputs),
        }

    return count


def _conv2d_lut8(f: Fields) -> Work:
    rows, columns = _axes(f)
    readings, whole, in_w = rows.readings(), columns.whole, f["in_w"]
    if is_flat(f):
        readings, whole, in_w = [1] * -(-f["in_h"] * in_w // FLAT_WIDTH), FLAT_WIDTH, FLAT_WIDTH
    m, out_c, stride = _subvectors(f), f["out_c"], f["stride_w"]
    blocks = [min(f["block"], m - first) for first in range(0, m, f["block"])]
    groups = [min(GROUP, block - first) for block in blocks for first in range(0, block, GROUP)]
    taps = [len(range(phase, f["kernel_w"], stride)) for phase in range(min(stride, f["kernel_w"]))]
    fours = sum(-(-t * size // 4) for t in taps for size in groups)  # a row of sums and kernel row
    vectors, passes = -(-whole // 8), -(-whole // 16)
    single = vectors - 2 * (passes - 1) == 1
    sweeps = sum(readings)
    margins = (len(readings) if len(blocks) > 1 else 1) * sum(-(-b // 4) for b in blocks) * (1 if f["pad_left"] else 0) * 2
    tables = len(readings) * len(taps) * -(in_w // -stride // 8) * sum(-(-b // 4) for b in blocks) + margins
    expansions = (f["kernel_h"] if f["keep_offsets"] else sweeps) * sum(taps) * len(groups) * out_c
    outputs = float(rows.whole * whole) if not is_flat(f) else float(f["in_h"] * f["in_w"])
    return {
        "rows": float(len(readings)),
        "sweeps": float(sweeps * len(taps) * len(groups) * passes),
        "sweep rows": float(sweeps * len(taps) * len(groups) * passes * out_c),
        "lookups": float(4 * sweeps * fours * vectors * out_c),
        "single lookups": float(4 * sweeps * fours * single * out_c),
        "expanded rows": float(expansions),
        "padding lookups": float(f["kernel_h"] * f["kernel_w"] * m * out_c if f["padded"] else 0),
        "cleared": float(min(-(-f["kernel_h"] // f["stride_h"]), f["out_h"]) * vectors * 8 * out_c),
        **_tables(f, "tables", float(tables), float(tables)),
        "requantize calls": float(rows.whole if not is_flat(f) else len(readings)),
        "requantize rows": float((rows.whole if not is_flat(f) else len(readings)) * -(-out_c // 4)),
        ("requantized words" if out_c % 4 == 0 and f["pool_h"] * f["pool_w"] == 1 else "requantized bytes"): outputs / f["pool_w"] * out_c,
        "pooled": float(outputs * out_c if f["pool_w"] > 1 else 0),
    }


def _patches(f: Fields, channels: int, out_c: int) -> Work:
    """Dense products of `out_c` channels that read `channels` channels, at every output pixel."""
    rows, columns = _axes(f)
    length = f["kernel_h"] * f["kernel_w"] * channels
    pixels = rows.whole * columns.whole
    sizes = [min(PATCH_PIXELS, columns.whole - j) for j in range(0, columns.whole, PATCH_PIXELS)]
    dots = rows.whole * out_c * sum(2 * -(-size // 2) for size in sizes)
    # A row of taps is copied at once where all of it is inside and all channels are read, else tap by tap.
    whole_columns = sum(columns.inside(j) == f["kernel_w"] for j in range(columns.whole)) if channels == f["in_c"] else 0
    runs = f["kernel_h"] * rows.whole * (whole_columns + (columns.whole - whole_columns) * f["kernel_w"])
    return {
        "patches": float(pixels),
        "patch calls": float(rows.whole * len(sizes)),
        "runs": float(runs),
        "copied": float(pixels * length),
        "filter calls": float(rows.whole * len(sizes) * out_c),
        "dots" if length >= 4 else "short dots": float(dots),
        f"tails of {length % 4}": float(dots * (length % 4 > 0)),
        "products": float(dots * (length // 4 * 4)),
        "vectors": float(dots * -(-length // VECTOR)),
        "filter products": float(rows.whole * len(sizes) * out_c * length),  # of loops that always do all pixels of a patch
        "requantized": float(pixels * out_c),
    }


def _conv2d_dense(f: Fields) -> Work:
    groups = f["groups"]
    once = _patches(f, f["in_c"] // groups, f["out_c"] // groups)
    return {name: groups * count for name, count in once.items()}


def _conv2d_decode(f: Fields) -> Work:
    subvectors, taps = _subvectors(f), f["kernel_h"] * f["kernel_w"]
    total: Work = {
        "decoded": float(taps * subvectors * f["out_c"]), "decoded values": float(taps * f["in_c"] * f["out_c"]),
        "decoded rows": float(taps * f["out_c"]),
    }
    for first in range(0, f["out_c"], f["block"]):
        for name, count in _patches(f, f["in_c"], min(f["block"], f["out_c"] - first)).items():
            total[name] = total.get(name, 0.0) + count
    return total


def _conv2d_depthwise(f: Fields) -> Work:
    rows, columns = _axes(f)
    inside_rows = [rows.inside(i) for i in range(rows.whole)]
    inside_columns = [columns.inside(j) for j in range(columns.whole)]
    pixels, taps, channels = rows.whole * columns.whole, f["kernel_h"] * f["kernel_w"], f["out_c"]
    inside = sum(inside_rows) * sum(inside_columns)
    border = pixels - inside_rows.count(f["kernel_h"]) * inside_columns.count(f["kernel_w"]) if f["padded"] else 0
    seen = pixels * taps if f["padded"] else inside  # a window at the border is completed first
    return {
        "pixels": float(pixels),
        "border": float(border),
        "border values": float(border * taps * channels),
        "taps": float(seen),
        "products": float(seen * (channels // 4 * 4)),
        "tail products": float(seen * (channels % 4)),
        "channel words": float(pixels * -(-channels // 4)),
        "tap vectors": float(seen * -(-channels // VECTOR)),
        "channel vectors": float(pixels * -(-channels // VECTOR)),
        "channels": float(pixels * channels),
    }


def _linear_tables(f: Fields) -> Work:
    subvectors = _subvectors(f)
    return _tables(f, "tables", -(-subvectors // GROUP) + (f["in_c"] % f["subvector"] > 0), float(subvectors))


def _linear_lut(f: Fields) -> Work:
    full, rest = divmod(_subvectors(f), GROUP)
    bits = f["index_bits"]
    fast = bits == 8 or f["log2_codewords"] == 4
    whole = {f"{bits}-bit lookups": float(full * GROUP * f["out_c"]), f"{bits}-bit rows": float(full * f["out_c"])}
    slow = {"slow lookups": float(full * GROUP * f["out_c"])}
    return {
        **(whole if fast else slow),
        f"{bits}-bit rest": float(rest * f["out_c"]),
        "rest of four": float((rest & 4 > 0) * f["out_c"]),
        "rest of less": float((rest & 3 > 0) * f["out_c"]),
        "groups": float(full + (rest > 0)),
        **_linear_tables(f),
        **_requantization(f, 1, 1),
    }


def _linear_pairs(f: Fields) -> Work:
    full, rest = divmod(_subvectors(f), GROUP)
    return {
        "pair tables": float(full), "pair rows": float(full * f["out_c"]), "rest lookups": float(rest * f["out_c"]),
        "rest rows": float((rest > 0) * f["out_c"]), **_linear_tables(f), **_requantization(f, 1, 1),
    }


def _linear_decode(f: Fields) -> Work:
    subvectors, out_c = _subvectors(f), f["out_c"]
    return {
        "rows": float(out_c), "groups": float(out_c * -(-subvectors // GROUP)), "subvectors": float(out_c * subvectors),
        "products": float(out_c * f["in_c"]),
    }


def _linear_dense(f: Fields) -> Work:
    length, out_c = f["in_c"], f["out_c"]
    single = out_c % 4  # rows that are not one of four
    return {
        "rows": float(out_c), "row chunks": float(-(-out_c // 8)), "products": float((out_c - single) * (length // 4 * 4)),
        "tails": float(out_c * (length % 4)), "vectors": float(out_c * -(-length // VECTOR)),
        "single products": float(single * length), "single rows": float(single),
    }


def _max_pool(f: Fields) -> Work:
    outputs = f["out_h"] * f["out_w"]
    taps = outputs * f["kernel_h"] * f["kernel_w"]
    return {"pixels": float(outputs), "taps": float(taps), "values": float(taps * f["in_c"])}


def _average_pool(f: Fields) -> Work:
    outputs = f["out_h"] * f["out_w"] * f["in_c"]
    return {"outputs": float(outputs), "taps": float(outputs * f["kernel_h"] * f["kernel_w"])}


def _add(f: Fields) -> Work:
    return {"values": float(f["size_low"] + 65536 * f["size_high"])}


def _rescale(f: Fields) -> Work:
    pixels = f["pixels_low"] + 65536 * f["pixels_high"]
    return {"pixels": float(pixels), "values": float(pixels * f["channels"])}


def _slice_pad(f: Fields) -> Work:
    pixels = f["out_h"] * f["out_w"]
    return {"pixels": float(pixels), "values": float(pixels * f["out_c"])}


def _softmax(f: Fields) -> Work:
    return {"pixels": float(f["pixels"]), "values": float(f["pixels"] * f["channels"])}


_WORK: Mapping[str, Callable[[Fields], Work]] = {
    "lutra_conv2d_lut": _conv2d_lut(2),
    "lutra_conv2d_lut8": _conv2d_lut8,
    "lutra_conv2d_decode": _conv2d_decode,
    "lutra_conv2d_dense": _conv2d_dense,
    "lutra_conv2d_depthwise": _conv2d_depthwise,
    "lutra_linear_lut": _linear_lut,
    "lutra_linear_pairs": _linear_pairs,
    "lutra_linear_decode": _linear_decode,
    "lutra_linear_dense": _linear_dense,
    "lutra_max_pool": _max_pool,
    "lutra_average_pool": _average_pool,
    "lutra_add_int8": _add,
    "lutra_rescale_int8": _rescale,
    "lutra_slice_pad_int8": _slice_pad,
    "lutra_softmax_int8": _softmax,
}
