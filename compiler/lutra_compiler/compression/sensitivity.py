"""What a network loses if a single layer is stored in another way, and which ways are worth a try."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lutra_compiler.compression.allocate import Layer, Level, Option, given_codebooks
from lutra_compiler.compression.product_quantize import scalar_quantize
from lutra_compiler.compression.prune import met_by, weighted_layers
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import training_device
from lutra_compiler.config import CompressionConfig, LayerConfig
from lutra_compiler.ir.encoding import ProductQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d
from lutra_compiler.numerics.product_quantization import quantize_together

CODEWORDS = (16, 64, 256)
SUBVECTORS = (1, 2, 4, 8, 16)
_BATCH = 256
MEASURED_OPTIONS = 8  # options of a layer whose loss is measured
_SHARING = 3  # layers, at least, that a shared codebook is considered for, and such codebooks that are measured, at most
_POINTS_A_CODEWORD = 4  # subvectors that a codeword must stand for, at least

Floats = npt.NDArray[np.float64]


def settings_of(graph: Graph, config: CompressionConfig, norm: int) -> list[list[LayerConfig]]:
    """The settings to choose from for each layer, int8 first; the configured one alone where `config.layers` has one.

    `norm`: the bound of codewords' L1 norm. Codebooks are shared where networks are trained alone.
    """
    settings = []
    for number, op in enumerate(weighted_layers(graph)):
        configured = config.layer(op.name, number)
        if configured is not None:
            settings.append([replace(configured, layer=number)])
            continue
        ways = [LayerConfig(number, "int8")]
        shape = graph.weight_shape(op.weight)
        if not (isinstance(op, Conv2d) and op.groups > 1):
            taps = int(np.prod(shape[:-1]))
            ways += [
                LayerConfig(number, "pq", k, d, codeword_norm=norm)
                for d in SUBVECTORS
                for k in CODEWORDS
                if d < 2 * shape[-1] and taps * -(-shape[-1] // d) >= _POINTS_A_CODEWORD * k
            ]
        settings.append(ways)
    if config.method == "reconstruct":
        return settings
    return [ways + shared for ways, shared in zip(settings, _shared_settings(graph, settings), strict=True)]


def _shared_settings(graph: Graph, settings: Sequence[Sequence[LayerConfig]]) -> list[list[LayerConfig]]:
    """Settings of convolutions that share a codebook, where there are several that may choose."""
    layers = weighted_layers(graph)
    free = [n for n, op in enumerate(layers) if isinstance(op, Conv2d) and len(settings[n]) > 1]
    sharing = [n for n in free if graph.weight_shape(layers[n].weight)[-1] > 2]
    found: list[list[LayerConfig]] = [[] for _ in layers]
    if len(sharing) < _SHARING:
        return found
    weights = sum(int(np.prod(graph.weight_shape(layers[n].weight))) for n in sharing)
    for k, d in product(CODEWORDS, SUBVECTORS[1:-1]):
        if weights // d >= _POINTS_A_CODEWORD * k:
            for n in sharing:
                found[n].append(replace(settings[n][1], codewords=k, subvector=d, codebook=f"shared-{k}x{d}"))
    return found


def encode(weights: Sequence[npt.NDArray[np.float32]], setting: LayerConfig, seed: int) -> list[WeightEncoding]:
    """Weights in a setting, with one codebook for all of them, found quickly; the same for the same seed."""
    if setting.kind == "int8":
        return [scalar_quantize(weight) for weight in weights]
    place = int(setting.layer) if setting.codebook is None else 1 << 16
    rng = np.random.default_rng([seed, place, setting.codewords, setting.subvector])
    rows = quantize_together(
        weights, setting.codewords, setting.subvector, rng, iterations=8, starts=1, pin_zero=setting.zero_codeword, rate=setting.rate,
        norm=setting.codeword_norm,
    )  # fmt: skip
    return [
        ProductQuantized(found.codebook, found.indices, found.scale, weight.shape, setting.index_bits)
        for found, weight in zip(rows, weights, strict=True)
    ]


@torch.no_grad()
def outputs_of(graph: Graph, inputs: Tensor) -> Tensor:
    """The network's outputs [n, ...]."""
    device = training_device()
    module = TorchGraph(graph).to(device).eval()
    return torch.cat([module(batch.to(device)).cpu() for batch in inputs.split(_BATCH)])


def loss_against(scores: Tensor, wanted: Tensor, classes: bool) -> float:
    """What is lost against the float network's outputs `wanted`: the mean KL divergence in nats if they are scores of `classes`, else the
    mean squared difference relative to their variance."""
    if not classes:
        return float(functional.mse_loss(scores, wanted) / wanted.var().clamp_min(1e-12))
    student, teacher = functional.log_softmax(scores.double(), 1), functional.log_softmax(wanted.double(), 1)
    return float(functional.kl_div(student, teacher, reduction="batchmean", log_target=True))


