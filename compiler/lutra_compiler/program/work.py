"""How much of each kind of work a kernel call does: what its cycles are a linear function of.

Counts follow the loops of runtime_c/src/kernels and their inner loops; cost_model.py multiplies them with cycles measured for a CPU.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from lutra_compiler.program.kernels import COPY_AXES, DECODED_ROWS, FUNCTIONS, STEPS_CHANNELS, STEPS_PIXELS, is_flat, lanes8

Fields = Mapping[str, int]
Work = dict[str, float]

GROUP = 8  # LUTRA_GROUP: subvectors of a row whose indices are adjacent
VECTOR = 16  # int8 that CPUs with vectors multiply at once
PATCH_PIXELS = 4  # LUTRA_PATCH_PIXELS
FLAT_WIDTH = 16  # LUTRA_CONV2D_LUT8_FLAT_WIDTH
LINE_PIXELS = 4  # LUTRA_LINE_PIXELS
LINE, SHORT_LINE = 32, 6  # outputs of a channel that are computed at once, and too few of them (arm_v7m)
NEAR_BYTES = 256  # of tables that 8-bit offsets reach
FAST_SUBVECTORS = (2, 4, 8, 16)  # lengths for which native table loops exist
FAST_DECODING = ((8, 2), (8, 4), (8, 8), (4, 1))  # bits of an index and subvectors for which native decoding loops exist


def work(kernel: str, fields: Fields) -> Work:
    """Counts by kind; each call counts as one "call". `fields`: the descriptor's, and of lutra_unpack_indices those of
    index_coding.Search."""
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

    def runs(self) -> list[tuple[int, int]]:
        """Adjacent outputs whose windows reach equally far beyond the image: how many, and their kernel positions inside."""
        extent, found, last = min(self.kernel, self.size), list[tuple[int, int]](), None
        for i in range(self.out):
            start = i * self.stride - self.padding
            moved = max(0, min(start, self.size - extent)) - start
            found[-1:] = [(found[-1][0] + 1, found[-1][1])] if moved == last else [*found[-1:], (1, self.inside(i))]
            last = moved
        return found

    def readings(self) -> list[int]:
        """For each input position that is read: by how many outputs."""
        read = {
            position
            for i in range(self.whole)
            for position in range(i * self.stride - self.padding, i * self.stride - self.padding + self.kernel)
            if 0 <= position < self.size
        }
        return [len(self._outputs(position)) for position in sorted(read)]

    def _outputs(self, position: int) -> range:
        padded = position + self.padding
        return range(max(0, (padded - self.kernel) // self.stride + 1), min(self.out, padded // self.stride + 1))

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


def _parts(count: int, near: bool) -> int:
    """In how many unrolled pieces a row's lookups are done: `near` of 4 and up to 3, else of 8, 4 and 1 (arm_v7m)."""
    if near:
        return -(-count // 4)
    return count // GROUP + (count % GROUP >= 4) + count % 4


def _requantization(channels: int, calls: float, pixels: int, pooled: float = 0.0) -> Work:
    """`calls` for `pixels` pixels each, and `pooled` pixels more that are compared with what is stored."""
    return {
        "requantize calls": calls + pooled,
        "requantize blocks": calls * -(-channels // 4) if pixels > 1 else 0.0,
        "outputs in pairs": calls * (pixels // 2 * 2) * channels,
        "single outputs": calls * (pixels % 2) * channels,
        "pooled outputs": pooled * channels,
    }


def _pooled_requantization(f: Fields, rows: _Axis, columns: _Axis) -> Work:
    pixels = rows.whole * columns.whole
    windows = pixels / (f["pool_h"] * f["pool_w"])
    return _requantization(f["out_c"], windows, 1, pixels - windows)


def _sum(parts: Iterable[Work]) -> Work:
    total: Work = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0.0) + count
    return total


def _tables(f: Fields, prefix: str, calls: float, vectors: float) -> Work:
    """Lookup tables of `vectors` subvectors."""
    d, entries = f["subvector"], vectors * (1 << f["log2_codewords"])
    if d in FAST_SUBVECTORS:
        return {f"{prefix} calls": calls, f"{prefix} d{d}": vectors, f"{prefix} entries d{d}": entries}
    return {f"{prefix} calls": calls, f"{prefix} other": vectors, f"{prefix} entries other": entries, f"{prefix} products": entries * d}


def _edge(f: Fields, inside: int, columns: _Axis) -> int:
    """How often the sums of a padded tap are added to an output row with `inside` kernel rows inside the image: kernel rows outside add up
    before every pixel gets their sum."""
    above = f["kernel_h"] - inside
    return above * f["kernel_w"] + (above > 0) * columns.out + inside * sum(f["kernel_w"] - columns.inside(j) for j in range(columns.out))


def _conv2d_lut(pixels: int) -> Callable[[Fields], Work]:
    def count(f: Fields) -> Work:
        rows, columns = _axes(f)
        subvectors, taps, out_c = _subvectors(f), f["kernel_h"] * f["kernel_w"], f["out_c"]
        blocks = _blocks(subvectors, f["block"])
        readings, groups = rows.readings(), columns.groups(pixels)
        builds, sweeps = len(readings) * len(groups), sum(readings) * sum(group.taps for group in groups)
        passes = sum(readings) * sum(group.passes for group in groups) if f["keep_offsets"] else sweeps
        padding_sweeps = taps if f["padded"] else 0
        all_sweeps = sweeps + padding_sweeps
        packed = "packed " if f["packed_sums"] else ""
        near = 4 * f["block"] << f["log2_codewords"] <= NEAR_BYTES
        most, kind = (4, "near ") if near else (GROUP, "")
        begun = min(rows.out, rows.whole + -(-f["kernel_h"] // f["stride_h"]))
        edge = sum(_edge(f, rows.inside(i), columns) for i in range(begun)) if f["padded"] else 0
        pooled = f["pool_h"] * f["pool_w"] > 1
        return {
            "rows": float(len(readings)),
            f"{f['index_bits']}-bit expanded": float((taps if f["keep_offsets"] else all_sweeps) * out_c * subvectors),
            "expanded groups": float((taps if f["keep_offsets"] else all_sweeps) * out_c * sum(-(-b // GROUP) for b in blocks)),
            "passes": float((passes + padding_sweeps) * len(blocks)),
            f"{kind}sweep rows": float(all_sweeps * out_c * sum(_parts(b, near) for b in blocks)),
            f"{kind}swept groups": float(all_sweeps * out_c * sum(-(-b // most) for b in blocks)),
            "swept fours": float(all_sweeps * out_c * sum(-(-b // 4) for b in blocks)),
            f"{packed}lookups": float(all_sweeps * out_c * subvectors),
            "edge": float(edge * out_c),
            "begun": float(begun * columns.out),
            "zeroed": float(begun * columns.out * out_c),
            **_tables(f, "tables", builds * (len(blocks) + (f["in_c"] % f["subvector"] > 0)), float(builds * subvectors)),
            **(_pooled_requantization(f, rows, columns) if pooled else _requantization(out_c, float(rows.whole), columns.out)),
        }

    return count


def _conv2d_lut8(f: Fields) -> Work:
    rows, columns = _axes(f)
    readings, whole, in_w = rows.readings(), columns.whole, f["in_w"]
    if is_flat(f):
        readings, whole, in_w = [1] * -(-f["in_h"] * in_w // FLAT_WIDTH), FLAT_WIDTH, FLAT_WIDTH
    m, out_c, stride = _subvectors(f), f["out_c"], f["stride_w"]
    blocks = _blocks(m, f["block"])
    groups = [size for block in blocks for size in _blocks(block, GROUP)]
    taps = [len(range(phase, f["kernel_w"], stride)) for phase in range(min(stride, f["kernel_w"]))]
    fours = sum(-(-t * size // 4) for t in taps for size in groups)  # a row of sums and kernel row
    vectors, passes = -(-whole // 8), -(-whole // 16)
    single = vectors - 2 * (passes - 1) == 1
    sweeps = sum(readings)
    fours_of_tables = sum(-(-b // 4) for b in blocks)
    begin, read = -(-f["pad_left"] // stride), 8 * -(in_w // -(8 * stride))
    margins = (len(readings) if len(blocks) > 1 else 1) * (-(-begin // 8) + max(0, -(-(lanes8(f) - begin - read) // 8)))
    present = [-(-(in_w - (phase - f["pad_left"]) % stride) // stride) for phase in range(len(taps))]
    whole_groups = len(readings) * sum(count // 8 for count in present)
    partial_groups = len(readings) * len(taps) * read // 8 - whole_groups + margins
    tables = (whole_groups + partial_groups) * fours_of_tables
    expansions = (f["kernel_h"] if f["keep_offsets"] else sweeps) * sum(taps) * len(groups) * out_c
    outputs = float(rows.whole * whole) if not is_flat(f) else float(f["in_h"] * f["in_w"])
    return {
        "rows": float(len(readings)),
        "sweeps": float(sweeps * len(taps) * len(groups) * passes),
        "sweep rows": float(sweeps * len(taps) * len(groups) * passes * out_c),
        "lookups": float(4 * sweeps * fours * vectors * out_c),
        "single lookups": float(4 * sweeps * fours * single * out_c),
        "expanded rows": float(expansions),
        "filled": float((f["kernel_h"] if f["keep_offsets"] else sweeps) * sum(-t * size % 4 for t in taps for size in groups) * out_c),
        "transposed": float(whole_groups * fours_of_tables * 4 * f["subvector"]),
        "gathered": float(partial_groups * fours_of_tables * 4 * f["subvector"]),
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
    sizes = [min(PATCH_PIXELS, columns.whole - j) for j in range(0, columns.whole, PATCH_PIXELS)]
    dots = rows.whole * out_c * sum(2 * -(-size // 2) for size in sizes)
    pairs = [(j + p, j + min(p + 1, size - 1)) for j, size in zip(range(0, columns.whole, PATCH_PIXELS), sizes, strict=True)
             for p in range(0, size, 2)]  # fmt: skip
    # Two windows are read from the image where all of both is inside and all channels are read; else they are copied before.
    inside_rows = sum(rows.inside(i) == f["kernel_h"] for i in range(rows.whole)) if channels == f["in_c"] else 0
    inside = [all(columns.inside(j) == f["kernel_w"] for j in pair) for pair in pairs]
    direct, copied = inside_rows * sum(inside), 0
    runs, values = 0, 0
    for i in range(rows.whole):
        row_inside = channels == f["in_c"] and rows.inside(i) == f["kernel_h"]
        for pair, whole in zip(pairs, inside, strict=True):
            if not (row_inside and whole):
                copied += 2
                runs += rows.inside(i) * (2 if channels == f["in_c"] else sum(map(columns.inside, pair)))
                values += rows.inside(i) * sum(map(columns.inside, pair)) * channels
    run = f["kernel_w"] * channels
    fours = [size for size in sizes if size == PATCH_PIXELS]
    fewer = sum(size for size in sizes if size < PATCH_PIXELS)
    passes = rows.whole * (len(fours) * out_c + fewer * (out_c // 4))  # of four products, and single ones (arm_mve)
    singles = rows.whole * fewer * (out_c % 4)
    pooled = f["pool_h"] * f["pool_w"] > 1
    requantization = (
        [_pooled_requantization({**f, "out_c": out_c}, rows, columns)] if pooled
        else [_requantization(out_c, float(rows.whole), size) for size in sizes]
    )  # fmt: skip
    return {
        "patch calls": float(rows.whole * len(sizes)),
        "pairs": float(rows.whole * len(pairs)),
        "runs": float(direct * f["kernel_h"] + copied / 2),
        "values" if run >= 4 else "short values": float(rows.whole * len(pairs) * length),
        "value words": float(direct * f["kernel_h"] * -(-run // VECTOR) + copied / 2 * -(-length // VECTOR)),
        "copied windows": float(copied),
        "copied runs": float(runs),
        "copied values": float(values),
        "cleared values": float(copied * length),
        "filter calls": float(rows.whole * len(sizes) * out_c),
        "dots" if length >= 4 else "short dots": float(dots),
        "odd filters": float(rows.whole * sum(-(-size // 2) for size in sizes) * (out_c % 2)),
        f"tails of {length % 4}": float(dots * (length % 4 > 0)),
        "products": float(dots * (length // 4 * 4)),
        "vectors": float(dots * -(-length // VECTOR)),
        "passes": float(passes),
        "pass vectors": float(passes * -(-length // VECTOR)),
        "single dots": float(singles),
        "single vectors": float(singles * -(-length // VECTOR)),
        "filter products": float(rows.whole * len(sizes) * out_c * length),  # of loops that always do all pixels of a patch
        **_sum(requantization),
    }


def _conv2d_dense(f: Fields) -> Work:
    groups = f["groups"]
    once = _patches(f, f["in_c"] // groups, f["out_c"] // groups)
    return {name: groups * count for name, count in once.items()}


def _decoding(f: Fields, taps: int, blocks: Sequence[int], step: int) -> Work:
    """Weights decoded group by group, rows of a block at once, `step` apart."""
    d, bits, calls, rows = f["subvector"], f["index_bits"], float(taps * len(blocks)), float(taps * sum(blocks))
    total: Work = {}
    for first in range(0, f["in_c"], GROUP * d):
        length = min(GROUP * d, f["in_c"] - first)
        count = rows * -(-length // d)
        # Some codings have loops of their own, where no subvector is cut; those of arm_v6m ask for aligned rows as well.
        fast = (bits, d) in FAST_DECODING and length % max(d, 2) == 0
        aligned = (length | step) % min(d, 4) == 0 if fast else (length | step | d) % 4 == 0
        part: Work = {
            "decode calls": calls,
            "decode rows": rows,
            f"{bits}-bit decoded d{d}" if fast else "decoded subvectors": count,
            "decoded words" if aligned else "misaligned words": 0.0 if fast else count * (d // 4),
            "decoded tails": 0.0 if fast else count * (d % 4 > 0),
            "misaligned subvectors": 0.0 if aligned or not fast else count,
            "misaligned values": 0.0 if aligned else rows * length,
            # Rows of short codewords are a vector each (arm_mve).
            **(
                {"decoded short rows": rows} if d <= 2
                else {f"{bits}-bit decoded vectors": rows * -(-length // VECTOR)} if d in FAST_SUBVECTORS
                else {"decoded odd values": rows * length}
            ),
        }
        total = _sum([total, part])
    return total


def _conv2d_decode(f: Fields) -> Work:
    taps, blocks = f["kernel_h"] * f["kernel_w"], _blocks(f["out_c"], f["block"])
    return _sum([_decoding(f, taps, blocks, taps * f["in_c"]), *(_patches(f, f["in_c"], block) for block in blocks)])


def _blocks(size: int, block: int) -> list[int]:
    return [min(block, size - first) for first in range(0, size, block)]


def _conv2d_depthwise(f: Fields) -> Work:
    rows, columns = _axes(f)
    channels, words = f["out_c"], f["out_c"] // 4
    height, width = min(f["kernel_h"], f["in_h"]), min(f["kernel_w"], f["in_w"])
    taps = height * width
    total: Work = {"channels": float(channels)}

    def add(line: bool, lines: float, pixels: int) -> None:
        kind, windows = "line" if line else "window", lines * pixels
        whole, rest = channels // VECTOR, -(-(channels % VECTOR) // 4)
        parts, alone = windows * words * -(-width // 3), int(pixels % LINE_PIXELS == 1)
        part: Work = {
            f"{kind}s": lines,
            f"{kind} pixels": windows,
            f"{kind} outputs": windows * channels,
            # Four channels at a time, a window up to three wide; the rest one by one (arm_v7m, arm_v6m).
            f"{kind} products": windows * taps * 4 * words,
            f"{kind} parts": parts,
            f"{kind} part rows": parts * height,
            f"{kind} narrow part rows": windows * words * (width % 3 > 0) * height,
            f"{kind} tail products": windows * taps * (channels % 4),
            f"{kind} tails": windows * (channels % 4),
            f"{kind} tail rows": windows * (channels % 4) * height,
            # Sixteen channels at a time, then four; up to four pixels share their records (arm_mve).
            f"{kind} vectors": windows * whole,
            f"{kind} vector rows": windows * whole * height,
            f"{kind} vector taps": windows * whole * taps,
            f"{kind} rest": windows * rest,
            f"{kind} rest rows": windows * rest * height,
            f"{kind} rest taps": windows * rest * taps,
            f"{kind} records": lines * (-(-pixels // LINE_PIXELS) - alone) * -(-channels // 4),
            f"{kind} scaled": lines * (pixels - alone) * -(-channels // 4),
            f"{kind} scaled alone": lines * alone * -(-channels // 4),
        }
        if line:
            part["line channels"] = lines * -(-pixels // LINE) * channels
        for name, count in part.items():
            total[name] = total.get(name, 0.0) + count

    if f["pool_h"] * f["pool_w"] > 1:
        add(False, float(rows.whole * columns.whole), 1)
        total["pooled"] = float(rows.whole * columns.whole * channels)
        total["moves"] = float(rows.whole * columns.whole)
        return total
    row_runs, column_runs = rows.runs(), columns.runs()
    outside = 0
    for tall, inside_rows in row_runs:
        for wide, inside_columns in column_runs:
            along, lines, step = (tall, wide, f["stride_h"]) if tall > wide else (wide, tall, f["stride_w"])
            add(along >= SHORT_LINE and taps == 9 and height == 3 and step == 1, float(lines), along)
            outside += f["kernel_h"] * f["kernel_w"] - inside_rows * inside_columns
    moves = len(row_runs) * len(column_runs)
    return {
        **total,
        "moves": float(moves),
        "looked at": float(rows.out + len(row_runs) * columns.out),
        "moved taps": float(moves * taps),
        "moved values": float(moves * taps * channels),
        "outside": float(outside * channels if f["padded"] else 0),
    }


def _linear_tables(f: Fields) -> Work:
    subvectors, d, k, tail = _subvectors(f), f["subvector"], 1 << f["log2_codewords"], int(f["in_c"] % f["subvector"] > 0)
    sizes = [GROUP] * ((subvectors - tail) // GROUP) + [(subvectors - tail) % GROUP] * ((subvectors - tail) % GROUP > 0) + [1] * tail
    of_d, each = (f"d{d}", 1) if d in FAST_SUBVECTORS else ("of others", d)
    return {
        **_tables(f, "tables", len(sizes), float(subvectors)),
        f"coupled entries {of_d}": float(k * each * sum(-(-size // 2) for size in sizes)),  # two tables at once (arm_v7m)
        f"fourfold entries {of_d}": float(k * each * sum(size // 4 for size in sizes)),  # four (arm_mve)
        f"single entries {of_d}": float(k * each * sum(size % 4 for size in sizes)),
    }


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
        **_requantization(f["out_c"], 1.0, 1),
    }


def _linear_pairs(f: Fields) -> Work:
    full, rest = divmod(_subvectors(f), GROUP)
    return {
        "pair tables": float(full), "pair rows": float(full * f["out_c"]), "rest lookups": float(rest * f["out_c"]),
        "rest rows": float((rest > 0) * f["out_c"]), **_linear_tables(f), **_requantization(f["out_c"], 1.0, 1),
    }


def _linear_decode(f: Fields) -> Work:
    length, blocks = f["in_c"], _blocks(f["out_c"], DECODED_ROWS)
    passes = sum(rows // 4 + (rows % 4 + 1) // 2 for rows in blocks)  # of four rows, two or one (arm_v7m)
    return {
        "blocks": float(len(blocks)),
        "tails": float(f["out_c"] * (length % 4)),
        "passes": float(passes),
        "pass words": float(passes * (length // 4)),
        "products": float(f["out_c"] * length),
        "vectors": float(f["out_c"] * -(-length // VECTOR)),
        **_decoding(f, 1, blocks, length),
        **_sum(_requantization(rows, 1.0, 1) for rows in blocks),
    }


def _linear_dense(f: Fields) -> Work:
    length, (eights, rest) = f["in_c"], divmod(f["out_c"], 8)
    couples, fours = -(-rest // 2), -(-rest // 4)
    passes = 2 * eights + rest // 4 + (rest % 4 + 1) // 2  # of four rows, two or one (arm_v7m)
    return {
        "rows": float(f["out_c"]),
        "row chunks": float(eights + (rest > 0)),
        "odd values": float(eights * (length % 4)),
        "products": float(eights * 8 * (length // 4 * 4)),
        "couples": float(couples),
        "couple products": float(2 * couples * length),
        "fours": float(fours),
        "four products": float(4 * fours * length),
        "passes": float(passes),
        "pass products": float(4 * passes * length),
        "tails": float(f["out_c"] * (length % 4)),
        "vectors": float(f["out_c"] // 4 * 4 * -(-length // VECTOR)),
        "single vectors": float(f["out_c"] % 4 * -(-length // VECTOR)),
        "single rows": float(f["out_c"] % 4),
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


def _lookup(f: Fields) -> Work:
    return {"values": float(f["size_low"] + 65536 * f["size_high"])}


def _binary(f: Fields) -> Work:
    pixels = f["pixels_low"] + 65536 * f["pixels_high"]
    whole = STEPS_CHANNELS | STEPS_PIXELS
    rows = 1 if f["steps_a"] == f["steps_b"] == whole else pixels
    kind = "products" if FUNCTIONS[f["function"]] == "multiply" else "others"
    return {"rows": float(rows), kind: float(pixels * f["channels"])}


def _copy(f: Fields) -> Work:
    counts = [f[f"count_{axis}"] for axis in range(COPY_AXES)]
    return {"blocks": float(prod(counts[:3])), "rows": float(prod(counts[:4])), "values": float(prod(counts))}


def _rescale(f: Fields) -> Work:
    pixels = f["pixels_low"] + 65536 * f["pixels_high"]
    return {"pixels": float(pixels), "values": float(pixels * f["channels"])}


def _slice_pad(f: Fields) -> Work:
    pixels = f["out_h"] * f["out_w"]
    return {"pixels": float(pixels), "values": float(pixels * f["out_c"])}


def _select(f: Fields) -> Work:
    return {"features": float(f["in_c"]), "values": float(f["out_c"])}


def _normalise(f: Fields) -> Work:
    rows = f["outer"] * f["inner"]
    return {"rows": float(rows), "values": float(rows * f["count"])}


def _softmax(f: Fields) -> Work:
    return {"pixels": float(f["pixels"]), "values": float(f["pixels"] * f["channels"])}


def _recurrent(f: Fields) -> Work:
    """Beside the sums of a fully connected layer for each step."""
    return {"steps": float(f["steps"]), "units": float(f["steps"] * f["in_c"])}


def _unpack_indices(f: Fields) -> Work:
    size = float(f["bytes_low"] + 65536 * f["bytes_high"])
    codes = float(1 << f["log2_codewords"])
    return {
        "codes": codes,
        "bytes": size,
        "symbols": size * 8 / f["index_bits"],
        "searched": float(f["searched"]),
        "search steps": float(f["search_steps"]),
        "stream bytes": f["coded_bytes_low"] + 65536 * f["coded_bytes_high"] - codes * f["index_bits"] / 8,
    }


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
    "lutra_lookup_int8": _lookup,
    "lutra_binary_int8": _binary,
    "lutra_copy_int8": _copy,
    "lutra_rescale_int8": _rescale,
    "lutra_slice_pad_int8": _slice_pad,
    "lutra_select_int8": _select,
    "lutra_normalise_int8": _normalise,
    "lutra_softmax_int8": _softmax,
    **{f"lutra_{cell}_{form}": _recurrent for cell in ("lstm", "gru") for form in ("lut", "pairs", "decode", "dense")},
    "lutra_unpack_indices": _unpack_indices,
}
