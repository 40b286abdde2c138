"""Compression without training data: a float network and a few hundred unlabelled samples are enough.

The network is a chain of blocks. One after the other they are quantized on the activations that the blocks before them, quantized already,
give, and then trained to give the float network's activations back (BRECQ, Li 2021): codebooks from weighted k-means and a sweep, then
codewords, row scales and biases by gradient descent. At last the whole network is trained so for its output.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lutra_compiler.compression.calibrate import calibrate
from lutra_compiler.compression.product_quantize import layer_settings, scalar_quantize
from lutra_compiler.compression.prune import weighted_layers
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import Progress, Report
from lutra_compiler.compression.weights import CodebookWeight, FloatWeight, ScalarWeight, WeightModule
from lutra_compiler.config import CompressionConfig, LayerConfig, StageConfig
from lutra_compiler.errors import CompressionError, DataError
from lutra_compiler.ir.encoding import ProductQuantized, Quantization, WeightEncoding
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import Activation, BatchNorm, Conv2d, Linear, Op, Recurrent, Weighted
from lutra_compiler.ir.shapes import infer_shapes
from lutra_compiler.numerics.product_quantization import quantize_rows
from lutra_compiler.numerics.sweep import sweep

FEWEST_SAMPLES = 16
_BATCH = 64  # samples at a time where there are no gradients
_RIDGE = 0.1  # of the mean of the moments' diagonal, at most added to it

Stage = Callable[[str, Graph, Callable[[str, Graph], Graph]], Graph]


def reconstruct(graph: Graph, samples: Tensor, config: CompressionConfig, stage: Stage, report: Report) -> Graph:
    """A float Graph of one input and one output -> the same network, encoded and calibrated.

    `samples` [n, *source shape], where networks are trained: at least 16, better some hundreds. `stage(name, graph, work)` gives
    `work(name, graph)`, or what it gave in an earlier run. Raises CompressionError, DataError.
    """
    require_reconstructible(graph, len(samples), config)
    settings, training = layer_settings(graph, config), config.reconstruction

    def train(name: str, graph: Graph, inputs: Tensor, targets: Tensor, schedule: StageConfig, number: int) -> Graph:
        rng = np.random.default_rng((config.seed, number))
        return _fit(name, graph, settings, inputs, targets, schedule, training.batch_size, rng, report)

    def one_block(number: int, block: Graph, inputs: Tensor, wanted: Tensor, targets: Tensor) -> Callable[[str, Graph], Graph]:
        def work(name: str, graph: Graph) -> Graph:
            encoded = _encode(block, inputs, wanted, settings, (config.seed, number))
            trained = train(name, encoded, inputs, targets, training.blocks, number)
            return _with_steps(graph.with_parameters(trained.parameters).with_encodings(trained.encodings), trained.quantization)

        return work

    def whole(name: str, graph: Graph) -> Graph:
        calibrated = calibrate(graph, samples.split(_BATCH))
        return train(name, calibrated, samples, wanted, training.network, 0)

    quantized = calibrate(graph, samples.split(_BATCH))
    inputs = wanted = samples  # of the block: what our network gives, and what the float network gives
    for number, block in enumerate(blocks_of(graph), 1):
        targets = _outputs(block, wanted)
        work = one_block(number, _like(block, quantized), inputs, wanted, targets)
        quantized = stage(f"block-{number}", quantized, work)
        inputs, wanted = _outputs(_like(block, quantized), inputs), targets
    return stage("network", quantized, whole)


def require_reconstructible(graph: Graph, samples: int, config: CompressionConfig) -> None:
    """Refuse what `reconstruct` cannot do with so many samples. Raises CompressionError, DataError."""
    if config.pruning.removes:
        raise CompressionError('method = "reconstruct" does not prune, which needs training: leave out [pruning], or set method = "train"')
    if min(samples, config.calibration_samples) < FEWEST_SAMPLES:
        raise DataError(
            f"reconstruction needs at least {FEWEST_SAMPLES} samples, got {samples}: give some hundreds; "
            f"calibration_samples is {config.calibration_samples}"
        )
    settings = layer_settings(graph, config)
    for op in weighted_layers(graph):
        if (shared := settings[op.weight].codebook) is not None:
            raise CompressionError(
                f"layer '{op.name}' shares the codebook '{shared}', which needs method = \"train\": reconstruction goes layer by layer"
            )


def blocks_of(graph: Graph) -> tuple[Graph, ...]:
    """The network as a chain of smaller ones of one input and one output, each with weights: residual blocks, or single layers.

    A block ends before what pools or reshapes its output: targets with more values say more of its weights.
    """
    shapes = infer_shapes(graph)
    groups: list[list[int]] = [[]]
    for index, op in enumerate(graph.ops):
        groups[-1].append(index)
        rest = graph.ops[index + 1 :]
        read_later = {name for later in rest for name in later.inputs} | set(graph.outputs)
        made = {port.name for port in graph.inputs} | {earlier.output for earlier in graph.ops[: index + 1]}
        alone = read_later & made == {op.output}
        if alone and _follows(rest) and any(_weighted(graph.ops[each]) for each in groups[-1]):
            groups.append([])
    blocks = []
    (port,) = graph.inputs
    for group in groups:
        ops = [graph.ops[index] for index in group]
        output = ops[-1].output
        blocks.append(replace(graph, inputs=(port,), outputs=(output,)).with_ops(ops))
        port = Input(output, shapes[output], blocks[-1].output_layout(shapes[output]))
    return tuple(blocks)


def _follows(rest: Sequence[Op]) -> bool:
    """Whether another block can begin with `rest`."""
    return any(map(_weighted, rest)) and not isinstance(rest[0], BatchNorm | Activation)


def _weighted(op: Op) -> bool:
    return isinstance(op, Weighted)


def _like(block: Graph, quantized: Graph) -> Graph:
    """The block with the encodings and quantization that the whole network has."""
    return replace(quantized, inputs=block.inputs, outputs=block.outputs).with_ops(block.ops)


def _with_steps(graph: Graph, trained: Mapping[str, Quantization]) -> Graph:
    """The graph with the quantization of some values replaced, and of those that share theirs."""
    roots = graph.quantization_roots()
    return replace(graph, quantization={name: trained.get(roots[name], present) for name, present in graph.quantization.items()})


def _outputs(graph: Graph, inputs: Tensor) -> Tensor:
    module = TorchGraph(graph).eval().to(inputs.device)
    with torch.no_grad():
        return torch.cat([module(batch) for batch in inputs.split(_BATCH)])


def _encode(block: Graph, inputs: Tensor, wanted: Tensor, settings: Mapping[str, LayerConfig], seed: tuple[int, ...]) -> Graph:
    """The block with all weights encoded, one after the other, each on what the layers before it, encoded already, make of `inputs`."""
    encoded = block
    for position, op in enumerate(block.ops):
        if not isinstance(op, Weighted):
            continue
        weight, setting = block.parameters[op.weight], settings[op.weight]
        encoding: WeightEncoding
        if isinstance(op, Conv2d) and op.groups > 1:
            encoding = scalar_quantize(weight)
        else:
            ours, theirs = _before(encoded, op), _before(replace(block, quantization={}), op)
            moments, crossed = _moments(op, weight.shape, ours, inputs, theirs, wanted)
            weight = _compensated(weight, moments, crossed)
            if setting.kind == "int8":
                encoding = scalar_quantize(weight)
            else:
                encoding = _codebook(weight, moments.astype(np.float32), setting, np.random.default_rng((*seed, position)))
        encoded = encoded.with_encodings({op.weight: encoding})
    return encoded


def _before(block: Graph, op: Weighted) -> Graph:
    """What computes the values that the weight of `op` meets; of a recurrent layer the hidden states of all steps."""
    if isinstance(op, Recurrent):
        return replace(block, outputs=(op.output,)).with_ops((*block.ops[: block.ops.index(op)], replace(op, sequence=True)))
    return replace(block, outputs=op.inputs).with_ops(block.ops[: block.ops.index(op)])


def _moments(
    op: Weighted, shape: tuple[int, ...], ours: Graph, inputs: Tensor, theirs: Graph, wanted: Tensor
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """E[x x^T] [n, n] of the inputs x of one output of `op`, in the order of a flattened row, and E[y x^T] with y the float network's.

    Both as if all inputs had some noise of their own, the less the more was seen: few samples do not say that no input changes alone.
    """
    encoded, reference = (TorchGraph(graph).eval().to(inputs.device) for graph in (ours, theirs))
    moments, crossed = np.zeros((2, prod(shape[1:]), prod(shape[1:])))
    count = 0
    with torch.no_grad():
        for batch, wanted_batch in zip(inputs.split(_BATCH), wanted.split(_BATCH), strict=True):
            met = encoded.run(batch)[ours.outputs[0]], reference.run(wanted_batch)[theirs.outputs[0]]
            x, y = (_rows(values, op, shape) for values in met)
            moments += (x.T @ x).numpy(force=True)
            crossed += (y.T @ x).numpy(force=True)
            count += len(x)
    share = _RIDGE * min(1.0, len(moments) / count)
    ridge = share * max(float(np.trace(moments)) / len(moments), 1e-30) * np.eye(len(moments))
    return (moments + ridge) / count, (crossed + ridge) / count


def _rows(x: Tensor, op: Weighted, shape: tuple[int, ...]) -> Tensor:
    """What each output of `op` is computed from: [outputs, taps * channels]."""
    if isinstance(op, Linear):
        return x
    if isinstance(op, Recurrent):
        return x.permute(0, 2, 3, 1).reshape(-1, shape[1])
    _, height, width, channels = shape
    top, left, bottom, right = op.padding
    patches = functional.unfold(functional.pad(x, (left, right, top, bottom)), (height, width), stride=op.stride)
    return patches.reshape(len(x), channels, height * width, -1).permute(0, 3, 2, 1).reshape(-1, height * width * channels)


def _compensated(
    weight: npt.NDArray[np.float32], moments: npt.NDArray[np.float64], crossed: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """The float weight that comes closest to the float network's output on our inputs: least squares, with the ridge around `weight`."""
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    change = np.linalg.solve(moments, (crossed - moments).T @ flat.T).T
    return (flat + change).reshape(weight.shape).astype(np.float32)


