"""Activation functions as PyTorch and ONNX define them, as steps of an Elementwise: result 0 is their argument x."""

import math

from lutra_compiler.ir.ops import Step

Steps = tuple[Step, ...]


class Chain:
    """Steps one after the other. Results are numbers of steps; constants stand in their place."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, function: str, *operands: "int | float") -> int:
        """Append a function of results (int) and constants (float), in this order; its result's number."""
        inputs = tuple(operand for operand in operands if isinstance(operand, int))
        constants = tuple(operand for operand in operands if isinstance(operand, float))
        self.steps.append(Step(function, inputs, constants))
        return len(self.steps)


def named(*functions: str) -> Steps:
    """Functions of functions.py, one after the other."""
    return tuple(Step(function, (index,)) for index, function in enumerate(functions))


def affine(gain: float, shift: float) -> Steps:
    """gain * x + shift"""
    return (Step("multiply", (0,), (gain,)), Step("add", (1,), (shift,)))


def constant_left(function: str, constant: float) -> Steps:
    """function(constant, x)"""
    match function:
        case "subtract":
            return affine(-1.0, constant)
        case "divide":
            return (Step("power", (0,), (-1.0,)), Step("multiply", (1,), (constant,)))
        case "power":
            return (Step("multiply", (0,), (math.log(constant),)), Step("exp", (1,)))
        case _:  # the others take their operands in any order
            return constant_right(function, constant)


def constant_right(function: str, constant: float) -> Steps:
    """function(x, constant)"""
    return (Step(function, (0,), (constant,)),)


def power(exponent: float) -> Steps:
    """x ** exponent"""
    return (Step("multiply", (0, 0)),) if exponent == 2 else (Step("power", (0,), (exponent,)),)


def leaky_relu(slope: float) -> Steps:
    """x, below 0 slope * x."""
    chain = Chain()
    below = chain("multiply", chain("minimum", 0, 0.0), slope)
    chain("add", chain("maximum", 0, 0.0), below)
    return tuple(chain.steps)


def elu(alpha: float, scale: float = 1.0, input_scale: float = 1.0) -> Steps:
    """scale * x, below 0 scale * alpha * (exp(input_scale * x) - 1)."""
    chain = Chain()
    below = chain("exp", chain("multiply", chain("minimum", 0, 0.0), input_scale))
    below = chain("multiply", chain("subtract", below, 1.0), alpha)
    chain("multiply", chain("add", chain("maximum", 0, 0.0), below), scale)
    return tuple(chain.steps)


def hard_sigmoid(slope: float, offset: float) -> Steps:
    """slope * x + offset between 0 and 1."""
    return (*affine(slope, offset), Step("maximum", (2,), (0.0,)), Step("minimum", (3,), (1.0,)))


def gated(gate: Steps) -> Steps:
    """x * gate(x)"""
    return (*gate, Step("multiply", (0, len(gate))))


def swish(factor: float = 1.0) -> Steps:
    """x * sigmoid(factor * x)"""
    return gated((Step("multiply", (0,), (factor,)), Step("sigmoid", (1,))))


def gelu(approximate: bool) -> Steps:
    """x * Phi(x), by the error function or by a hyperbolic tangent."""
    chain = Chain()
    if approximate:
        cubic = chain("multiply", chain("multiply", chain("multiply", 0, 0), 0), 0.044715)
        gate = chain("tanh", chain("multiply", chain("add", 0, cubic), math.sqrt(2 / math.pi)))
    else:
        gate = chain("erf", chain("multiply", 0, math.sqrt(0.5)))
    chain("multiply", 0, chain("add", chain("multiply", gate, 0.5), 0.5))
    return tuple(chain.steps)


def softplus(beta: float = 1.0) -> Steps:
    """log(1 + exp(beta * x)) / beta"""
    return (Step("multiply", (0,), (beta,)), Step("softplus", (1,)), Step("divide", (2,), (beta,)))


def log_sigmoid() -> Steps:
    """log(sigmoid(x)) = -softplus(-x)"""
    return (Step("multiply", (0,), (-1.0,)), Step("softplus", (1,)), Step("multiply", (2,), (-1.0,)))


def softsign() -> Steps:
    """x / (1 + |x|)"""
    return (Step("abs", (0,)), Step("add", (1,), (1.0,)), Step("divide", (0, 2)))


def positive(or_zero: bool) -> Steps:
    """1 where x is above 0, or with `or_zero` not below, else 0."""
    if not or_zero:
        return constant_right("greater", 0.0)
    return (Step("multiply", (0,), (-1.0,)), Step("greater", (1,), (0.0,)), *affine_of_result(2, -1.0, 1.0))


def affine_of_result(result: int, gain: float, shift: float) -> Steps:
    """gain * y + shift of the last of `result` results before."""
    return (Step("multiply", (result,), (gain,)), Step("add", (result + 1,), (shift,)))


def thresholded(threshold: float, otherwise: float = 0.0) -> Steps:
    """x where it is above the threshold, else another number."""
    chain = Chain()
    above = chain("greater", 0, threshold)
    kept = chain("multiply", above, 0)
    chain("add", kept, chain("multiply", chain("subtract", above, 1.0), -otherwise))
    return tuple(chain.steps)


def shrink(threshold: float, bias: float) -> Steps:
    """x + bias below -threshold, x - bias above threshold, else 0."""
    chain = Chain()
    above = chain("greater", 0, threshold)
    below = chain("greater", chain("multiply", 0, -1.0), threshold)
    high = chain("multiply", chain("subtract", 0, bias), above)
    chain("add", high, chain("multiply", chain("add", 0, bias), below))
    return tuple(chain.steps)


def tanh_shrink() -> Steps:
    """x - tanh(x)"""
    return (Step("tanh", (0,)), Step("subtract", (0, 1)))
