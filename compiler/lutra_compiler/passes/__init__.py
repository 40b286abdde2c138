"""Graph -> Graph, one pass a file, each pure; the order is here."""

from collections.abc import Callable

import numpy as np

from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.verify import verify
from lutra_compiler.passes.batchnorm_to_depthwise import batchnorm_to_depthwise
from lutra_compiler.passes.fold_affine import fold_affine
from lutra_compiler.passes.fold_batchnorm import fold_batchnorm
from lutra_compiler.passes.fuse_activation import fuse_activation
from lutra_compiler.passes.last_state import last_state
from lutra_compiler.passes.merge_elementwise import merge_elementwise
from lutra_compiler.passes.merge_padding import merge_padding
from lutra_compiler.passes.merge_rearranges import merge_rearranges
from lutra_compiler.passes.normalise_gain import normalise_gain
from lutra_compiler.passes.reorder_flatten import reorder_flatten
from lutra_compiler.passes.strengthen_rows import strengthen_rows

Pass = Callable[[Graph], Graph]

CANONICAL_PASSES: tuple[Pass, ...] = (
    last_state,
    merge_rearranges,
    fold_affine,
    fuse_activation,
    merge_padding,
    merge_elementwise,
    reorder_flatten,
    normalise_gain,
)
LOWERING_PASSES: tuple[Pass, ...] = (fold_batchnorm, batchnorm_to_depthwise, strengthen_rows)


def canonicalise(graph: Graph) -> Graph:
    """A frontend's Graph as compression wants it. Raises GraphError, ModelError."""
    return _run(CANONICAL_PASSES, graph)


def prepare_for_lowering(graph: Graph) -> Graph:
    """The Graph without batch norms, for `lower`. Raises GraphError, LoweringError."""
    return _run(LOWERING_PASSES, graph)


def _run(passes: tuple[Pass, ...], graph: Graph) -> Graph:
    verify(graph)
    for graph_pass in passes:
        with np.errstate(over="ignore", invalid="ignore"):  # what goes beyond float32 is told by name in the next line
            graph = graph_pass(graph)
        verify(graph)
    return graph
