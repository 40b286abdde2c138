"""Single layers, run on the emulated boards: instructions, estimated cycles and memory traffic of any kernel for any shape.

Many layers share a firmware: a Graph in which each has an input and an output of its own. Weights are random but realistic (codewords up
to an L1 norm, outputs that use their range), and what a layer puts out is compared with the interpreter.

    python benchmarks/measure_layers.py --target cortex-m4 --count 50 --output layers.json

measures random shapes with every kernel that can compute them: a JSON list of objects with kernel, fields, cycles, instructions and more.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import accumulate
from math import prod
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from lutra.boards import BoardRun, Firmware, board_by_name, build_firmware, run_firmware
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.errors import LoweringError
from lutra_compiler.ir.encoding import HIDDEN_STATE, ProductQuantized, Quantization, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph, Input, Shape
from lutra_compiler.ir.ops import (
    Activation,
    Add,
    AveragePool,
    Binary,
    Clamp,
    Conv2d,
    Elementwise,
    Gru,
    Linear,
    Lstm,
    MaxPool,
    Normalise,
    Op,
    Padding,
    Pair,
    Rearrange,
    Select,
    Slice,
    Softmax,
    Step,
    Upsample,
)
from lutra_compiler.program.choose_kernel import Candidate, fastest
from lutra_compiler.program.cost_model import known_fields
from lutra_compiler.program.interpreter import interpret
from lutra_compiler.program.kernels import UNPACK
from lutra_compiler.program.lower import SOFTMAX_OUTPUT, lower
from lutra_compiler.program.program import Program
from lutra_compiler.records import from_plain
from lutra_compiler.target import target_by_name

# Where the code of a target is counted. Armv6-M code runs on a Cortex-M3 with more memory than any Cortex-M0 of QEMU has.
BOARD_OF = {
    "cortex-m0": "mps2-an385", "cortex-m0plus": "mps2-an385", "cortex-m3": "mps2-an385", "cortex-m4": "mps2-an386",
    "cortex-m7": "mps2-an500", "cortex-m33": "mps2-an505", "cortex-m55": "mps3-an547",
}  # fmt: skip
ARMV6M = ("cortex-m0", "cortex-m0plus")

BATCH_LAYERS, BATCH_FLASH, BATCH_RAM = 48, 1_400_000, 3_000_000
PACKED_L1 = 63  # of codewords: four table entries add as int16
INPUT_DEVIATION = 73.9  # of a uniform int8
OUTPUT_DEVIATIONS = 6.0  # that an output's range covers

Selection = Callable[[Sequence[Candidate]], Sequence[Candidate]]


@dataclass(frozen=True)
class Coding:
    """A product-quantized weight; `l1`: largest L1 norm of a codeword; `index_bits`: 4 where possible unless given.

    `zeros`: of coded indices, the share that is 0, a codeword of zeros; the others are equally frequent. None: not coded.
    """

    subvector: int
    codewords: int
    l1: int = PACKED_L1
    index_bits: int | None = None
    zeros: float | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Layer:
    """What to measure. `op`: the kind of a Graph's op; `shape`: of the input; `out`: output channels; `coding`: None is int8.

    `zero_point`: of the input; `pool`: of a max pooling that follows a convolution; `order`: of the axes of a transposition, or the axes
    that are normalised. A binary operator with an `out` has one value a channel for its second input. The input of a recurrent layer are
    the gates of all its units, `out`.
    """

    op: str
    shape: Shape
    out: int = 0
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    pool: Pair = (1, 1)
    coding: Coding | None = None
    zero_point: int = -128
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """One call of `kernel` with the `fields` of the cost model, for one input. Reads and stores count accesses; `model_bytes`: its tables
    and its descriptor."""

    layer: Layer
    kernel: str
    fields: Mapping[str, int]
    macs: int
    instructions: int
    cycles: float
    flash_reads: int
    ram_reads: int
    stores: int
    unaligned: int
    scratch_bytes: int
    model_bytes: int


# Graphs


class _Builder:
    """Puts layers side by side into a Graph."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()
        self.inputs: list[Input] = []
        self.ops: list[Op] = []
        self.outputs: list[str] = []
        self.parameters: dict[str, npt.NDArray[np.float32]] = {}
        self.encodings: dict[str, WeightEncoding] = {}
        self.quantization: dict[str, Quantization] = {}

    def graph(self) -> Graph:
        return Graph(tuple(self.inputs), tuple(self.ops), tuple(self.outputs), self.parameters, self.encodings, self.quantization)

    def add(self, layer: Layer) -> None:
        self.rng = generator(layer, 0)
        name = f"layer{len(self.outputs)}"
        x, y = self.input(f"{name}.input", layer), f"{name}.output"
        match layer.op:
            case "conv2d" | "linear":
                self.weighted(layer, name, x, y)
            case "lstm" | "gru":
                self.recurrent(layer, name, x, y)
            case "max_pool":
                self.append(MaxPool(name=name, inputs=(x,), output=y, kernel=layer.kernel, stride=layer.stride, padding=layer.padding), x)
            case "average_pool":
                self.append(AveragePool(name=name, inputs=(x,), output=y, kernel=layer.kernel, stride=layer.stride, padding=layer.padding))
            case "add":
                other = self.input(f"{name}.other", layer)
                self.append(Add(name=name, inputs=(x, other), output=y, activation=Clamp(0.0, None)))
            case "activation":
                self.append(Activation(name=name, inputs=(x,), output=y, clamp=Clamp(0.0, 1.0)))
            case "slice":
                height, width, channels = layer.shape
                bounds = {"start": (0, 0, 0), "stop": (height, width, channels), "step": (*layer.stride, 1)}
                self.append(Slice(name=name, inputs=(x,), output=y, **bounds), x)
            case "select":
                kept = np.sort(self.rng.choice(layer.shape[0], layer.out, replace=False))
                self.append(Select(name=name, inputs=(x,), output=y, indices=tuple(kept.tolist())), x)
            case "elementwise":
                self.append(Elementwise(name=name, inputs=(x,), output=y, steps=(Step("tanh", (0,)),)))
            case "multiply" | "minimum":
                shape = (1, 1, layer.shape[-1]) if layer.out else layer.shape
                other = self.input(f"{name}.other", replace(layer, shape=shape))
                self.append(Binary(name=name, inputs=(x, other), output=y, function=layer.op))
            case "transpose":
                view, order = layer.shape, layer.order
                self.append(Rearrange(name=name, inputs=(x,), output=y, view=view, order=order, shape=tuple(view[a] for a in order)), x)
            case "upsample":
                self.append(Upsample(name=name, inputs=(x,), output=y, factors=layer.stride), x)
            case "normalise":
                self.append(Normalise(name=name, inputs=(x,), output=y, axes=layer.order))
                self.quantization[y] = Quantization(0.03, 0)
            case "softmax":
                self.append(Softmax(name=name, inputs=(x,), output=y))
                self.quantization[y] = SOFTMAX_OUTPUT
            case _:
                raise ValueError(f"no layer of kind {layer.op}")
        self.outputs.append(self.ops[-1].output)

    def input(self, name: str, layer: Layer) -> str:
        self.inputs.append(Input(name, layer.shape, "NHWC" if len(layer.shape) == 3 else "NF"))
        self.quantization[name] = Quantization(float(np.float32(self.rng.uniform(0.01, 0.05))), layer.zero_point)
        return name

    def append(self, op: Op, same_as: str | None = None) -> None:
        """Add an op whose output is quantized as the value `same_as`, or as its first input but for the zero point."""
        self.ops.append(op)
        before = self.quantization[op.inputs[0]]
        self.quantization[op.output] = before if same_as else Quantization(before.scale * 1.3, -128)

    def weighted(self, layer: Layer, name: str, x: str, y: str) -> None:
        """A layer with weights, rectified; each channel has a deviation around one and a mean around zero."""
        source = self.quantization[x]
        channels = layer.shape[-1] // layer.groups
        encoding = self.encoding(layer, (layer.out, *layer.kernel, channels) if layer.op == "conv2d" else (layer.out, channels))
        rows = encoding.integers().reshape(layer.out, -1).astype(np.float64)
        deviation = INPUT_DEVIATION * np.maximum(np.sqrt(np.square(rows).sum(axis=1)), 1.0)
        scale = self.rng.uniform(0.5, 1.5, layer.out) / deviation / source.scale
        mean = source.scale * scale * (-0.5 - source.zero_point) * rows.sum(axis=1)
        self.encodings[f"{name}.weight"] = replace(encoding, scale=scale.astype(np.float32))
        self.parameters[f"{name}.bias"] = (self.rng.normal(0.3, 0.5, layer.out) - mean).astype(np.float32)
        settings = {
            "name": name, "inputs": (x,), "output": y, "weight": f"{name}.weight", "bias": f"{name}.bias", "activation": Clamp(0.0, None),
        }
        if layer.op == "linear":
            self.ops.append(Linear(**settings))  # type: ignore[arg-type]
        else:
            self.ops.append(Conv2d(**settings, stride=layer.stride, padding=layer.padding, groups=layer.groups))  # type: ignore[arg-type]
        self.quantization[y] = Quantization(OUTPUT_DEVIATIONS / 2 / 255, -128)
        if layer.pool != (1, 1):
            self.append(MaxPool(name=f"{name}.pool", inputs=(y,), output=f"{y}.pooled", kernel=layer.pool, stride=layer.pool), y)

    def recurrent(self, layer: Layer, name: str, x: str, y: str) -> None:
        """A recurrent layer whose gates take many values."""
        kind = Lstm if layer.op == "lstm" else Gru
        encoding = self.encoding(replace(layer, out=layer.shape[-1]), (layer.shape[-1], layer.out))
        deviation = np.sqrt(np.square(encoding.integers().astype(np.float64)).sum(axis=1))
        scale = self.rng.uniform(1, 3, layer.shape[-1]) / np.maximum(deviation, 1.0)
        self.encodings[f"{name}.weight"] = replace(encoding, scale=scale.astype(np.float32))
        self.parameters[f"{name}.bias"] = self.rng.normal(0, 0.5, layer.shape[-1]).astype(np.float32)
        self.ops.append(kind(name=name, inputs=(x,), output=y, weight=f"{name}.weight", bias=f"{name}.bias"))
        self.quantization[y] = HIDDEN_STATE

    def encoding(self, layer: Layer, shape: Shape) -> WeightEncoding:
        rng, scale = self.rng, np.ones(layer.out, np.float32)
        if layer.coding is None:
            return ScalarQuantized(np.clip(np.rint(rng.normal(0, 35, shape)), -127, 127).astype(np.int8), scale)
        codewords, subvector = layer.coding.codewords, layer.coding.subvector
        codebook = rng.normal(0, 1, (codewords, subvector))
        codebook *= layer.coding.l1 * rng.uniform(0.4, 1.0, (codewords, 1)) / np.abs(codebook).sum(axis=1, keepdims=True)
        indices = rng.integers(0, codewords, (layer.out, prod(shape[1:-1]), -(-shape[-1] // subvector)), np.uint8, endpoint=False)
        zeros = layer.coding.zeros
        if zeros is not None:
            codebook[0], indices = 0, np.where(rng.random(indices.shape) < zeros, 0, np.maximum(indices, 1)).astype(np.uint8)
        return ProductQuantized(
            codebook=np.clip(np.trunc(codebook), -128, 127).astype(np.int8),
            indices=indices,
            scale=scale,
            shape=shape,
            index_bits=layer.coding.index_bits or (4 if codewords <= 16 else 8),
            coded=zeros is not None,
        )


def generator(layer: Layer, purpose: int) -> np.random.Generator:
    """Random numbers of a layer, whatever is beside it."""
    return np.random.default_rng([purpose, crc32(repr(layer).encode())])


def graph_of(layers: Iterable[Layer]) -> Graph:
    """The layers side by side, each with inputs and an output of its own."""
    builder = _Builder()
    for layer in layers:
        builder.add(layer)
    return builder.graph()


# Choosing kernels


def every_candidate(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """All there are for the target, those that take more flash included."""
    return [candidate for candidate in candidates if not candidate.objection or candidate.kernel.endswith("_dense")]


def first_candidate(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The first one."""
    return candidates[:1]


def one_of_each_kernel(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The one that the compiler would take if it had only this kernel, for each kernel."""
    candidates = every_candidate(candidates)
    kernels = dict.fromkeys(candidate.kernel for candidate in candidates)
    return [fastest([replace(c, objection="") for c in candidates if c.kernel == kernel]) for kernel in kernels]


def candidates_of(layer: Layer, target: str, select: Selection) -> Sequence[Candidate]:
    """The selected ways to compute a layer; none if its integers come out too coarse."""
    seen: list[Sequence[Candidate]] = []

    def look(candidates: Sequence[Candidate]) -> Candidate:
        seen.append(candidates)
        return candidates[0]

    try:
        lower(graph_of([layer]), target_by_name(target), choose=look)
    except LoweringError:
        return ()
    return select(seen[0])


@dataclass(frozen=True)
class Case:
    """A layer, and the kernel and settings to compute it with."""

    layer: Layer
    kernel: str
    settings: Mapping[str, int]  # descriptor fields that no layer decides
    flash_bytes: int
    ram_bytes: int

    def chosen(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate that this case is about."""
        return next(c for c in candidates if c.kernel == self.kernel and all(c.fields[name] == n for name, n in self.settings.items()))


SETTINGS = ("block", "keep_offsets", "packed_sums")


def cases_of(layer: Layer, target: str, select: Selection) -> list[Case]:
    """The selected ways to measure a layer."""
    ram = 3 * prod(layer.shape) + prod(layer.shape[:-1]) * layer.out
    return [
        Case(
            layer, candidate.kernel, {name: candidate.fields[name] for name in SETTINGS if name in candidate.fields},
            candidate.flash_bytes, ram + candidate.scratch_bytes,
        )
        for candidate in candidates_of(layer, target, select)
    ]  # fmt: skip


# Measuring


def batches(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Cases that fit a firmware together."""
    batch: list[Case] = []
    for case in cases:
        full = [*batch, case]
        if batch and (
            len(full) > BATCH_LAYERS
            or sum(c.flash_bytes for c in full) > BATCH_FLASH
            or sum(c.ram_bytes for c in full) > BATCH_RAM
        ):
            yield batch
            full = [case]
        batch = full
    if batch:
        yield batch


@dataclass(frozen=True)
class BatchRun:
    """A firmware of many layers that ran, and gave what the interpreter gives."""

    program: Program
    firmware: Firmware
    run: BoardRun
    measurements: tuple[Measurement, ...]


def measure_batch(target: str, build_dir: Path, cases: Sequence[Case]) -> BatchRun:
    """Measure cases that fit a firmware. Raises AssertionError if an output is not the interpreter's or hardly varies."""
    remaining = iter(cases)
    program = lower(
        graph_of(case.layer for case in cases), target_by_name(target), choose=lambda candidates: next(remaining).chosen(candidates)
    )
    layer_of = {f"layer{i}": case.layer for i, case in enumerate(cases)}
    inputs = [generator(layer_of[p.name.partition(".")[0]], 1).integers(-128, 128, (1, *p.shape), np.int8) for p in program.inputs]
    board = board_by_name(BOARD_OF[target])
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(emit(program, "layers", {}), Path(folder, "layers"))
        firmware = build_firmware(Path(folder, "layers"), board, build_dir, target if target in ARMV6M else None)
        run = run_firmware(firmware, inputs)
    expected = interpret(program, inputs).outputs
    for case, wanted, found in zip(cases, expected, run.outputs, strict=True):
        assert np.array_equal(wanted, found), f"{case} differs from the interpreter on {target} in {(wanted != found).sum()} values"
        assert wanted.size < 32 or len(np.unique(wanted)) > 8, f"{case} puts out too few different values to tell whether it is right"
    if target in ARMV6M:
        assert run.unaligned == 0, f"{run.unaligned} unaligned accesses, which fault on {target}"
    own = accumulate(call.kernel != UNPACK for call in program.calls)  # calls of layers; that of their indices comes before
    measurements = tuple(
        Measurement(
            layer=case.layer,
            kernel=call.kernel.removeprefix("lutra_"),
            fields=dict(known_fields(call, program)),
            macs=call.layer.macs,
            instructions=int(rows["executions"].sum()),
            cycles=cycles,
            flash_reads=int(rows["flash_reads"].sum()),
            ram_reads=int(rows["ram_reads"].sum()),
            stores=int(rows["stores"].sum()),
            unaligned=int(rows["unaligned"].sum()),
            scratch_bytes=0 if call.scratch is None else program.buffers[call.scratch].size_bytes,
            model_bytes=case.flash_bytes,
        )
        for index, (call, cycles, layers) in enumerate(zip(program.calls, run.layer_cycles(), own, strict=True))
        for case in [cases[layers - (call.kernel != UNPACK)]]
        for rows in [run.profile[run.profile["layer"] == index]]
    )
    return BatchRun(program, firmware, run, measurements)


def measure(
    target: str, layers: Iterable[Layer], select: Selection = one_of_each_kernel, build_dir: Path | None = None
) -> list[Measurement]:
    """Measure layers, each with all kernels that `select` takes of those that can compute it."""
    with tempfile.TemporaryDirectory() as temporary:
        cases = [case for layer in layers for case in cases_of(layer, target, select)]
        return [m for batch in batches(cases) for m in measure_batch(target, build_dir or Path(temporary), batch).measurements]


# Random shapes


def random_layer(rng: np.random.Generator) -> Layer:
    """A layer with weights as networks for microcontrollers have them."""

    def pick(*choices: int) -> int:
        return int(rng.choice(choices))

    zero_point = pick(-128, -128, -128, 0, int(rng.integers(-127, 128)))
    codewords = pick(16, 16, 16, 32, 64, 128, 256)
    coding = Coding(pick(2, 4, 4, 8, 8, 8, 16), codewords, l1=pick(PACKED_L1, PACKED_L1, 120, 250))
    coding = replace(coding, l1=min(coding.l1, 24 * coding.subvector))
    kind = pick(*range(10))
    if kind < 3:
        shape = (pick(40, 64, 100, 128, 256, 300, 400, 784, int(rng.integers(8, 600))),)
        out = pick(10, 12, 32, 64, 100, 128, 300)
        return Layer("linear", shape, out, coding=coding if pick(0, 1, 1) else None, zero_point=zero_point)
    channels = pick(1, 3, 4, 8, 12, 16, 20, 24, 32, 48, 64, 64, 96, 128)
    size = (int(rng.integers(3, 17)), int(rng.integers(3, 17)))
    kernel = pick(1, 3, 3, 3, 5)
    kernel = min(kernel, *size)
    stride = pick(1, 1, 1, 2)
    pad = kernel // 2 if pick(0, 1, 1) else 0
    out = pick(8, 12, 16, 24, 32, 48, 64, 96)
    layer = Layer("conv2d", (*size, channels), out, (kernel, kernel), (stride, stride), (pad,) * 4, zero_point=zero_point)
    if kind == 3 and channels > 1:
        return replace(layer, out=channels, groups=channels)
    return layer if kind == 4 else replace(layer, coding=coding)


def random_layers(seed: int, count: int, macs: int = 3_000_000) -> list[Layer]:
    """`count` different layers of at most `macs` multiply-adds."""
    rng = np.random.default_rng(seed)
    layers: dict[Layer, None] = {}
    while len(layers) < count:
        layer = random_layer(rng)
        if prod(layer.shape[:-1]) // prod(layer.stride) * layer.out * prod(layer.kernel) * layer.shape[-1] // layer.groups <= macs:
            layers[layer] = None
    return list(layers)


def coded_layers(seed: int, count: int) -> list[Layer]:
    """`count` fully connected layers with coded indices."""
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(count):
        coding = Coding(8, int(rng.choice([16, 16, 16, 32, 64, 256])), zeros=float(rng.choice([0.02, 0.3, 0.6, 0.8, 0.9, 0.95])))
        layers.append(Layer("linear", (8 * int(rng.integers(4, 60)),), int(rng.integers(8, 100)), coding=coding))
    return layers


OTHER_LAYERS = (
    Layer("max_pool", (16, 16, 20), kernel=(2, 2), stride=(2, 2)),
    Layer("max_pool", (9, 9, 32), kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    Layer("average_pool", (8, 8, 64), kernel=(8, 8), stride=(1, 1)),
    Layer("average_pool", (12, 12, 8), kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    Layer("add", (16, 16, 32)),
    Layer("add", (7, 5, 9)),
    Layer("activation", (16, 16, 16)),
    Layer("activation", (300,)),
    Layer("slice", (16, 16, 16), stride=(2, 2)),
    Layer("slice", (9, 9, 3), stride=(2, 1)),
    Layer("select", (784,), 400),
    Layer("select", (256,), 230),
    Layer("select", (100,), 9),
    Layer("elementwise", (16, 16, 8)),
    Layer("elementwise", (100,)),
    Layer("multiply", (8, 8, 16)),
    Layer("multiply", (8, 8, 16), 1),
    Layer("multiply", (9, 7, 3), 1),
    Layer("minimum", (8, 8, 16)),
    Layer("minimum", (9, 7, 3), 1),
    Layer("transpose", (8, 8, 16), order=(2, 0, 1)),
    Layer("transpose", (9, 7, 3), order=(1, 0, 2)),
    Layer("transpose", (5, 30, 4), order=(2, 1, 0)),
    Layer("upsample", (6, 6, 8), stride=(2, 2)),
    Layer("upsample", (9, 5, 3), stride=(2, 3)),
    Layer("normalise", (8, 8, 16), order=(0, 1)),
    Layer("normalise", (8, 8, 16), order=(2,)),
    Layer("normalise", (1, 20, 64), order=(2,)),
    Layer("normalise", (300,), order=(0,)),
    Layer("softmax", (10,)),
    Layer("softmax", (100,)),
    *(
        Layer(cell, (1, steps, gates * units), units, coding=coding, zero_point=3)
        for cell, gates in (("lstm", 4), ("gru", 3))
        for steps, units in ((20, 8), (6, 40), (3, 24))
        for coding in (None, Coding(4, 16))
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure random layers with every kernel that can compute them.")
    parser.add_argument("--target", choices=BOARD_OF, default="cortex-m4")
    parser.add_argument("--count", type=int, default=50, help="shapes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--macs", type=int, default=1_000_000, help="largest layer")
    parser.add_argument("--others", action="store_true", help="layers without weights as well")
    parser.add_argument("--layers", type=Path, help="JSON list of layers, as in the output, instead of random ones")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    layers = read_layers(arguments.layers) if arguments.layers else random_layers(arguments.seed, arguments.count, arguments.macs)
    layers += OTHER_LAYERS if arguments.others else ()
    parts = [layers[i :: arguments.processes] for i in range(arguments.processes)]
    with ProcessPoolExecutor(arguments.processes) as pool:
        results = list(pool.map(partial(measure, arguments.target, select=every_candidate), parts))
    arguments.output.write_text(json.dumps([asdict(m) for part in results for m in part], indent=1) + "\n")


def read_layers(path: Path) -> list[Layer]:
    """Layers as `main` writes them, or measurements of them."""
    return list(dict.fromkeys(from_plain(Layer, row.get("layer", row), str(path)) for row in json.loads(path.read_text())))


if __name__ == "__main__":
    main()
