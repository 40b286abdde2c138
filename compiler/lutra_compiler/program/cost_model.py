"""Cycles of a kernel call, estimated from its descriptor and what is known of its tables: what the kernel choice compares.

cycles.json holds the cycles that a piece of work takes, by target and kernel, fitted to measurements (benchmarks/fit_cost_model.py).
"""

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lutra_compiler.numerics.index_coding import search
from lutra_compiler.numerics.packing import split_indices
from lutra_compiler.program.kernels import KERNELS, UNPACK
from lutra_compiler.program.program import Call, Program
from lutra_compiler.program.tables import decoded_indices, tables_of
from lutra_compiler.program.work import Fields, work

TABLE = Path(__file__).with_name("cycles.json")
STAND_IN = "cortex-m4"  # for a target that was not measured


def cycles(kernel: str, fields: Mapping[str, int], target: str) -> float:
    """Estimated cycles of one call of `kernel` with `fields` (see work.py) on `target`; infinite where it was not measured."""
    coefficients = _table().get(target, _table().get(STAND_IN, {})).get(kernel)
    if coefficients is None:
        return math.inf
    own = sum(coefficients.get(kind, 0.0) * count for kind, count in work(kernel, fields).items())
    each_step = KERNELS[kernel].each_step
    return own + fields["steps"] * cycles(each_step, fields, target) if each_step else own


def program_cycles(program: Program) -> float:
    """Estimated cycles of one inference on the program's target."""
    return sum(call_cycles(call, program) for call in program.calls)


def call_cycles(call: Call, program: Program) -> float:
    """Estimated cycles of one of a program's calls."""
    return cycles(call.kernel, known_fields(call, program), program.target)


def known_fields(call: Call, program: Program) -> Fields:
    """What work.py counts the work of a call by."""
    if call.kernel != UNPACK:
        return call.fields
    bits = call.fields["index_bits"]
    indices = split_indices(decoded_indices(call, program.tables), bits)
    coded = program.tables[tables_of(call)["coded"]].data.astype(np.uint8)
    return {**call.fields, **search(indices, coded, 1 << call.fields["log2_codewords"], bits)._asdict()}


@functools.cache
def _table() -> dict[str, dict[str, dict[str, float]]]:
    """Cycles by target, kernel and kind of work."""
    loaded: dict[str, dict[str, dict[str, float]]] = json.loads(TABLE.read_text())
    return loaded
