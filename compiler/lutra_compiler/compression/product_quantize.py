"""Give every weight its integer form: codebook and indices, or int8."""

from collections.abc import Mapping

import numpy as np

from lutra_compiler.compression.default_setting import default_setting
from lutra_compiler.compression.permute_channels import permute_channels
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.config import CompressionConfig, LayerConfig
from lutra_compiler.errors import CompressionError
from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized
from lutra_compiler.ir.graph import FloatArray, Graph
from lutra_compiler.ir.ops import Conv2d
from lutra_compiler.numerics.product_quantization import quantize_together, row_sizes


def layer_settings(graph: Graph, config: CompressionConfig) -> dict[str, LayerConfig]:
    """How each weight (by parameter name) is stored: as configured, else by default. Raises CompressionError where it cannot be."""
    settings = {}
    layers = weighted_layers(graph)
    for entry in config.layers:
        if not any(entry.matches(op.name, index) for index, op in enumerate(layers)):
            known = ", ".join(f"{index} '{op.name}'" for index, op in enumerate(layers))
            raise CompressionError(f"layers names {entry.layer!r}, but the layers with weights are {known}")
    for index, op in enumerate(layers):
        chosen = config.layer(op.name, index)
        settings[op.weight] = default_setting(graph, op, trained=config.method != "reconstruct") if chosen is None else chosen
        if chosen is not None and chosen.kind == "pq" and isinstance(op, Conv2d) and op.groups > 1:
            raise CompressionError(f"layer '{op.name}' has {op.groups} groups: only kind = \"int8\" stores grouped convolutions")
    _shared(graph, settings)
    return settings


def order_channels(graph: Graph, config: CompressionConfig) -> Graph:
    """The same function with input channels in a better order for the layers that `permute`."""
    settings = layer_settings(graph, config)
    chosen = {name: setting.subvector for name, setting in settings.items() if setting.kind == "pq" and setting.permute}
    return permute_channels(graph, chosen, config.seed) if chosen else graph


def product_quantize(graph: Graph, config: CompressionConfig, importance: Mapping[str, FloatArray] | None = None) -> Graph:
    """Encode every convolution, fully connected and recurrent layer of a float graph.

    `importance`: by weight, what weighs squared errors of its entries, in its shape or its shape without the rows.
    """
    settings = layer_settings(graph, config)
    rng = np.random.default_rng(config.seed)
    encodings: dict[str, ProductQuantized | ScalarQuantized] = {}
    for weights in _shared(graph, settings):
        chosen = settings[weights[0]]
        if chosen.kind == "int8":
            encodings[weights[0]] = scalar_quantize(graph.parameters[weights[0]])
            continue
        found = quantize_together(
            [graph.parameters[name] for name in weights],
            chosen.codewords,
            chosen.subvector,
            rng,
            importance=None if importance is None else [importance[name] for name in weights],
            pin_zero=chosen.zero_codeword,
            rate=chosen.rate,
            norm=chosen.codeword_norm,
        )
        for name, rows in zip(weights, found, strict=True):
            encodings[name] = ProductQuantized(rows.codebook, rows.indices, rows.scale, graph.weight_shape(name), chosen.index_bits)
    return graph.with_encodings(encodings)


def _shared(graph: Graph, settings: Mapping[str, LayerConfig]) -> list[list[str]]:
    """The weights in order, those that share a codebook together. Raises CompressionError where their settings differ."""
    layers = {op.weight: op.name for op in weighted_layers(graph)}
    together: dict[str, list[str]] = {}
    for name in layers:
        setting = settings[name]
        shared = setting.kind == "pq" and setting.codebook is not None
        together.setdefault(f"codebook {setting.codebook}" if shared else f"weight {name}", []).append(name)
    for names in together.values():
        first = settings[names[0]]
        for name in names[1:]:
            for field in ("codewords", "subvector", "codeword_norm", "zero_codeword", "rate"):
                mine, other = getattr(settings[name], field), getattr(first, field)
                if mine != other:
                    raise CompressionError(
                        f"layers '{layers[names[0]]}' and '{layers[name]}' share the codebook '{first.codebook}', but {field} is {other} "
                        f"in one and {mine} in the other: give both the same, or another codebook"
                    )
    return list(together.values())


def scalar_quantize(weight: np.ndarray) -> ScalarQuantized:
    """int8 -127..127 with scale max |row| / 127."""
    scale = row_sizes(np.abs(weight).reshape(len(weight), -1).max(1)) / np.float32(127)
    return ScalarQuantized(np.rint(weight / scale.reshape(-1, *([1] * (weight.ndim - 1)))).astype(np.int8), scale)
