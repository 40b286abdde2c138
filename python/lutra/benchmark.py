"""What a bundle costs: executed instructions, flash and RAM on a board, time on the host."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lutra.boards import FlashUse, board_by_name, build_firmware, run_firmware
from lutra.host import BundleError, open_bundle

_HOST_SAMPLES = 64


@dataclass(frozen=True)
class LayerCost:
    """A layer of the manifest. `instructions`: executed for one sample, None without a board."""

    names: tuple[str, ...]
    kernel: str
    macs: int
    instructions: int | None


@dataclass(frozen=True)
class BoardCost:
    """A firmware that runs the bundle. `instructions`: executed by NAME_run for one sample; `stack_bytes`: the deepest use of the stack."""

    board: str
    instructions: int
    flash: FlashUse
    arena_bytes: int
    data_bytes: int
    stack_bytes: int


@dataclass(frozen=True)
class Benchmark:
    """`host_microseconds`: the best time of one sample on one core of this machine."""

    model: str
    macs: int
    host_microseconds: float
    layers: tuple[LayerCost, ...]
    board: BoardCost | None


def bench_bundle(name: str, directory: Path, board: str | None) -> Benchmark:
    """Measure the bundle in `directory` on random inputs, on the host and, if one is named, a board."""
    bundle = open_bundle(directory)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, (_HOST_SAMPLES, *port.shape), np.int8) for port in bundle.inputs]
    instructions: tuple[int | None, ...] = (None,) * len(bundle.manifest["layers"])
    cost = None
    if board is not None:
        with tempfile.TemporaryDirectory() as folder:
            firmware = build_firmware(directory, board_by_name(board), Path(folder))
            run = run_firmware(firmware, [array[:1] for array in inputs])
        instructions = run.layer_instructions
        cost = BoardCost(board, run.instructions, firmware.flash, firmware.ram.arena, firmware.ram.data, run.stack_bytes)
    try:
        layers = tuple(
            LayerCost(tuple(map(str, layer["source_names"])), str(layer["kernel"]), int(layer["macs"]), count)
            for layer, count in zip(bundle.manifest["layers"], instructions, strict=True)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"the bundle's manifest does not describe its layers ({error!r}); generate the bundle again") from error
    bundle.run_int8(inputs)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        bundle.run_int8(inputs)
        seconds.append(time.perf_counter() - start)
    return Benchmark(name, sum(layer.macs for layer in layers), 1e6 * min(seconds) / _HOST_SAMPLES, layers, cost)
