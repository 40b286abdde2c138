"""Functions of one value that several operators compute together become one table: x * sigmoid(x), GELU by erf, HardSwish by a clamp."""

from dataclasses import dataclass, replace

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Activation, Add, Binary, Clamp, Elementwise, Op, Step
from lutra_compiler.ir.verify import MAX_STEPS

Steps = tuple[Step, ...]


@dataclass(frozen=True)
class _Function:
    """A value as `steps` of the value `root`."""

    root: str
    steps: Steps = ()


def merge_elementwise(graph: Graph) -> Graph:
    """Compute each value that is a function of one other value by one Elementwise, and drop what nothing reads any more.

    A clamp or a sum of whole values stays as it is unless it is part of such a function.
    """
    functions: dict[str, _Function] = {}
    ops: list[Op] = []
    for op in graph.ops:
        before = [functions.get(value, _Function(value)) for value in op.inputs]
        steps = _steps_of(op, [function.steps for function in before]) if len({function.root for function in before}) == 1 else None
        if steps is not None and len(steps) <= MAX_STEPS:
            functions[op.output] = _Function(before[0].root, steps)
            alone = isinstance(op, Activation | Add) and not any(function.steps for function in before)
            if not alone and not all(_is_clamp(step) for step in steps):
                op = Elementwise(name=op.name, inputs=(before[0].root,), output=op.output, steps=steps)
        ops.append(op)
    return _without_unread(graph, ops)


def _steps_of(op: Op, before: list[Steps]) -> Steps | None:
    """The steps of `op`'s output after those of its inputs, None if it is not elementwise."""
    match op:
        case Activation():
            return (*before[0], *_clamp_steps(op.clamp, len(before[0])))
        case Elementwise():
            return (*before[0], *_moved(op.steps, len(before[0])))
        case Add() | Binary():
            function = op.function if isinstance(op, Binary) else "add"
            first, second = before
            shared = first == second[: len(first)] or second == first[: len(second)]
            joined = max(first, second, key=len) if shared else (*first, *_moved(second, len(first), from_root=True))
            steps = (*joined, Step(function, (len(first), len(second) if shared else len(joined))))
            return steps if op.activation is None else (*steps, *_clamp_steps(op.activation, len(steps)))
        case _:
            return None


def _moved(steps: Steps, count: int, from_root: bool = False) -> Steps:
    """`steps` behind `count` other ones: of the last result of those, or else of the same root."""

    def place(index: int) -> int:
        return 0 if index == 0 and from_root else index + count

    return tuple(replace(step, inputs=tuple(map(place, step.inputs))) for step in steps)


def _clamp_steps(clamp: Clamp, last: int) -> Steps:
    bounds = [("maximum", clamp.minimum), ("minimum", clamp.maximum)]
    found = [(function, bound) for function, bound in bounds if bound is not None]
    return tuple(Step(function, (last + i,), (bound,)) for i, (function, bound) in enumerate(found))


def _is_clamp(step: Step) -> bool:
    return step.function in ("maximum", "minimum") and len(step.inputs) == 1


def _without_unread(graph: Graph, ops: list[Op]) -> Graph:
    """The graph with those of `ops` that outputs depend on."""
    read, kept = set(graph.outputs), list[Op]()
    for op in reversed(ops):
        if op.output in read:
            read.update(op.inputs)
            kept.append(op)
    return graph.with_ops(kept[::-1])
