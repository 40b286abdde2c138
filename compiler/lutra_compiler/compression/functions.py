"""The functions of Elementwise and Binary ops in torch, with gradients: ir/functions.py once more."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lutra_compiler.ir.functions import BINARY, UNARY
from lutra_compiler.ir.ops import Step

_OTHERWISE: Mapping[str, Callable[..., Tensor]] = {  # what torch has under no or another name
    "greater": lambda a, b: torch.greater(a, b).to(a.dtype),
    "power": torch.pow,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
}


def evaluate(steps: Sequence[Step], x: Tensor) -> Tensor:
    """What `steps` make of every number of `x`."""
    values = [x]
    for step in steps:
        constants = [torch.as_tensor(constant, dtype=x.dtype, device=x.device) for constant in step.constants]
        operands = [*(values[index] for index in step.inputs), *constants]
        values.append(apply(step.function, *operands))
    return values[-1]


def apply(function: str, *operands: Tensor) -> Tensor:
    """One function of ir/functions.py."""
    assert function in UNARY or function in BINARY
    found: Callable[..., Tensor] = _OTHERWISE.get(function) or getattr(torch, function)
    return found(*operands)
