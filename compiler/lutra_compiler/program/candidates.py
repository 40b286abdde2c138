"""Every way to compute a layer with weights that gives the layer's numbers, with what it needs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from lutra_compiler.ir.encoding import ProductQuantized, ScalarQuantized, WeightEncoding
from lutra_compiler.numerics.index_coding import encode_indices, search
from lutra_compiler.numerics.k_means import CODEWORD_L1_LIMIT
from lutra_compiler.numerics.packing import pack_indices, split_indices
from lutra_compiler.program.choose_kernel import Candidate, Impossible, Unpacking
from lutra_compiler.program.cost_model import cycles
from lutra_compiler.program.kernels import KERNELS, UNPACK, reach8, scratch_bytes, subvectors
from lutra_compiler.program.program import Role
from lutra_compiler.program.tables import TableData

PAIRS_L1_LIMIT = 127  # the sum of two table entries is an int16
PACKED_L1_LIMIT = 63  # the sum of four is
VECTOR_TARGETS = ("cortex-m55",)  # add four int32 at once
OFFSET_LIMIT = 65536  # bytes of lookup tables that a 16-bit offset reaches

Fields = Mapping[str, int]
Tables = tuple[tuple[Role, TableData], ...]
Ways = Iterable[Candidate | Impossible]


def candidates_of(
    family: str, fields: Fields, encoding: WeightEncoding, tables: Tables, target: str, expand_weights: bool, sharing: int = 1
) -> Ways:
    """All candidates for a layer, and the kernels that are impossible for a reason worth telling.

    `family`: "conv2d", "linear", "lstm" or "gru"; `fields`: its descriptor, with 0 for all that says how weights are stored and worked
    through; `tables`: those behind its weights. `expand_weights`: whether to store product-quantized weights as int8 without an objection.
    `sharing`: layers that have its codebook; each bears a part of it.
    """
    unpacking = _unpacking(encoding) if isinstance(encoding, ProductQuantized) and encoding.coded else None
    layer = _Layer(f"lutra_{family}", fields, tables, target, expand_weights, unpacking, sharing)
    convolution = family == "conv2d"
    match encoding:
        case ScalarQuantized():
            return [layer.stored_convolution(encoding) if convolution else layer.stored(f"{layer.family}_dense", encoding)]
        case ProductQuantized():
            return layer.coded_convolution(encoding) if convolution else layer.coded_vector(encoding)


@dataclass(frozen=True)
class _Layer:
    family: str  # beginning of its kernels' names
    fields: Fields
    tables: Tables  # behind the weights: channel records, of recurrent layers more
    target: str
    expand_weights: bool
    unpacking: Unpacking | None  # of its indices
    sharing: int  # layers with its codebook

    def candidate(self, kernel: str, tables: Tables, settings: Fields | None = None) -> Candidate:
        fields = {**self.fields, **(settings or {})}
        tables = (*tables, *self.tables)
        parts = (-(-data.nbytes // self.sharing) if role is Role.CODEBOOK else data.nbytes for role, data in tables)
        flash = sum(parts) + KERNELS[kernel].descriptor.size_bytes
        time, scratch = cycles(kernel, fields, self.target), scratch_bytes(kernel, fields)
        unpacking = self.unpacking if "indices" in KERNELS[kernel].tables else None
        if unpacking:
            flash += unpacking.coded.nbytes + KERNELS[UNPACK].descriptor.size_bytes
            time += cycles(UNPACK, {**unpacking.fields, **unpacking.search._asdict()}, self.target)
            scratch = unpacking.index_bytes + max(scratch, scratch_bytes(UNPACK, unpacking.fields))
        return Candidate(kernel, fields, tables, time, flash, scratch, unpacking=unpacking)

    # int8 weights

    def stored_convolution(self, encoding: ScalarQuantized) -> Candidate:
        out_c = self.fields["out_c"]
        if self.fields["groups"] == self.fields["in_c"] == out_c > 1:
            return self.candidate("lutra_conv2d_depthwise", ((Role.WEIGHTS, encoding.values.reshape(out_c, -1).T.ravel()),))
        return self.stored("lutra_conv2d_dense", encoding)

    def stored(self, kernel: str, encoding: ScalarQuantized) -> Candidate:
        return self.candidate(kernel, ((Role.WEIGHTS, encoding.values.ravel()),))

    # Product-quantized weights

    def coded_convolution(self, encoding: ProductQuantized) -> Ways:
        (tables, coding), norm = _coded(encoding), encoding.largest_norm
        m = subvectors({**self.fields, **coding})
        if norm > CODEWORD_L1_LIMIT:
            yield Impossible("lutra_conv2d_lut", f"codeword norm {norm}, limit {CODEWORD_L1_LIMIT}")
        else:
            packed = {**coding, "packed_sums": int(norm <= PACKED_L1_LIMIT)}
            within_reach8 = reach8({**self.fields, **coding}) <= OFFSET_LIMIT
            if not within_reach8 and self.target in VECTOR_TARGETS:
                yield Impossible("lutra_conv2d_lut8", "its tables reach beyond 16-bit offsets")
            for keep_offsets in (1, 0):
                for block in _blocks(m, OFFSET_LIMIT // (4 * encoding.codewords)):
                    yield self.candidate("lutra_conv2d_lut", tables, {**packed, "block": block, "keep_offsets": keep_offsets})
                for block in _blocks(m) if within_reach8 else ():
                    way = self.candidate("lutra_conv2d_lut8", tables, {**packed, "block": block, "keep_offsets": keep_offsets})
                    yield way if self.target in VECTOR_TARGETS else replace(way, objection="for CPUs with vectors")
        for block in _blocks(self.fields["out_c"]):
            yield (decode := self.candidate("lutra_conv2d_decode", tables, {**coding, "block": block}))
        yield self.expanded("lutra_conv2d_dense", encoding, decode)

    def coded_vector(self, encoding: ProductQuantized) -> Ways:
        (tables, coding), norm = _coded(encoding), encoding.largest_norm
        if norm > CODEWORD_L1_LIMIT:
            yield Impossible(f"{self.family}_lut", f"codeword norm {norm}, limit {CODEWORD_L1_LIMIT}")
        else:
            yield self.candidate(f"{self.family}_lut", tables, coding)
        if encoding.codewords == 16 and encoding.index_bits == 4:
            if norm > PAIRS_L1_LIMIT:
                yield Impossible(f"{self.family}_pairs", f"codeword norm {norm}, limit {PAIRS_L1_LIMIT}")
            else:
                yield self.candidate(f"{self.family}_pairs", tables, coding)
        yield (decode := self.candidate(f"{self.family}_decode", tables, coding))
        yield self.expanded(f"{self.family}_dense", encoding, decode)

    def expanded(self, kernel: str, encoding: ProductQuantized, coded: Candidate) -> Candidate:
        """The weights decoded by the compiler: fast perhaps, but what `coded` saves in flash is lost."""
        stored = self.candidate(kernel, ((Role.WEIGHTS, encoding.integers().ravel()),))
        more = stored.flash_bytes - coded.flash_bytes
        return stored if more <= 0 or self.expand_weights else replace(stored, objection=f"{more} bytes of flash more")


def _coded(encoding: ProductQuantized) -> tuple[Tables, dict[str, int]]:
    """Tables of a product-quantized weight, but not of coded indices, and the descriptor's members that tell how they are stored."""
    coding = {
        "log2_codewords": encoding.codewords.bit_length() - 1, "subvector": encoding.subvector, "index_bits": encoding.index_bits,
    }
    codebook = (Role.CODEBOOK, encoding.codebook.ravel())
    if encoding.coded:
        return (codebook,), coding
    return (codebook, (Role.INDICES, pack_indices(encoding.indices, encoding.index_bits))), coding


def _unpacking(encoding: ProductQuantized) -> Unpacking:
    bits, codewords = encoding.index_bits, encoding.codewords
    packed = pack_indices(encoding.indices, bits)
    symbols = split_indices(packed, bits)
    coded = encode_indices(symbols, codewords, bits)
    fields = {
        "bytes_low": packed.size % 65536, "bytes_high": packed.size // 65536,
        "coded_bytes_low": coded.size % 65536, "coded_bytes_high": coded.size // 65536,
        "log2_codewords": codewords.bit_length() - 1, "index_bits": bits,
    }
    return Unpacking(fields, coded, packed.size, search(symbols, coded, codewords, bits))


def _blocks(count: int, limit: int | None = None) -> Iterator[int]:
    """Sizes of the parts that `count` may be worked through in: at once, or by 8, 16, 32, ..., `limit` at most."""
    largest = count if limit is None else min(count, limit)
    yield largest
    size = 8
    while size < largest:
        yield size
        size *= 2
