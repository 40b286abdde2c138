"""The parity tests are not blind: every seeded fault of a kernel changes a byte that they compare."""

import faulthandler
import multiprocessing
import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from candidate_programs import CONVOLUTIONS, VECTORS, convolution, extreme_inputs, fully_connected
from lutra.host import Bundle, open_bundle, runtime_directory
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.program import Program
from operator_programs import operator_network
from random_programs import random_inputs, random_program
from recurrent_programs import recurrent_network
from tiny_program import with_random_indices

pytestmark = pytest.mark.usefixtures("host_cache")

SEEDS = range(80)
SAMPLES = 8

MUTANTS = [
    ("scale.h", "(1u << (shift - 1u))", "(1u << shift)"),
    ("scale.h", "value < minimum ? minimum : ", ""),
    ("scale.h", "value > maximum ? maximum : value", "value"),
    ("dot.h", "i < count", "i + 1u < count"),
    ("reference/requantize.c", "& 0x0FFFu", "& 0x07FFu"),
    ("reference/requantize.c", ">> 12", ">> 13"),
    ("reference/requantize.c", "accumulator >> how->acc_shift", "accumulator >> (how->acc_shift & 1u)"),
    ("reference/requantize.c", "channel.bias << how->bias_shift", "channel.bias << 0"),
    ("bytes.c", "if (value > *output) {", "if (value > 0) {"),
    ("kernels/store_pixel.c", "if (more) {", "if (!more) {"),
    ("kernels/store_pixel.c", "more ? (int8_t *)sums : output", "output"),
    ("reference/tables.c", "codeword += d", "codeword += d - (k & 1u)"),
    ("reference/tables.c", "x += d", "x += 0u"),
    ("reference/tables.c", "tables[16u + high]", "tables[high]"),
    ("reference/tables.c", "tables += 32", "tables += 16"),
    ("reference/lookups.c", "table6[indices[6] & mask]", "table6[indices[5] & mask]"),
    ("reference/lookups.c", "index >>= 8u - index_bits", "index >>= 0u"),
    ("reference/lookups.c", "sum += table[index & mask]", "sum += table[index]"),
    ("reference/lookups.c", 'indices += index_bits == 4u ? count & 1u : 0u', "indices += 0u"),
    ("reference/lookups.c", "pairs[512u + indices[2]]", "pairs[512u + indices[1]]"),
    ("reference/pixel_tables.c", "(uint32_t)b[j] << 16", "(uint32_t)a[j] << 16"),
    ("reference/pixel_tables.c", "sum + 0x8000u", "sum"),
    ("reference/pixel_tables.c", "b += d", "b += d - (count & 1u)"),
    ("reference/pixel_tables.c", "- (high << 16)", ""),
    ("reference/patches.c", "b += step", "b += run"),
    ("reference/patches.c", "patch += length", "patch += length - 1u"),
    ("reference/depthwise.c", "row += windows->row", "row += windows->row - 1u"),
    ("reference/depthwise.c", "input += windows->input_step", "input += channels"),
    ("reference/dot_rows.c", "weights += length", "weights += length - 1u"),
    ("kernels/window.h", "(j) * (layer)->stride_w", "(j) * (layer)->stride_h"),
    ("kernels/window.h", "- (layer)->pad_top", "- (layer)->pad_left"),
    ("kernels/coding.h", "(count + 1u) >> 1", "count >> 1"),
    ("reference/decode.c", "(at & 7u)", "(at & 3u)"),
    ("reference/decode.c", "& (codes->codewords - 1u)", "& 255u"),
    ("reference/decode.c", "row += codes->row_bytes", "row += codes->row_bytes - 1u"),
    ("reference/decode.c", "weights += codes->step", "weights += codes->length"),
    ("kernels/coding.h", "coding->channels - m * coding->subvector, coding->subvector", "coding->subvector, coding->subvector"),
    ("kernels/decode_rows.c", "first * codes.row_bytes", "0u * codes.row_bytes"),
    ("kernels/decode_rows.c", "lutra_at_most(left,", "lutra_at_most(coding->channels,"),
    ("kernels/decode_rows.c", "taps * coding->channels", "coding->channels"),
    ("kernels/decode_rows.c", "coding->rows * codes.row_bytes", "codes.rows * codes.row_bytes"),
    ("kernels/decode_rows.c", "first, rows, weights", "0u, rows, weights"),
    ("kernels/linear_decode.c", "channels + n", "channels"),
    ("kernels/linear_lut.c", "now->tables + count * coding->codewords", "now->tables"),
    ("kernels/linear_lut.c", "now->input = last + d", "now->input = last"),
    ("kernels/linear_lut.c", "lutra_clear(sums, layer->out_c)", "lutra_clear(sums, 1u)"),
    ("kernels/linear_lut.c", "if (size == LUTRA_GROUP)", "if (1)"),
    ("kernels/linear_dense.c", "weights += rows * layer->in_c", "weights += layer->in_c"),
    ("kernels/conv2d_decode.c", "filters.records = channels + n", "filters.records = channels"),
    ("kernels/conv2d_decode.c", "&coding, taps, n, filters", "&coding, taps, 0u, filters"),
    ("kernels/conv2d_dense.c", "filters.input += in_group", "filters.input += 1u"),
    ("kernels/conv2d_dense.c", "in_group * out_group;", "in_group;"),
    ("kernels/convolve_patches.c", "next + layer->kernel_w", "x + layer->kernel_w"),
    ("kernels/convolve_patches.c", "y + layer->kernel_h > layer->in_h", "y >= layer->in_h"),
    ("kernels/convolve_patches.c", "layer->input_zero_point", "0"),
    ("kernels/convolve_patches.c", "(beyond > 0 ? beyond : 0)", "0"),
    ("kernels/convolve_patches.c", "x < 0 ? -x : 0", "0"),
    ("kernels/convolve_patches.c", "channels == in_c && runs > 0", "runs > 0"),
    ("kernels/convolve_patches.c", "++pool_y == layer->pool_h", "++pool_y == layer->pool_w"),
    ("kernels/convolve_patches.c", "++pool_x == layer->pool_w", "++pool_x == layer->pool_h"),
    ("kernels/conv2d_depthwise.c", "layer->padded != 0u", "layer->padded == 9u"),
    ("kernels/conv2d_depthwise.c", "weights, layer->input_zero_point", "weights, 1"),
    ("kernels/conv2d_depthwise.c", "beyond > 0 ? -beyond : 0", "0"),
    ("kernels/conv2d_depthwise.c", "shift_y != conv->shift_y || ", ""),
    ("kernels/conv2d_depthwise.c", "y < height && x < width", "y < height && x <= width"),
    ("kernels/conv2d_depthwise.c", "layer->stride_h * row", "layer->stride_w * row"),
    ("kernels/conv2d_depthwise.c", "COUNT(layer, stride_h, axis)", "COUNT(layer, stride_h, 0u)"),
    ("kernels/conv2d_depthwise.c", "x < layer->pool_w", "x < 1u"),
    ("kernels/conv2d_lut.c", "for (;; kx -= stride) {", "for (;; kx -= 1u) {"),
    ("kernels/conv2d_lut.c", "row == conv->ring_end ? conv->ring : row", "row"),
    ("kernels/conv2d_lut.c", "before = conv->first * conv->taps", "before = 0u * conv->taps"),
    ("kernels/conv2d_lut.c", "position++;\n  } while", "} while"),
    ("kernels/conv2d_lut.c", "a += conv->first * d", "a += 0u"),
    ("kernels/conv2d_lut.c", "lutra_fill(pixel, layer->input_zero_point,", "lutra_fill(pixel, 0,"),
    ("kernels/conv2d_lut.c", "start + kernel > size", "start + kernel >= size + kernel"),
    ("kernels/conv2d_lut.c", "add_padding(conv, conv->spare, y, x, 1u)", "(void)y"),
    ("kernels/conv2d_lut.c", "add_padding(conv, sums, y, x, 0u)", "(void)x"),
    ("kernels/conv2d_lut.c", "(rows || x + kx >= layer->in_w)", "(rows || x + kx > layer->in_w)"),
    ("kernels/conv2d_lut.c", "first < -1 ? -1 : first", "first < 0 ? 0 : first"),
    ("kernels/conv2d_lut.c", "second != 0u && column + 1 < out_w", "column + 1 < out_w"),
    ("kernels/conv2d_lut.c", "x += 2u * stride", "x += 2u"),
    ("kernels/conv2d_lut.c", "position += (uint32_t)taps", "position += 1u"),
    ("kernels/conv2d_lut.c", "lutra_clear(sums, conv->row_size)", "lutra_clear(sums, 1u)"),
    ("kernels/conv2d_lut8.c", "row == conv->ring_end ? conv->ring : row", "row"),
    ("kernels/conv2d_lut8.c", "(count + 3u) & ~3u", "count"),
    ("kernels/conv2d_lut8.c", "lane * (uint32_t)sizeof *conv->tables", "0u"),
    ("kernels/conv2d_lut8.c", "row[i] = (uint16_t)(zeros", "row[i] = (uint16_t)(0u * zeros"),
    ("kernels/conv2d_lut8.c", "lutra_at_most(coding->channels, last * d) - m * d", "LUTRA_SUBVECTORS8 * d"),
    ("kernels/conv2d_lut8.c", "{any, 0u, 0u, layer->input_zero_point}", "{any, 0u, 0u, 0}"),
    ("kernels/conv2d_lut8.c", "margin(layer, 0u) - margin(layer, phase)", "0u"),
    ("kernels/conv2d_lut8.c", "if (part.count < conv->coding.subvectors) {", "if (0) {"),
    ("kernels/conv2d_lut8.c", "offsets += layer->kernel_h * in_fours", "offsets += 0u * in_fours"),
    ("kernels/conv2d_lut8.c", "share != NULL ? share[n] : 0u", "0u"),
    ("kernels/conv2d_lut8.c", "memset(pixel, layer->input_zero_point,", "memset(pixel, 0,"),
    ("kernels/conv2d_lut8.c", "(pixels + conv.in_w - 1u) / conv.in_w", "pixels / conv.in_w"),
    ("kernels/max_pool.c", "ky < layer->kernel_h", "ky + 1u < layer->kernel_h"),
    ("kernels/average_pool.c", "count - 1u", "0u"),
    ("kernels/average_pool.c", "+ c] - layer->input_zero_point", "+ c]"),
    ("kernels/add.c", "layer->zero_point_b * layer->multiplier_b", "0"),
    ("kernels/rescale.c", "output += how.output_stride", "output += how.channels"),
    ("kernels/rescale.c", "output += how.output_offset", "output += 0"),
    ("kernels/slice_pad.c", "x * layer->step_w", "x * layer->step_h"),
    ("kernels/slice_pad.c", "z < layer->count_c", "z <= layer->count_c"),
    ("kernels/select.c", "i % 8u == 0u", "i % 7u == 0u"),
    ("kernels/select.c", "output[count++] = input[i]", "output[count++] = input[count]"),
    ("kernels/softmax.c", "sum / 2u", "0u"),
    ("kernels/unpack_indices.c", "(symbol & 1u) << 2", "(~symbol & 1u) << 2"),
    ("kernels/unpack_indices.c", "start = TOTAL, symbol", "start = TOTAL - 1u, symbol"),
    ("kernels/unpack_indices.c", "code * code * code >> 12", "code * code * code >> 11"),
    ("kernels/unpack_indices.c", "code >> (8u - bits)", "code"),
    ("kernels/unpack_indices.c", "(codewords * bits + 7u) >> 3", "codewords"),
    ("kernels/unpack_indices.c", "bits == 4u ? flips << 4 : 0u", "0u"),
    ("kernels/unpack_indices.c", "state >> LOWEST_BITS == 0u", "state >> 22 == 0u"),
    ("kernels/unpack_indices.c", " && next < coded_end", ""),
    ("kernels/unpack_indices.c", "state = state << 8 | *next++", "state = state << 8 | next[0] | (next++, 1u)"),
    ("kernels/unpack_indices.c", "slot < most", "slot <= most"),
    ("kernels/unpack_indices.c", "start[1] <= slot", "start[1] < slot"),
    ("kernels/unpack_indices.c", "starts[symbol + 1u] <= slot", "starts[symbol] <= slot"),
    ("kernels/unpack_indices.c", "(uint32_t)(start[1] - start[0])", "start[1]"),
    ("kernels/unpack_indices.c", "+ slot - start[0]", "+ slot"),
    ("kernels/unpack_indices.c", "packed ^= ", "packed |= "),
    ("kernels/softmax.c", " && share < INT8_MAX", ""),
    ("kernels/lookup.c", "lookup - INT8_MIN", "lookup - INT8_MIN - 1"),
    ("kernels/lookup.c", "input + layer->size_low", "input + layer->size_low - 1"),
    ("kernels/binary.c", "channels *= pixels", "channels *= 1u"),
    ("kernels/binary.c", "!= 0u ? channels : 1u", "!= 0u ? channels : channels"),
    ("kernels/binary.c", "& LUTRA_STEPS_PIXELS) == 0u", "& LUTRA_STEPS_PIXELS) == 5u"),
    ("kernels/binary.c", "&& layer->steps_b == WHOLE", ""),
    ("kernels/multiply_row.c", "how->steps_b & LUTRA_STEPS_CHANNELS", "how->steps_a & LUTRA_STEPS_CHANNELS"),
    ("kernels/multiply_row.c", "how->zero_point_a * multiplier", "0"),
    ("kernels/multiply_row.c", "*b - zero_b", "*b"),
    ("kernels/multiply_row.c", ") + 1) >> 1", ")) >> 1"),
    ("kernels/combine_row.c", "how->zero_point_a * multiplier_a", "0"),
    ("kernels/combine_row.c", "how->zero_point_b * multiplier_b", "0"),
    ("kernels/combine_row.c", "(x < y) ==", "(x > y) =="),
    ("kernels/combine_row.c", "layer.function != LUTRA_ADD", "layer.function == LUTRA_MINIMUM"),
    ("kernels/copy.c", "i0 * how.out_step_0", "i0"),
    ("kernels/copy.c", "i1 * how.in_step_1", "i1"),
    ("kernels/copy.c", "i2 * how.in_step_2", "i2"),
    ("kernels/copy.c", "from += how.in_step_3", "from += 1u"),
    ("kernels/copy.c", "to += how.out_step_3", "to += 1u"),
    ("kernels/copy.c", "output += how.out_start_low", "output += 0u * how.out_start_low"),
    ("kernels/copy.c", "input += how.in_start_low", "input += 0u * how.in_start_low"),
    ("kernels/normalise.c", "root >>= 1", "root >>= 2"),
    ("kernels/normalise.c", "+ (root >> 1)", "+ (root << 10)"),
    ("kernels/normalise.c", "(spread << 8) + epsilon", "(spread << 8)"),
    ("kernels/normalise.c", "k += how.inner) {\n        sum", "k += 1u) {\n        sum"),
    ("kernels/normalise.c", "- sum + half", "+ half"),
    ("kernels/normalise.c", "input += size", "input += 0u"),
    ("kernels/recurrent.c", "(states - 1u) * units * step", "0u"),
    ("kernels/recurrent.c", "initial[n * step] + 128", "initial[n * step]"),
    ("kernels/recurrent.c", "last[n * step]", "last[n]"),
    ("kernels/recurrent.c", "how.reverse != 0u", "how.reverse == 9u"),
    ("kernels/recurrent.c", "time * how.out_c", "0u * time * how.out_c"),
    ("kernels/recurrent.c", "time * how.in_c", "0u * time * how.in_c"),
    ("kernels/recurrent.c", "n < whole", "n <= whole"),
    ("kernels/recurrent.c", "channel.multiplier & 0x0FFFu", "channel.multiplier & 0x07FFu"),
    ("kernels/recurrent.c", "(1 << 18) - 1", "(1 << 13) - 1"),
    ("kernels/recurrent.c", "+ 256) >> 9", ") >> 9"),
    ("kernels/recurrent.c", "x < 0 ? -y : y", "y"),
    ("kernels/recurrent.c", "65535", "32767"),
    ("kernels/recurrent.h", "- how->input_zero_point", ""),
    ("kernels/recurrent.h", "32768 + lutra_tanh(tangents, a)", "32768 + lutra_tanh(tangents, a + a)"),
    ("kernels/lstm.c", ">> 4) + (1 << 14)", ">> 4)"),
    ("kernels/lstm.c", "2 * a[2u * units]", "a[2u * units]"),
    ("kernels/lstm.c", "4 * cell", "2 * cell"),
    ("kernels/lstm.c", "+ (1 << 22)", ""),
    ("kernels/lstm_decode.c", "lutra_decoded_sums(&coding, n,", "lutra_decoded_sums(&coding, 0u,"),
    ("kernels/lstm_lut.c", "initial, 2u,", "initial, 1u,"),
    ("kernels/gru.c", "+ (1 << 11)", ""),
    ("kernels/gru.c", "32768 - update", "32767 - update"),
    ("kernels/gru.c", "+ 128) >> 8", ") >> 8"),
    ("kernels/gru.c", "step.input[2u * units + n]", "step.input[n]"),
    ("kernels/gru_decode.c", "now.sums + n", "now.sums"),
    ("kernels/gru_dense.c", "layer->out_c, now.sums", "layer->in_c, now.sums"),
]

