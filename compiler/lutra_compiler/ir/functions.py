"""The functions of numbers that Elementwise and Binary ops are made of, in NumPy."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.ops import Step

Array = npt.NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])

# Named as in NumPy and in torch, where both have them.
UNARY: Mapping[str, Callable[[Array], Array]] = {
    "abs": np.abs,
    "arccos": np.arccos,
    "arccosh": np.arccosh,
    "arcsin": np.arcsin,
    "arcsinh": np.arcsinh,
    "arctan": np.arctan,
    "arctanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "erf": lambda x: np.asarray(_erf(x)),
    "exp": np.exp,
    "floor": np.floor,
    "log": np.log,
    "round": np.round,
    "sigmoid": lambda x: 0.5 * np.tanh(0.5 * x) + 0.5,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
BINARY: Mapping[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "divide": np.divide,
    "greater": lambda a, b: np.greater(a, b).astype(np.float64),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "multiply": np.multiply,
    "power": np.power,
    "subtract": np.subtract,
}


def evaluate(steps: Sequence[Step], x: Array) -> Array:
    """What `steps` make of numbers `x`, in float64; infinite or NaN where they are not defined."""
    values = [np.asarray(x, np.float64)]
    with np.errstate(all="ignore"):
        for step in steps:
            operands = [*(values[index] for index in step.inputs), *(np.asarray(constant, np.float64) for constant in step.constants)]
            if step.function in UNARY:
                values.append(np.asarray(UNARY[step.function](operands[0]), np.float64))
            else:
                values.append(np.asarray(BINARY[step.function](operands[0], operands[1]), np.float64))
    return values[-1]


def problem_of(steps: Sequence[Step]) -> str:
    """What is wrong with `steps`, empty if nothing is."""
    if not steps:
        return "it has no steps"
    for number, step in enumerate(steps, 1):
        needed = 1 if step.function in UNARY else 2 if step.function in BINARY else None
        if needed is None:
            return f"step {number} has the unknown function '{step.function:.40}'"
        if not step.inputs or len(step.inputs) + len(step.constants) != needed:
            return f"step {number}, '{step.function}', needs {needed} operand(s), a value among them"
        if not all(0 <= index < number for index in step.inputs):
            return f"step {number} reads {list(step.inputs)}; only the results before it, 0..{number - 1}, are there"
        if not all(math.isfinite(constant) for constant in step.constants):
            return f"step {number} has a constant that is not finite"
    return ""


def affine_of(steps: Sequence[Step]) -> tuple[float, float] | None:
    """(a, b) if `steps` are y = a * x + b, made of sums and products with constants; else None."""
    values = [(1.0, 0.0)]
    for step in steps:
        if len(step.inputs) != 1 or len(step.constants) != 1:
            return None
        (a, b), (constant,) = values[step.inputs[0]], step.constants
        match step.function:
            case "add":
                values.append((a, b + constant))
            case "subtract":
                values.append((a, b - constant))
            case "multiply":
                values.append((a * constant, b * constant))
            case "divide" if constant != 0:
                values.append((a / constant, b / constant))
            case _:
                return None
    return values[-1]