def _codebook(
    weight: npt.NDArray[np.float32], moments: npt.NDArray[np.float32], setting: LayerConfig, rng: np.random.Generator
) -> ProductQuantized:
    zero, norm = setting.zero_codeword, setting.codeword_norm
    importance = np.diagonal(moments).reshape(weight.shape[1:])
    rows = quantize_rows(
        weight, setting.codewords, setting.subvector, rng, importance=importance, pin_zero=zero, rate=setting.rate, norm=norm
    )
    rows = sweep(weight, rows, moments, pin_zero=zero, norm=norm)
    return ProductQuantized(rows.codebook, rows.indices, rows.scale, weight.shape, setting.index_bits)


def _fit(
    name: str,
    graph: Graph,
    settings: Mapping[str, LayerConfig],
    inputs: Tensor,
    targets: Tensor,
    stage: StageConfig,
    batch_size: int,
    rng: np.random.Generator,
    report: Report,
) -> Graph:
    """Train codewords, row scales and biases of an encoded graph for the least mean squared difference from `targets`; indices stay.

    Adam, with rates relative to the size of what they change: weights of some networks are a thousand times those of others.
    """
    held = {name: _held(graph, name, settings) for name in _trained(graph)}
    if not held:
        return graph
    module = TorchGraph(graph, held, learn_steps=True).eval().to(inputs.device)
    optimizer = torch.optim.Adam(_groups(module, held, inputs[:_BATCH]))
    sizes = [group["size"] for group in optimizer.param_groups]
    steps = -(-len(inputs) // batch_size) * stage.epochs
    variance = targets.var().clamp_min(1e-12)
    started, step, running = time.monotonic(), 0, 0.0
    for epoch in range(1, stage.epochs + 1):
        for chosen in torch.from_numpy(rng.permutation(len(inputs))).split(batch_size):
            rate = stage.rate_at(step / steps * stage.epochs)
            for group, size in zip(optimizer.param_groups, sizes, strict=True):
                group["lr"] = rate * size
            loss = functional.mse_loss(module(inputs[chosen]), targets[chosen]) / variance
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            module.project()
            step += 1
            running = 0.9 * running + 0.1 * loss.item() if running else loss.item()
            left = (time.monotonic() - started) / step * (steps - step)
            report(Progress(name, epoch - (step * stage.epochs < epoch * steps), stage.epochs, step, steps, running, None, left))
    return module.to_graph()


def _held(graph: Graph, name: str, settings: Mapping[str, LayerConfig]) -> WeightModule:
    encoding = graph.encodings.get(name)
    if isinstance(encoding, ProductQuantized):
        return CodebookWeight(encoding, pin_zero=settings[name].zero_codeword, norm=settings[name].codeword_norm)
    weight = torch.from_numpy(graph.weight(name))
    return FloatWeight(weight) if encoding is None else ScalarWeight(weight)


def _trained(graph: Graph) -> dict[str, Op]:
    """Every parameter but the statistics of batch norms, which are right as they are, and the op that uses it."""
    users = {name: op for op in graph.ops for name in op.parameter_names}
    return {name: op for name, op in users.items() if not (isinstance(op, BatchNorm) and name in (op.mean, op.variance))}


def _groups(module: TorchGraph, held: dict[str, WeightModule], inputs: Tensor) -> list[dict[str, Any]]:
    """The trained tensors, each with the `size` to which its learning rate is relative; encoded weights and steps are of ordinary size."""
    with torch.no_grad():
        values = module.run(inputs)
    groups = [{"params": list(module.steps.parameters()), "size": 1.0}]
    grouped: set[int] = set()  # layers with equal codebooks share them
    for name, op in _trained(module.graph).items():
        weight = held[name]
        if not isinstance(weight, FloatWeight):
            new = [parameter for parameter in weight.parameters() if id(parameter) not in grouped]
            grouped.update(map(id, new))
            groups.append({"params": new, "size": 1.0})
        elif isinstance(op, BatchNorm) and name == op.scale:
            groups.append({"params": [weight.weight], "size": _rms(weight.weight)})
        else:
            groups.append({"params": [weight.weight], "size": _rms(values[op.output])})
    return [group for group in groups if group["params"]]


def _rms(values: Tensor) -> float:
    return float(values.detach().square().mean().sqrt())