# Of files that several kernels share, the ends of the names of these kernels; others are named after their kernel.
USERS = {
    "tables": ("lut", "pairs", "lut8"), "lookups": ("linear_lut", "pairs", "lut8"), "pixel_tables": ("conv2d_lut",),
    "patches": ("conv2d_dense", "conv2d_decode"), "convolve_patches": ("conv2d_dense", "conv2d_decode"), "dot_rows": ("dense", "decode"),
    "decode": ("decode",), "decode_rows": ("decode",), "linear_lut": ("linear_lut", "linear_pairs"),
    "coding": ("lut", "pairs", "decode", "lut8"),
    "multiply_row": ("binary",), "combine_row": ("binary",),
    "recurrent": tuple(f"{cell}_{form}" for cell in ("lstm", "gru") for form in ("lut", "pairs", "decode", "dense")),
    **{cell: tuple(f"{cell}_{form}" for form in ("lut", "pairs", "decode", "dense")) for cell in ("lstm", "gru")},
    "depthwise": ("depthwise",), "requantize": ("",), "window": ("max_pool",), "dot": ("",), "scale": ("",), "bytes": ("",),
    "store_pixel": ("conv2d_lut", "conv2d_dense", "conv2d_decode"),
}


@cache
def program_of(name: str) -> Program:
    """A layer in every way there is, or a random program; of those every other one with any bytes for indices."""
    if name in CONVOLUTIONS:
        return convolution(name, (1, 1) if name.startswith("pixel") else (2, 1))[0]
    if name in VECTORS:
        return fully_connected(name)[0]
    if name in OPERATORS:
        return operator_network(OPERATORS.index(name))[1]
    if name in RECURRENT:
        return recurrent_network(RECURRENT.index(name))[1]
    program = random_program(int(name))
    return with_random_indices(program) if int(name) % 2 else program


