"""How a layer's weights are stored where nobody says it."""

import numpy as np

from lutra_compiler.config import LayerConfig
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d, Weighted

_SMALL_LAYER = 1024  # weights; below, a codebook costs more than it saves
_LARGE_LAYER = 4096  # weights; from here on 256 codewords are a small part


def default_setting(graph: Graph, op: Weighted, trained: bool = True) -> LayerConfig:
    """int8 for small and grouped layers and for those with few input channels, else 16 codewords of 4: one bit a weight.

    What is not trained needs four: 256 codewords of 2, or 16 of 1 where the larger codebook does not pay.
    """
    shape = graph.weight_shape(op.weight)
    grouped = isinstance(op, Conv2d) and op.groups > 1
    if grouped or shape[-1] < 4 or int(np.prod(shape)) < _SMALL_LAYER:
        return LayerConfig(kind="int8")
    if trained:
        return LayerConfig(kind="pq", codewords=16, subvector=4)
    codewords, subvector = (256, 2) if int(np.prod(shape)) >= _LARGE_LAYER else (16, 1)
    return LayerConfig(kind="pq", codewords=codewords, subvector=subvector, codeword_norm=255)
