"""A bundle as a function on arrays."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import numpy.typing as npt

from lutra.host.build import Builder, runtime_abi, runtime_directory
from lutra.host.errors import BundleError, DataError
from lutra.host.manifest import Manifest, Port, read_manifest

Int8Array = npt.NDArray[np.int8]
FloatArray = npt.NDArray[np.float32]

_SIMULATOR = Path(__file__).parent / "csrc/simulator.c"
_INTERFACE = """
    extern const size_t simulator_input_sizes[], simulator_output_sizes[];
    int simulator_run(int8_t *arena, size_t samples, const int8_t *const *inputs, int8_t *const *outputs,
                      int8_t *layers, size_t layers_bytes);
    size_t simulator_arena_bytes(void);
    int simulator_check(void);
"""
_STATUS = {-1: "LUTRA_ERROR_NULL", -2: "LUTRA_ERROR_ARENA", -3: "LUTRA_ERROR_ALIGNMENT", -4: "LUTRA_ERROR_CORRUPT"}
_CHUNK = 64  # samples a C call: threads stay busy to the end, and Ctrl-C does not wait long


def open_bundle(directory: Path, *, runtime: Path | None = None, compiler: str | None = None) -> "Bundle":
    """Compiles the bundle in `directory` with the host's C compiler (once: the result is cached) and loads it.

    `runtime`: a copy of runtime_c, by default this package's; `compiler`: a command with options, by default `$CC` or `cc`.
    Raises BundleError for a bundle that is damaged or of another version, ToolError if it cannot be compiled.
    """
    manifest = read_manifest(directory)
    runtime = runtime or runtime_directory()
    if manifest.abi != runtime_abi(runtime):
        raise BundleError(
            f"{directory} is for ABI {manifest.abi} of the runtime, {runtime} has ABI {runtime_abi(runtime)}: "
            "generate the bundle again or use the runtime of the compiler that wrote it"
        )
    library = Builder(runtime, compiler).library(_SIMULATOR, dict(manifest.sources), _defines(manifest))
    return Bundle(manifest, library)


class Bundle:
    """A compiled bundle. Made by `open_bundle`; safe to use from several threads."""

    def __init__(self, manifest: Manifest, library: Path) -> None:
        self._manifest = manifest
        self._ffi = cffi.FFI()
        self._ffi.cdef(_INTERFACE)
        self._c = self._ffi.dlopen(str(library))
        for ports, sizes in ((self.inputs, self._c.simulator_input_sizes), (self.outputs, self._c.simulator_output_sizes)):
            for index, port in enumerate(ports):
                if port.size_bytes != sizes[index]:
                    raise BundleError(
                        f"{manifest.prefix}.json gives '{port.name}' {port.size_bytes} bytes, {manifest.prefix}.h {sizes[index]}: "
                        "generate the bundle again"
                    )

    @property
    def manifest(self) -> Mapping[str, Any]:
        """All of PREFIX.json (docs/bundle.md)."""
        return self._manifest.content

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs in order."""
        return self._manifest.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs in order."""
        return self._manifest.outputs

    def check(self) -> bool:
        """Whether every table matches its CRC-32: NAME_check."""
        return bool(self._c.simulator_check() == 0)

    def run(self, samples: npt.NDArray[np.floating[Any]], threads: int = 1) -> FloatArray:
        """float [n, *source_shape of the input] to float32 [n, *source_shape of the output], for one input and one output.

        Samples are preprocessed as for the float network. Raises DataError for another shape or type, NaN or infinity.
        """
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise DataError(f"the network has {len(self.inputs)} inputs and {len(self.outputs)} outputs: use run_int8")
        (output,) = self.run_int8([quantize(samples, self.inputs[0])], threads)
        return dequantize(output, self.outputs[0])

    def run_int8(self, inputs: Sequence[Int8Array], threads: int = 1) -> tuple[Int8Array, ...]:
        """int8 [n, *shape] for each input to int8 [n, *shape] for each output, both NHWC. Raises DataError for other shapes or types."""
        arrays, samples = self._checked(inputs)
        outputs = tuple(np.empty((samples, *port.shape), np.int8) for port in self.outputs)
        chunks = [slice(start, start + _CHUNK) for start in range(0, samples, _CHUNK)]
        with ThreadPoolExecutor(threads) as pool:  # the C code runs without the interpreter lock
            list(pool.map(lambda chunk: self._call([a[chunk] for a in arrays], [o[chunk] for o in outputs], np.empty(0, np.int8)), chunks))
        return outputs

    def run_layers(self, inputs: Sequence[Int8Array]) -> tuple[Int8Array, ...]:
        """The output of every layer of the manifest, int8 [n, *output_shape], as it is when the layer has run."""
        arrays, samples = self._checked(inputs)
        shapes = self._manifest.layer_shapes
        sizes = [prod(shape) for shape in shapes]
        recorded = np.empty((samples, sum(sizes)), np.int8)
        self._call(arrays, [np.empty((samples, *port.shape), np.int8) for port in self.outputs], recorded)
        parts = np.split(recorded, np.cumsum(sizes)[:-1], axis=1)
        return tuple(part.reshape(samples, *shape) for part, shape in zip(parts, shapes, strict=True))

    def _checked(self, inputs: Sequence[Int8Array]) -> tuple[list[Int8Array], int]:
        if len(inputs) != len(self.inputs):
            raise DataError(f"got {len(inputs)} inputs, the network has {len(self.inputs)}: {', '.join(port.name for port in self.inputs)}")
        for array, port in zip(inputs, self.inputs, strict=True):
            expected = (*inputs[0].shape[:1], *port.shape)
            if array.dtype != np.int8 or array.shape != expected:
                raise DataError(f"input '{port.name}' must be int8 {list(expected)}, got {array.dtype} {list(array.shape)}")
        return [np.ascontiguousarray(array) for array in inputs], len(inputs[0])

    def _call(self, inputs: list[Int8Array], outputs: list[Int8Array], layers: Int8Array) -> None:
        arena = np.empty(-(-self._c.simulator_arena_bytes() // 8), np.int64)
        status = self._c.simulator_run(
            self._pointer(arena), len(inputs[0]), [*map(self._pointer, inputs)], [*map(self._pointer, outputs)],
            self._pointer(layers), layers.nbytes,
        )
        if status:
            name = _STATUS.get(status, "unknown")
            raise BundleError(f"{self._manifest.prefix}_run returned {status} ({name}): generate the bundle again")

    def _pointer(self, array: npt.NDArray[Any]) -> Any:
        return self._ffi.cast("int8_t *", array.ctypes.data)


def quantize(samples: npt.NDArray[np.floating[Any]], port: Port) -> Int8Array:
    """float [n, *source_shape] to int8 [n, *shape], to the bit what NAME_quantize_input does. Raises DataError."""
    if samples.dtype.kind != "f" or samples.shape[1:] != port.source_shape:
        expected = ", ".join(map(str, port.source_shape))
        raise DataError(f"input '{port.name}' must be float [n, {expected}], got {samples.dtype} {list(samples.shape)}")
    finite = np.isfinite(samples).all(axis=tuple(range(1, samples.ndim)))
    if not finite.all():
        raise DataError(f"sample {finite.argmin()} for input '{port.name}' holds NaN or infinity; remove it")
    ordered = np.moveaxis(samples, 1, -1) if port.layout in ("NCHW", "NCL") else samples
    scaled = ordered.astype(np.float32) / np.float32(port.scale) + np.float32(port.zero_point)
    integers = np.clip(np.floor(scaled + np.float32(128.5)) - 128, -128, 127).astype(np.int8)
    return np.ascontiguousarray(integers).reshape(-1, *port.shape)


def dequantize(values: Int8Array, port: Port) -> FloatArray:
    """int8 [n, *shape] to float32 [n, *source_shape], to the bit what NAME_dequantize_output does."""
    ordered = np.moveaxis(values, -1, 1).reshape(-1, *port.source_shape) if port.layout in ("NCHW", "NCL") else values
    return np.float32(port.scale) * (ordered.astype(np.int16) - port.zero_point).astype(np.float32)


def _defines(manifest: Manifest) -> list[str]:
    macro = manifest.prefix.upper()

    def each(kind: str, ports: Sequence[Port], what: str) -> str:
        return ",".join(f"{macro}_{kind}_{index}_{what}" for index in range(len(ports)))

    return [
        f'-DSIMULATOR_SOURCE="{manifest.prefix}.c"',
        f"-DSIMULATOR_RUN={manifest.prefix}_run",
        f"-DSIMULATOR_CHECK={manifest.prefix}_check",
        f"-DSIMULATOR_ARENA_BYTES={macro}_ARENA_BYTES",
        f"-DSIMULATOR_INPUT_SIZES={each('INPUT', manifest.inputs, 'SIZE')}",
        f"-DSIMULATOR_OUTPUT_SIZES={each('OUTPUT', manifest.outputs, 'SIZE')}",
        f"-DSIMULATOR_INPUT_OFFSETS={each('INPUT', manifest.inputs, 'OFFSET')}",
        f"-DSIMULATOR_OUTPUT_OFFSETS={each('OUTPUT', manifest.outputs, 'OFFSET')}",
    ]
