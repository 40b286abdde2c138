"""Program: what the code generator prints and the interpreter runs. No decision is left in it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from zlib import crc32

import numpy as np
import numpy.typing as npt

from lutra_compiler.ir.encoding import Quantization
from lutra_compiler.ir.graph import Shape

ABI_VERSION = 6  # LUTRA_ABI_VERSION of the runtime this compiler writes for
ARENA_ALIGN = 4  # LUTRA_ARENA_ALIGN
CRC_BYTES = 4


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

    @property
    def alignment(self) -> int:
        """In flash: that of its values, or of the words that kernels read it as."""
        return 4 if self.role in _READ_AS_WORDS else 2 if self.role is Role.DESCRIPTOR else self.data.itemsize


_READ_AS_WORDS = (Role.CODEBOOK, Role.INDICES, Role.WEIGHTS, Role.CHANNELS)


@dataclass(frozen=True)
class TableObject:
    """Tables that lie in flash one after the other, under one CRC-32: SPEC.md, section 6. `padding`: bytes of zeros behind each."""

    tables: tuple[Table, ...]
    padding: tuple[int, ...]

    @classmethod
    def of(cls, tables: Iterable[Table]) -> "TableObject":
        """The tables in the order that needs the least padding."""
        ordered = sorted(tables, key=lambda table: (-table.alignment, table.size_bytes % table.alignment, table.index))
        last = max((table.data.itemsize for table in ordered), default=1)  # C makes a size a multiple of it
        padding, end = [], 0
        for table, alignment in zip(ordered, [*(table.alignment for table in ordered[1:]), last], strict=False):
            padding.append(-(end + table.size_bytes) % alignment)
            end += table.size_bytes + padding[-1]
        return cls(tuple(ordered), tuple(padding))

    def places(self) -> Iterator[tuple[Table, int]]:
        """Each table with its offset."""
        offset = 0
        for table, padding in zip(self.tables, self.padding, strict=True):
            yield table, offset
            offset += table.size_bytes + padding

    @property
    def checksum(self) -> int:
        """The CRC-32 of all bytes, as a little-endian target has them."""
        content = (table.data.astype(table.data.dtype.newbyteorder("<")).tobytes() for table in self.tables)
        return crc32(b"".join(data + bytes(padding) for data, padding in zip(content, self.padding, strict=True)))

    @property
    def size_bytes(self) -> int:
        """Bytes in flash, without the CRC-32."""
        return sum(table.size_bytes for table in self.tables) + sum(self.padding)


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
    flash_bytes: int | None  # tables and descriptors; of a shared codebook this layer's part
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
    def objects(self) -> tuple[TableObject, TableObject]:
        """The constant objects of the bundle: layer descriptors, and all other tables."""
        descriptors = TableObject.of(table for table in self.tables if table.role is Role.DESCRIPTOR)
        return descriptors, TableObject.of(table for table in self.tables if table.role is not Role.DESCRIPTOR)

    def bytes_of(self, call: int) -> dict[str, int]:
        """What a call takes of `model_bytes`, by role of table, "padding" and "crc". The first one that reads a table bears it, the first
        of all the CRC-32s."""
        sizes = {"crc": CRC_BYTES * sum(bool(part.tables) for part in self.objects)} if call == 0 else {}
        for part in self.objects:
            for table, padding in zip(part.tables, part.padding, strict=True):
                for kind, size in ((table.role.value, table.size_bytes), ("padding", padding)):
                    if size and table.calls[0] == call:
                        sizes[kind] = sizes.get(kind, 0) + size
        return sizes

    @property
    def model_bytes(self) -> int:
        """Bytes of the constant objects of the bundle and their CRC-32s."""
        return sum(part.size_bytes + CRC_BYTES for part in self.objects if part.tables)
