"""Program: what the code generator prints and the interpreter runs. No decision is left in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.encoding import Quantization
from lutra_compiler.ir.graph import Shape

ABI_VERSION = 3  # LUTRA_ABI_VERSION of the runtime this compiler writes for
ARENA_ALIGN = 4  # LUTRA_ARENA_ALIGN


class Role(Enum):
    """What a table holds."""

    DESCRIPTOR = "descriptor"  # uint8 bytes of a Descriptor, little endian
    CODEBOOK = "codebook"  # int8 [K * d]
    INDICES = "indices"  # uint8, SPEC.md layout
    CODED = "coded"  # uint8, entropy-coded indices
    WEIGHTS = "weights"  # int8, SPEC.md layout
    CHANNELS = "channels"  # uint16 [2 * out_c]: bias (two's complement), multiplier, a pair a channel
    MULTIPLIERS = "multipliers"  # uint16
    EXPONENTIALS = "exponentials"  # uint16 [256]
    LOOKUP = "lookup"  # int8 [256]
    TANGENTS = "tangents"  # uint16 [129]
    INITIAL = "initial"  # uint16, two's complement: states before the first step, or one value for all
    MASK = "mask"  # uint8, a bit a feature, the lowest first


@dataclass(frozen=True)
class Table:
    """A constant array in flash. `data` is one-dimensional: int8, uint8 or uint16. `calls` lists the calls that read it."""

    index: int
    role: Role
    data: npt.NDArray[np.int8] | npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    calls: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes in flash."""
        return int(self.data.nbytes)


class Storage(Enum):
    """What a buffer is for."""

    INPUT = "input"
    OUTPUT = "output"
    ACTIVATION = "activation"
    SCRATCH = "scratch"
    INDICES = "indices"  # of a layer whose table is entropy-coded


@dataclass(frozen=True)
class Buffer:
    """Memory in the arena: `offset` .. `offset + size_bytes`, alive from call `first` to call `last`, both included.

    Inputs are alive from call 0, outputs to the last call. Callers may keep inputs and outputs outside the arena.
    """

    index: int
    storage: Storage
    size_bytes: int
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class Call:
    """One kernel call. Fields are those of the kernel's Descriptor; tables and buffers are given by index."""

    kernel: str
    fields: Mapping[str, int]
    descriptor: int  # table index
    tables: tuple[int, ...]  # table indices, in the kernel's order but without what `indices` stands for
    inputs: tuple[int, ...]  # buffer indices
    output: int  # buffer index
    scratch: int | None  # buffer index
    layer: "LayerRecord"
    indices: int | None = None  # buffer index: the call before has decoded the indices into it; None if they are a table


@dataclass(frozen=True)
class LayerRecord:
    """What the manifest and reports say of a call; nothing of it reaches C except `kind`, a kernel's short name."""

    kind: str  # "conv2d", "linear", ...
    source_names: tuple[str, ...]  # names of the Graph ops that this call computes
    output_value: str  # name of the Graph value in the output buffer; of decoded indices one of their own
    output_shape: Shape
    macs: int
    parameters: int  # scalars of the weight and bias that the call stands for
    candidates: tuple["Considered", ...] = ()  # what the kernel was chosen from, the chosen one included


@dataclass(frozen=True)
class Considered:
    """A way to compute a layer that was weighed against the others. Numbers are estimates for the target, None if it is impossible."""

    kernel: str
    settings: Mapping[str, int]  # descriptor fields in which candidates of one kernel differ
    cycles: float | None
    flash_bytes: int | None  # tables, descriptor and their CRC-32s
    scratch_bytes: int | None  # scratch memory and decoded indices
    why_not: str  # empty for the one that was chosen


@dataclass(frozen=True)
class Port:
    """An input or an output of the network."""

    name: str
    shape: Shape  # (height, width, channels) or (features,)
    layout: str  # how the source model has it: "NCHW", "NHWC", "NCL" or "NF"
    quantization: Quantization
    buffer: int


@dataclass(frozen=True)
class Program:
    """A network for one target: calls in order, tables, buffers, arena."""

    target: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    calls: tuple[Call, ...]
    tables: tuple[Table, ...]
    buffers: tuple[Buffer, ...]
    arena_bytes: int

    @property
    def model_bytes(self) -> int:
        """Bytes of every constant object of the bundle: tables and their CRC-32s."""
        return sum(table.size_bytes for table in self.tables) + 4 * len(self.tables)
