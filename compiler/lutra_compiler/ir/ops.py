"""The operators of a Graph.

Values have per-sample shapes without a batch dimension: (height, width, channels) for images, (features,) for vectors.
Operators refer to values and parameters by name. Weights are laid out so that the input channels of one kernel tap are
contiguous: convolutions [out, kernel_h, kernel_w, in / groups], fully connected layers [out, in], recurrent ones [gates * units, units].
"""

from dataclasses import dataclass
from typing import ClassVar

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Clamp:
    """y = min(max(x, minimum), maximum); None is unbounded. ReLU is Clamp(0, None), ReLU6 Clamp(0, 6)."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Op:
    """One node: `inputs` and `output` are value names; `name` is the source model's name, for people only."""

    kind: ClassVar[str] = ""
    parameter_fields: ClassVar[tuple[str, ...]] = ()

    name: str
    inputs: tuple[str, ...]
    output: str

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters this op uses, in the order of `parameter_fields`, absent ones left out."""
        return tuple(value for field in self.parameter_fields if (value := getattr(self, field)) is not None)


@dataclass(frozen=True, kw_only=True)
class Conv2d(Op):
    """y[o] = bias[o] + sum over taps and channels of weight[o, ky, kx, c] * x; then the clamp."""

    kind = "conv2d"
    parameter_fields = ("weight", "bias")

    weight: str
    bias: str | None = None
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    activation: Clamp | None = None


@dataclass(frozen=True, kw_only=True)
class Linear(Op):
    """y = weight @ x + bias on a vector; then the clamp."""

    kind = "linear"
    parameter_fields = ("weight", "bias")

    weight: str
    bias: str | None = None
    activation: Clamp | None = None


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Op):
    """y = (x - mean) / sqrt(variance + epsilon) * scale + offset, a channel at a time; then the clamp."""

    kind = "batch_norm"
    parameter_fields = ("scale", "offset", "mean", "variance")

    scale: str
    offset: str
    mean: str
    variance: str
    epsilon: float = 1e-5
    activation: Clamp | None = None


@dataclass(frozen=True, kw_only=True)
class Activation(Op):
    """A clamp on its own, where it could not join the op before it."""

    kind = "activation"

    clamp: Clamp


@dataclass(frozen=True)
class Step:
    """One function of numbers: of earlier results, `inputs`, and then of `constants`. Result 0 is the op's input, i that of step i."""

    function: str
    inputs: tuple[int, ...]
    constants: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Elementwise(Op):
    """One function of every number, made of `steps` (functions.py); the last step's result is the output."""

    kind = "elementwise"

    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Binary(Op):
    """function(a, b) of two values, "add", "subtract", "multiply", "minimum" or "maximum"; then the clamp.

    A value may have one channel, or one pixel, where the other has more: it counts for all of them.
    """

    kind = "binary"

    function: str
    activation: Clamp | None = None


@dataclass(frozen=True, kw_only=True)
class MaxPool(Op):
    """Maximum over windows; padded positions never win."""

    kind = "max_pool"

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class AveragePool(Op):
    """Mean over windows. Padded positions count as zeros if `count_include_pad`, else they are left out of the mean."""

    kind = "average_pool"

    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0, 0, 0)
    count_include_pad: bool = False


@dataclass(frozen=True, kw_only=True)
class Add(Op):
    """Elementwise sum of two values of one shape; then the clamp."""

    kind = "add"

    activation: Clamp | None = None


@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """Joins values along a dimension, counted from the last: -1 are the channels."""

    kind = "concat"

    axis: int = -1


@dataclass(frozen=True, kw_only=True)
class Pad(Op):
    """`value` around an image: `spatial` rows and columns, `channels` (before, after)."""

    kind = "pad"

    spatial: Padding = (0, 0, 0, 0)
    channels: Pair = (0, 0)
    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """x[start[0]:stop[0]:step[0], start[1]:stop[1]:step[1], start[2]:stop[2]:step[2]] on (height, width, channels)."""

    kind = "slice"

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    step: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Select(Op):
    """The features `indices`, in increasing order, of a vector."""

    kind = "select"

    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Gather(Op):
    """The positions `indices` of one dimension, `axis` (from 0), in any order and as often as they are named."""

    kind = "gather"

    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Flatten(Op):
    """An image to a vector. `order` is the order of the result: "HWC" (a plain reshape) or "CHW" (as PyTorch and ONNX).

    The pass `reorder_flatten` turns every "CHW" into "HWC" by permuting the weights that follow.
    """

    kind = "flatten"

    order: str = "HWC"


@dataclass(frozen=True, kw_only=True)
class Rearrange(Op):
    """The numbers in the order of memory seen as an array of shape `view`, its axes put in `order`, the result seen as `shape`.

    Transpositions, reshapes, shuffles of channels, and moves between channels and space are all this.
    """

    kind = "rearrange"

    view: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Upsample(Op):
    """Every pixel `factors` times along the height and the width (nearest neighbour)."""

    kind = "upsample"

    factors: Pair


@dataclass(frozen=True, kw_only=True)
class Normalise(Op):
    """(x - mean) / sqrt(variance + epsilon) over adjacent dimensions, `axes` (from 0), for each position of the others."""

    kind = "normalise"

    axes: tuple[int, ...]
    epsilon: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class Softmax(Op):
    """exp(x) / sum(exp(x)) over channels."""

    kind = "softmax"


@dataclass(frozen=True, kw_only=True)
class Recurrent(Op):
    """The hidden states h of a recurrent layer, or the last one alone: pixels are time steps, in the order of memory.

    x[t] are the gates' pre-activations without what the hidden state adds, r = weight @ h[t - 1] + bias; gates lie one after the other.
    `initial`: the states before the first step, [states, units]; None: zeros. With `reverse` time runs from the last pixel to the first.
    """

    parameter_fields = ("weight", "bias", "initial")
    gates: ClassVar[int] = 0
    states: ClassVar[int] = 0

    weight: str
    bias: str | None = None
    initial: str | None = None
    reverse: bool = False
    sequence: bool = True


@dataclass(frozen=True, kw_only=True)
class Lstm(Recurrent):
    """With a = x[t] + r: i, f, o = sigmoid of a's first, second, last part, g = tanh of the third; c = f * c + i * g, h = o * tanh(c).

    `initial` is h, c (Hochreiter 1997, with forget gates: Gers 2000).
    """

    kind = "lstm"
    gates = 4
    states = 2


@dataclass(frozen=True, kw_only=True)
class Gru(Recurrent):
    """s, z = sigmoid of the first and second part of x[t] + r; n = tanh(x[t] + s * r) of the third; h = (1 - z) * n + z * h (Cho 2014)."""

    kind = "gru"
    gates = 3
    states = 1


Weighted = Conv2d | Linear | Recurrent  # what has a weight that can be compressed


OP_KINDS: tuple[type[Op], ...] = (
    Conv2d, Linear, BatchNorm, Activation, Elementwise, Binary, MaxPool, AveragePool, Add, Concat, Pad, Slice, Select, Gather, Flatten,
    Rearrange, Upsample, Normalise, Softmax, Lstm, Gru,
)