def measure_losses(
    level: Level,
    graph: Graph,
    inputs: Tensor,
    classes: bool,
    encoding_of: Callable[[LayerConfig], WeightEncoding],
    told: Callable[[int, int], None],
) -> Level:
    """The level with the loss of every option that may be worth its bytes, measured on `inputs` with only that layer replaced.

    A cheap proxy decides first: the weights' error, weighted by the inputs' second moments and the outputs' Fisher information.
    `told(done, of)` is called after each measurement.
    """
    wanted = outputs_of(graph, inputs)
    moments, fisher = second_moments(graph, inputs[:512], classes)
    ops = weighted_layers(graph)

    proxies = [
        [_proxy(graph.weight(op.weight), encoding_of(option.setting), moments[op.output], fisher[op.output]) for option in layer.options]
        for op, layer in zip(ops, level.layers, strict=True)
    ]
    given = given_codebooks(level)
    shared = _promising_codebooks(level, proxies, set(level.codebooks) - given)
    chosen = [
        _promising(layer, proxy) + [n for n, option in enumerate(layer.options) if option.setting.codebook in shared | given]
        for layer, proxy in zip(level.layers, proxies, strict=True)
    ]
    total, done = sum(map(len, chosen)), 0
    layers = []
    for op, layer, numbers in zip(ops, level.layers, chosen, strict=True):
        options = list(layer.options)
        for number in numbers:
            replaced = graph.with_encodings({op.weight: encoding_of(options[number].setting)})
            options[number] = replace(options[number], loss=loss_against(outputs_of(replaced, inputs), wanted, classes))
            done += 1
            told(done, total)
        layers.append(replace(layer, options=tuple(options)))
    return replace(level, layers=tuple(layers))


def _proxy(weight: npt.NDArray[np.float32], encoding: WeightEncoding, moments: Floats, fisher: Floats) -> float:
    error = np.square(encoding.dense() - weight).astype(np.float64).reshape(len(weight), -1, weight.shape[-1]).sum(1)
    spread = moments if error.shape[1] == len(moments) else np.full(error.shape[1], moments.mean())  # of groups: any of their inputs
    return float(np.resize(fisher, len(error)) @ error @ spread)  # of gates: that of their unit


def _promising(layer: Layer, proxies: Sequence[float]) -> list[int]:
    """Numbers of the options with codebooks of their own that no other beats in bytes, proxy and cycles; thinned out evenly by bytes."""

    def cycles(option: Option) -> float:
        return min((way.cycles for way in option.ways), default=np.inf)

    own = [n for n, option in enumerate(layer.options) if option.setting.codebook is None]

    def beaten(number: int) -> bool:
        mine = layer.options[number]
        return any(
            (other := layer.options[n]).model_bytes <= mine.model_bytes
            and proxies[n] <= proxies[number]
            and cycles(other) <= 1.1 * cycles(mine)
            and (other.model_bytes, proxies[n]) != (mine.model_bytes, proxies[number])
            for n in own
        )

    front = sorted((n for n in own if not beaten(n)), key=lambda n: (layer.options[n].model_bytes, n))
    if len(front) <= MEASURED_OPTIONS:
        return front
    return [front[round(i * (len(front) - 1) / (MEASURED_OPTIONS - 1))] for i in range(MEASURED_OPTIONS)]


def _promising_codebooks(level: Level, proxies: Sequence[Sequence[float]], names: set[str]) -> set[str]:
    """Those of the `names` of shared codebooks that no other beats in bytes and proxies of all layers; thinned out evenly by bytes."""
    bytes_of, proxy_of = {name: level.codebooks[name] for name in sorted(names)}, dict.fromkeys(sorted(names), 0.0)
    for layer, proxy in zip(level.layers, proxies, strict=True):
        for option, amount in zip(layer.options, proxy, strict=True):
            if option.setting.codebook is not None and option.setting.codebook in names:
                bytes_of[option.setting.codebook] += option.model_bytes
                proxy_of[option.setting.codebook] += amount
    best = [a for a in bytes_of if not any(bytes_of[b] <= bytes_of[a] and proxy_of[b] < proxy_of[a] for b in bytes_of)]
    front = sorted(best, key=bytes_of.__getitem__)
    return {front[round(i * (len(front) - 1) / (_SHARING - 1))] for i in range(_SHARING)} if front else set()


def second_moments(graph: Graph, inputs: Tensor, classes: bool) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    """By output value of each layer with weights: the mean square of each of its input channels, and the Fisher information of each of its
    outputs: the mean square of the loss's gradient, the answer drawn from the network's own (Martens 2014)."""
    device = training_device()
    module = TorchGraph(graph).to(device).eval()
    layers = weighted_layers(graph)
    moments = {op.output: np.zeros(0) for op in layers}
    fisher = {op.output: np.zeros(0) for op in layers}
    generator = torch.Generator().manual_seed(0)
    for batch in inputs.split(_BATCH):
        values = module.run(batch.to(device))
        for op in layers:
            values[op.output].retain_grad()
        scores = values[graph.outputs[0]].flatten(1)
        if classes:
            answers = torch.multinomial(scores.detach().softmax(1).cpu(), 1, generator=generator).to(device)
            loss = -torch.log_softmax(scores, 1).gather(1, answers).sum()
        else:
            loss = (scores * torch.randn(scores.shape, generator=generator).to(device)).sum()
        loss.backward()
        for op in layers:
            gradient = values[op.output].grad
            assert gradient is not None
            for sums, squares in ((fisher, gradient), (moments, values[met_by(op)].detach())):
                sums[op.output] = _square_by_channel(squares) + (sums[op.output] if sums[op.output].size else 0)
    return {name: m / len(inputs) for name, m in moments.items()}, {name: f / len(inputs) for name, f in fisher.items()}


def _square_by_channel(values: Tensor) -> Floats:
    squares = values.double().square().sum(0)
    return (squares.flatten(1).mean(1) if squares.ndim == 3 else squares).numpy(force=True)
