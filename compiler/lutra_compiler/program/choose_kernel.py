"""Lookup tables or decoding: two orders of the same sums, the cheaper one for a layer's sizes."""

import numpy as np

from lutra_compiler.ir.encoding import ProductQuantized
from lutra_compiler.numerics.product_quantization import CODEWORD_L1_LIMIT

# Relative costs of the inner loops, in cycles of a core with single-cycle multiplication and two-cycle loads.
BUILD_COST = 4  # a multiply-add while a table is built
LOOKUP_COST = 7  # index, table entry and accumulator
DECODE_COST = 10  # index and address of a codeword
MULTIPLY_COST = 6  # a multiply-add whose two operands are loaded


def choose_kernel(encoding: ProductQuantized, input_pixels: int, output_pixels: int) -> str:
    """The cheaper of "lut" and "decode" for a product-quantized layer; a fully connected layer has one pixel."""
    out, taps, subvectors = encoding.indices.shape
    lookups = output_pixels * out * taps * subvectors
    entries = input_pixels * subvectors * encoding.codewords
    lut = BUILD_COST * entries * encoding.subvector + LOOKUP_COST * lookups
    decode = (DECODE_COST + MULTIPLY_COST * encoding.subvector) * lookups
    return "lut" if lut < decode and fits_lookup_tables(encoding) else "decode"


def fits_lookup_tables(encoding: ProductQuantized) -> bool:
    """Whether every entry of a lookup table is an int16, whatever the input is."""
    return bool((np.abs(encoding.codebook.astype(np.int64)).sum(axis=1) <= CODEWORD_L1_LIMIT).all())
