"""The parity tests are not blind: every seeded fault of a kernel changes a byte that they compare."""

import faulthandler
import multiprocessing
import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lutra.host import Bundle, open_bundle, runtime_directory
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.program import Program
from random_programs import random_inputs, random_program
from tiny_program import with_random_indices

pytestmark = pytest.mark.usefixtures("host_cache")

SEEDS = range(80)
SAMPLES = 8

MUTANTS = [
    ("requantize.h", "(1u << (shift - 1u))", "(1u << shift)"),
    ("requantize.h", "value < minimum ? minimum : ", ""),
    ("requantize.h", "value > maximum ? maximum : value", "value"),
    ("requantize.c", "& 0x0FFFu", "& 0x07FFu"),
    ("requantize.c", ">> 12)", ">> 13)"),
    ("requantize.c", "accumulator >> acc_shift", "accumulator >> (acc_shift & 1u)"),
    ("requantize.c", "channel.bias << bias_shift", "channel.bias << 0"),
    ("requantize.c", "value > *output ? value : *output", "value"),
    ("window.h", "(j) * (layer)->stride_w", "(j) * (layer)->stride_h"),
    ("window.h", "- (layer)->pad_top", "- (layer)->pad_left"),
    ("coding.h", "left < 4u ? left : 4u", "left < 3u ? left : 3u"),
    ("coding.h", "(subvectors + coding->packed) >>", "subvectors >>"),
    ("coding.h", "((i & coding->packed) << 2)", "((~i & coding->packed) << 2)"),
    ("coding.h", " & (coding->codewords - 1u)", " & 0xFFu >> 4 * coding->packed"),
    ("dot.h", "i < count", "i + 1u < count"),
    ("decode.c", "x += length * step", "x += length"),
    ("decode.c", "left < d ? left : d", "d"),
    ("lookup.c", "left < d ? left : d", "d"),
    ("lookup.c", "x += group * d * step", "x += 0u"),
    ("lookup.c", "table3[(uint32_t)indices[1] >> 4 & mask]", "table3[indices[1] & mask]"),
    ("lookup.c", "table2[indices[2] & mask]", "table2[indices[1] & mask]"),
    ("linear_lut.c", "group += 4u", "group += 8u"),
    ("conv2d_lut.c", "x >= 0 &&", "x > 0 &&"),
    ("conv2d_lut.c", "ky >= 0 &&", "ky > 0 &&"),
    ("conv2d_lut.c", "row == conv->ring_end ? conv->ring : row", "row"),
    ("conv2d_lut.c", "memset(row, 0, conv.row_size", "memset(row, 0, 0u * conv.row_size"),
    ("conv2d_lut.c", "memset(conv.padding, layer->input_zero_point,", "memset(conv.padding, 0,"),
    ("conv2d_lut.c", "left = j * layer->stride_w", "left = j * layer->stride_h"),
    ("conv2d_decode.c", "indices += tap_bytes", "indices += 1u"),
    ("conv2d_decode.c", "memset(padding, layer->input_zero_point,", "memset(padding, 0,"),
    ("conv2d_dense.c", "weights[c] * layer->input_zero_point", "weights[c]"),
    ("conv2d_dense.c", "group += in_group", "group += 1u"),
    ("conv2d_dense.c", "in_kernel < in_image ? in_kernel : in_image", "in_kernel"),
    ("conv2d_dense.c", "i += layer->pool_h", "i += layer->pool_w"),
    ("conv2d_depthwise.c", "weights += layer->out_c", "weights += 1u"),
    ("linear_dense.c", "weights += layer->in_c", "weights += layer->in_c - 1u"),
    ("max_pool.c", "ky < layer->kernel_h", "ky + 1u < layer->kernel_h"),
    ("average_pool.c", "count - 1u", "0u"),
    ("average_pool.c", "pixel[c] - layer->input_zero_point", "pixel[c]"),
    ("add.c", "b[i] - layer->zero_point_b", "b[i] - layer->zero_point_a"),
    ("rescale.c", "output += layer->output_stride", "output += layer->channels"),
    ("rescale.c", "output += layer->output_offset", "output += 0"),
    ("slice_pad.c", "x * layer->step_w", "x * layer->step_h"),
    ("slice_pad.c", "z < layer->count_c", "z <= layer->count_c"),
    ("softmax.c", "sum / 2u", "0u"),
    ("softmax.c", "share < INT8_MAX ? share : INT8_MAX", "share"),
]


@cache
def program_of(seed: int) -> Program:
    """A random program; every other one with any bytes for indices."""
    return with_random_indices(random_program(seed)) if seed % 2 else random_program(seed)


@cache
def bundle_of(seed: int, folder: Path) -> Path:
    write_bundle(emit(program_of(seed), "net", {}), folder / str(seed))
    return folder / str(seed)


@cache
def expected(seed: int) -> tuple[np.ndarray, ...]:
    program = program_of(seed)
    return interpret(program, random_inputs(program, SAMPLES, seed)).outputs


def compare(bundle: Bundle, seed: int) -> None:
    faulthandler.disable()
    outputs = bundle.run_int8(random_inputs(program_of(seed), SAMPLES, seed))
    os._exit(any((output != wanted).any() for output, wanted in zip(outputs, expected(seed), strict=True)))


def calls_kernel_of(seed: int, file: str) -> bool:
    """Whether a program calls the kernel that `file` is named after; any program will do for what all kernels share."""
    kernels = [call.kernel.removeprefix("lutra_") for call in program_of(seed).calls]
    users = {"coding": ("lut", "decode"), "lookup": ("lut",), "decode": ("decode",), "requantize": ("",), "window": ("",), "dot": ("",)}
    stem = file.partition(".")[0]
    return any(kernel.endswith(users[stem]) if stem in users else kernel.startswith(stem) for kernel in kernels)


@pytest.mark.parametrize(("file", "sound", "faulty"), MUTANTS, ids=range(len(MUTANTS)))
def test_a_fault_of_a_kernel_changes_an_output(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, file: str, sound: str, faulty: str
):
    runtime = Path(shutil.copytree(runtime_directory(), tmp_path / "runtime"))
    path = runtime / "src/reference" / file
    source = path.read_text()
    assert source.count(sound) == 1, f"{file} has {source.count(sound)} times {sound!r}"
    path.write_text(source.replace(sound, faulty))
    for seed in filter(lambda seed: calls_kernel_of(seed, file), SEEDS):
        expected(seed)
        bundle = open_bundle(bundle_of(seed, tmp_path_factory.getbasetemp()), runtime=runtime, compiler="cc -O0")
        child = multiprocessing.get_context("fork").Process(target=compare, args=(bundle, seed))  # it may crash
        child.start()
        child.join()
        if child.exitcode:
            return
    pytest.fail(f"nothing notices {faulty!r} for {sound!r} in {file}")
