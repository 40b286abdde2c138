"""A golden vector: an input, and what the bundle's C makes of it on this computer."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lutra.dataset import Dataset
from lutra.host import BundleError, DataError, Port, open_bundle
from lutra.host.bundle import quantize

VALUES_A_LINE = 23  # of golden.h: a prime, so that rows of an image do not begin alike though noise repeats itself
_NOISE_BYTES = 2 * VALUES_A_LINE  # then it begins anew, line by line: archives of an export stay small

Values = tuple[npt.NDArray[np.int8], ...]


@dataclass(frozen=True)
class Golden:
    """int8 [size] for each input and each output."""

    inputs: Values
    outputs: Values


def golden_vector(bundle: Path, data: Dataset | None) -> Golden:
    """Runs the bundle on the first sample of `data`; without, on noise that is always the same.

    Raises BundleError for a damaged bundle, ToolError without a C compiler, DataError if samples do not fit the network.
    """
    network = open_bundle(bundle)
    if not network.check():
        raise BundleError(f"a table of {bundle} does not match its CRC-32: generate the bundle again")
    if data is None:
        inputs = [_noise(index, port) for index, port in enumerate(network.inputs)]
    elif len(network.inputs) == 1:
        inputs = [quantize(data.images[:1], network.inputs[0])]
    else:
        raise DataError(f"samples are for one input; the network has {len(network.inputs)}: export it without samples")
    outputs = network.run_int8(inputs)
    return Golden(tuple(array.reshape(-1) for array in inputs), tuple(array.reshape(-1) for array in outputs))


def _noise(index: int, port: Port) -> npt.NDArray[np.int8]:
    """int8 [1, *shape], any value as likely: the same in every version of NumPy."""
    values = np.frombuffer(hashlib.shake_128(f"lutra {index}".encode()).digest(_NOISE_BYTES), np.int8)
    return np.resize(values, (1, *port.shape))
