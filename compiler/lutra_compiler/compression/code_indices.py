"""Which layers store their indices entropy-coded."""

from dataclasses import replace

from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.numerics.index_coding import encode_indices
from lutra_compiler.numerics.packing import pack_indices, split_indices
from lutra_compiler.program.kernels import KERNELS, UNPACK

DECODER_BYTES = 320  # of code, once a network: lutra_unpack_indices in runtime_c/SIZES.md and its calls


def code_indices(graph: Graph) -> Graph:
    """Mark those product-quantized weights as coded whose indices take less flash that way, if together they save more than the decoder
    takes; no other weight is coded then."""
    weights = {name: encoding for name, encoding in graph.encodings.items() if isinstance(encoding, ProductQuantized)}
    savings = {name: saved_bytes(encoding) for name, encoding in weights.items()}
    pays = sum(saved for saved in savings.values() if saved > 0) > DECODER_BYTES
    return graph.with_encodings({name: replace(encoding, coded=pays and savings[name] > 0) for name, encoding in weights.items()})


def saved_bytes(encoding: ProductQuantized) -> int:
    """Flash that coded indices save against packed ones, less the descriptor of the call that decodes them; below 0 if they cost more."""
    packed = pack_indices(encoding.indices, encoding.index_bits)
    coded = encode_indices(split_indices(packed, encoding.index_bits), encoding.codewords, encoding.index_bits)
    return packed.size - coded.size - KERNELS[UNPACK].descriptor.size_bytes
