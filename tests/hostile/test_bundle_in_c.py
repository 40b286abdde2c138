"""Bundles under the address and undefined-behaviour sanitizers, with tables, arguments and memory as bad as they can be."""

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.ir.ops import Conv2d, Flatten, Linear, Op
from lutra_compiler.program.choose_kernel import Candidate
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Port, Program
from lutra_compiler.target import target_by_name
from quantized_graphs import coded, graph
from random_programs import random_inputs, random_program
from tiny_program import tiny_program

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "runtime_c"
COMPILER = ["gcc", "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{RUNTIME / 'include'}"]
SANITIZED = [*COMPILER, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The runtime's objects, sanitized."""
    folder = tmp_path_factory.mktemp("kernels")
    sources = [path for part in ("", "kernels/", "reference/") for path in RUNTIME.glob(f"src/{part}*.c")]
    subprocess.run([*SANITIZED, "-c", *sources], cwd=folder, check=True)
    return list(folder.glob("*.o"))


def build(driver: str, directory: Path, kernels: Sequence[Path]) -> Path:
    subprocess.run([*SANITIZED, f"-I{directory}", HERE / driver, *kernels, "-o", directory / "driver"], check=True)
    return directory / "driver"


def every_kernel_with_codebooks() -> Program:
    """A small network that calls each of them once, and one with coded indices of 4 and of 8 bits."""
    shapes = {"lut8": (3, 2, 2, 2), "conv2d_lut": (3, 2, 2, 3), "conv2d_decode": (2, 2, 2, 3), "pairs": (4, 18), "linear_lut": (5, 4)}
    weights = {form: coded(shape, subvector=2, largest=20) for form, shape in shapes.items()}
    weights["conv2d_decode"] = replace(weights["conv2d_decode"], coded=True)
    weights["linear_lut"] = replace(coded(shapes["linear_lut"], 32, subvector=2, index_bits=8, largest=20), coded=True)
    values = ["x", *shapes]
    ops: list[Op] = [
        Conv2d(name=form, inputs=(source,), output=form, weight=form, padding=(1, 1, 0, 0))
        for source, form in zip(values, list(shapes)[:3], strict=False)
    ]
    ops.append(Flatten(name="flat", inputs=("conv2d_decode",), output="flat"))
    ops += [
        Linear(name=form, inputs=(source,), output=form, weight=form) for source, form in (("flat", "pairs"), ("pairs", "linear_lut"))
    ]
    forms = iter(shapes)

    def choose(candidates: Sequence[Candidate]) -> Candidate:
        form = next(forms)
        return [candidate for candidate in candidates if candidate.kernel.endswith(form)][-1]

    return lower(graph(ops, {"x": (3, 3, 2)}, weights), target_by_name("generic"), choose=choose)


@pytest.mark.parametrize("make", [tiny_program, every_kernel_with_codebooks])
def test_a_flipped_bit_never_leads_astray(tmp_path: Path, kernels: list[Path], make: Callable[[], Program]):
    program = make()
    write_bundle(emit(program, "tiny", {}), tmp_path / "tiny")
    data = tmp_path / "tiny/tiny_data.h"
    data.write_text(data.read_text().replace("static const ", "static "))
    layers, tables = json.loads((tmp_path / "tiny/tiny.json").read_text())["objects"]
    lines = [f"{{&{part['name']}, {part['bytes']}, {int(part is layers)}}}," for part in (layers, tables)]
    lines += [f"{{tiny_crc + {place}, 4, {int(place == 0)}}}," for place in range(2)]
    (tmp_path / "tiny/parts.h").write_text("\n".join(lines))
    done = subprocess.run([build("flip_bits.c", tmp_path / "tiny", kernels)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    descriptor_bits = 8 * (layers["bytes"] + 4)
    assert done.stdout == f"{descriptor_bits} refused, {8 * program.model_bytes - descriptor_bits} finished\n"


def test_bad_arguments_are_refused_and_leave_the_outputs(tmp_path: Path, kernels: list[Path]):
    write_bundle(emit(tiny_program(), "tiny", {}), tmp_path / "tiny")
    assert subprocess.run([build("bad_arguments.c", tmp_path / "tiny", kernels)], check=False).returncode == 0


def ports(name: str, program: Program, of: Sequence[Port]) -> str:
    places = (f"{{{np.prod(port.shape)}, {program.buffers[port.buffer].offset}}}" for port in of)
    return f"static const port {name}[] = {{{', '.join(places)}}};\n"


@pytest.mark.parametrize("seed", range(200, 208))
def test_inputs_and_outputs_may_lie_inside_the_arena_or_outside(tmp_path: Path, kernels: list[Path], seed: int):
    program = random_program(seed)
    inputs = random_inputs(program, 4, seed)
    write_bundle(emit(program, "net", {}), tmp_path / "net")
    (tmp_path / "net/ports.h").write_text(
        ports("input_ports", program, program.inputs) + ports("output_ports", program, program.outputs)
    )
    samples = b"".join(array[sample].tobytes() for sample in range(4) for array in inputs)
    done = subprocess.run([build("places.c", tmp_path / "net", kernels)], input=samples, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    expected = interpret(program, inputs).outputs
    assert done.stdout == b"".join(array[sample].tobytes() * 2 for sample in range(4) for array in expected)


def test_a_manifest_name_cannot_break_out_of_its_file(tmp_path: Path):
    names = ['"; #include "evil.h"', "*/ int evil;", "\\", "??/", "%s%n", "../../evil"]
    files = emit(tiny_program(names), "tiny", {})
    write_bundle(files, tmp_path / "tiny")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["tiny", "tiny.c", "tiny.h", "tiny.json", "tiny_data.h"]
    assert not any(re.search("evil|%n", files[name]) for name in ("tiny.h", "tiny.c", "tiny_data.h"))