OPERATORS = [f"operators {seed}" for seed in range(40)]
RECURRENT = [f"recurrent {seed}" for seed in range(80)]
PROGRAMS = [*CONVOLUTIONS, *VECTORS, *map(str, SEEDS), *OPERATORS, *RECURRENT]


def inputs_of(name: str) -> list[np.ndarray]:
    if name in CONVOLUTIONS or name in VECTORS:
        return [extreme_inputs(program_of(name))]
    number = next((names.index(name) for names in (OPERATORS, RECURRENT) if name in names), None)
    return random_inputs(program_of(name), SAMPLES, int(name) if number is None else number)


@cache
def bundle_of(name: str, folder: Path) -> Path:
    directory = folder / f"program{PROGRAMS.index(name)}"
    write_bundle(emit(program_of(name), "net", {}), directory)
    return directory


@cache
def expected(name: str) -> tuple[np.ndarray, ...]:
    return interpret(program_of(name), inputs_of(name)).outputs


def compare(bundle: Bundle, name: str) -> None:
    faulthandler.disable()
    outputs = bundle.run_int8(inputs_of(name))
    os._exit(any((output != wanted).any() for output, wanted in zip(outputs, expected(name), strict=True)))


def calls_kernel_of(name: str, file: str) -> bool:
    """Whether a program calls a kernel that `file` is part of."""
    stem = Path(file).stem
    return any(call.kernel.removesuffix("_int8").endswith(USERS.get(stem, (stem,))) for call in program_of(name).calls)


@pytest.mark.parametrize(("file", "sound", "faulty"), MUTANTS, ids=range(len(MUTANTS)))
def test_a_fault_of_a_kernel_changes_an_output(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, file: str, sound: str, faulty: str
):
    runtime = Path(shutil.copytree(runtime_directory(), tmp_path / "runtime"))
    path = runtime / "src" / file
    source = path.read_text()
    assert source.count(sound) == 1, f"{file} has {source.count(sound)} times {sound!r}"
    path.write_text(source.replace(sound, faulty))
    for name in filter(lambda name: calls_kernel_of(name, file), PROGRAMS):
        expected(name)
        bundle = open_bundle(bundle_of(name, tmp_path_factory.getbasetemp()), runtime=runtime, compiler="cc -O0")
        child = multiprocessing.get_context("fork").Process(target=compare, args=(bundle, name))  # it may crash
        child.start()
        child.join()
        if child.exitcode:
            return
    pytest.fail(f"nothing notices {faulty!r} for {sound!r} in {file}")
