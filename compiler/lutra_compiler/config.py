"""How a network is compressed: frozen settings, read from TOML or built in Python. All are checked when made."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from lutra_compiler.errors import ConfigurationError
from lutra_compiler.records import RecordError, from_plain, to_plain

CODEWORDS = (16, 32, 64, 128, 256)
SUBVECTORS = (1, 2, 4, 8, 16)
CODEWORD_NORMS = (63, 127, 255)  # so that the sum of four, two or one entries of a lookup table is an int16

Method = Literal["auto", "train", "reconstruct"]
METHODS: tuple[Method, ...] = get_args(Method)
Augmentation = Literal["none", "affine", "crop_flip", "crop_flip_cutout"]
Optimizer = Literal["adamw", "sgd"]
Precision = Literal["float32", "bfloat16"]
TRAINING_SAMPLES = 2000  # without labels, fewer are no training set


def _one_of(record: object, name: str, allowed: tuple[object, ...]) -> None:
    value = getattr(record, name)
    if value not in allowed:
        raise ConfigurationError(f"{type(record).__name__}.{name} is {value!r}; allowed: {', '.join(map(str, allowed))}")


def _within(record: object, name: str, low: float, high: float, open_end: bool = False) -> None:
    value = getattr(record, name)
    if not (low <= value < high or (value == high and not open_end)):
        bound = "below" if open_end else "at most"
        raise ConfigurationError(f"{type(record).__name__}.{name} is {value}; it must be at least {low} and {bound} {high}")


@dataclass(frozen=True)
class LayerConfig:
    """How the weights of some layers are stored.

    `layer`: an op's name, a glob of names, or its number among the layers with weights, from 0. `kind`: "pq" or "int8".
    Of "pq" only: `codewords` K, `subvector` d; `zero_codeword` pins codeword 0 at zero; `codeword_norm` bounds the
    L1 norm of an int8 codeword: the smaller, the faster are lookups and the coarser are codewords. Indices take 4 bits at K = 16, else 8.
    `rate` is what a bit of an index costs in units of squared error where the mean square of a row's weights is 1: above 0, indices become
    fewer different ones (with a zero codeword mostly that one), for entropy coding. Layers that give the same name of a `codebook` share
    one. `permute` lets the compiler change the order of the layer's input channels.
    """

    layer: int | str = "*"
    kind: Literal["int8", "pq"] = "pq"
    codewords: int = 16
    subvector: int = 4
    zero_codeword: bool = False
    codeword_norm: int = 63
    rate: float = 0.0
    codebook: str | None = None
    permute: bool = False

    def __post_init__(self) -> None:
        _one_of(self, "kind", ("int8", "pq"))
        _one_of(self, "codewords", CODEWORDS)
        _one_of(self, "subvector", SUBVECTORS)
        _one_of(self, "codeword_norm", CODEWORD_NORMS)
        _within(self, "rate", 0, 1000)

    @property
    def index_bits(self) -> int:
        """Bits of an index as stored on the target."""
        return 4 if self.codewords <= 16 else 8

    def matches(self, name: str, index: int) -> bool:
        """Whether these settings are for the op `name`, number `index` among the layers with weights."""
        return self.layer == index if isinstance(self.layer, int) else name == self.layer or fnmatchcase(name, self.layer)


@dataclass(frozen=True)
class PruningConfig:
    """Which output channels are removed, in `rounds` steps with training after each.

    `rate`: the part of each layer's channels that goes, 0..1. `widths`: by layer the channels that stay, instead of `rate`; a layer is
    named, or numbered among the layers with weights from 0: a key of digits is always a number. `features`: by fully connected layer the
    input features that stay, where these are the network's input or flattened, single pixels of channels. `score`: "magnitude" (L2 norm of
    the weights) or "taylor" (first order, |g w|).
    """

    rate: float = 0.0
    widths: Mapping[str, int] = field(default_factory=dict)
    features: Mapping[str, int] = field(default_factory=dict)
    rounds: int = 3
    score: Literal["magnitude", "taylor"] = "taylor"

    def __post_init__(self) -> None:
        _within(self, "rate", 0, 1, open_end=True)
        _within(self, "rounds", 1, 100)
        _one_of(self, "score", ("magnitude", "taylor"))
        for kind, wishes in (("widths", self.widths), ("features", self.features)):
            for layer, count in wishes.items():
                if count < 1:
                    raise ConfigurationError(f"PruningConfig.{kind}['{layer}'] is {count}; at least one must stay")

    @property
    def removes(self) -> bool:
        """Whether anything is to go."""
        return self.rate > 0 or bool(self.widths) or bool(self.features)

    def width_of(self, name: str, index: int) -> int | None:
        """The channels that the layer `name`, number `index`, is to have; None if `widths` does not say."""
        return _of_layer(self.widths, name, index)

    def features_of(self, name: str, index: int) -> int | None:
        """The input features that the layer `name`, number `index`, is to read; None if `features` does not say."""
        return _of_layer(self.features, name, index)


def _of_layer(wishes: Mapping[str, int], name: str, index: int) -> int | None:
    return wishes.get(str(index), None if name.isdecimal() else wishes.get(name))


@dataclass(frozen=True)
class StageConfig:
    """One stage of training: in the first `warmup` epochs the learning rate rises from zero to `learning_rate`, then it falls back to zero
    along a cosine."""

    epochs: int
    learning_rate: float
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _within(self, "epochs", 0, 10_000)
        _within(self, "learning_rate", 0, 10)
        _within(self, "warmup", 0, max(self.epochs, 1), open_end=True)

    def scaled(self, factor: float) -> "StageConfig":
        """The same with `factor` times the epochs, rounded up."""
        return replace(self, epochs=math.ceil(round(self.epochs * factor, 9)), warmup=self.warmup * factor)

    def rate_at(self, epoch: float) -> float:
        """The learning rate after `epoch` epochs, whole or not, in 0..epochs."""
        if epoch < self.warmup:
            return self.learning_rate * epoch / self.warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - self.warmup) / (self.epochs - self.warmup)))


@dataclass(frozen=True)
class TrainingConfig:
    """The stages of training, each distilled from the unpruned float network.

    `pruning`: after every round but the last; `recovery`: after the last; `assignment`: product-quantized, subvectors move to other
    codewords every `reassign_every` steps, and a random share of them stays float in each step (Quant-Noise), falling from `quant_noise` to
    none; `codewords`: indices frozen, int8 activations in the loop. The loss is `distillation` x KL at `temperature` + (1 - `distillation`)
    x cross entropy. `augmentation` "affine" turns, scales and shifts images a little, "crop_flip" shifts and mirrors them,
    "crop_flip_cutout" blanks a square as well. The `optimizer` "sgd" has a Nesterov momentum of 0.9. `precision` "bfloat16" computes
    products with fewer bits, faster where the processor can. Learning rates of `assignment` and `codewords` are relative to the size of
    the weights. With `learn_activation_steps` the scales of int8 activations are trained with the codewords.
    """

    pruning: StageConfig = StageConfig(2, 1e-3)
    recovery: StageConfig = StageConfig(6, 1e-3)
    assignment: StageConfig = StageConfig(6, 5e-3)
    codewords: StageConfig = StageConfig(6, 1e-3)
    batch_size: int = 128
    weight_decay: float = 0.0
    temperature: float = 3.0
    distillation: float = 0.9
    reassign_every: int = 10
    quant_noise: float = 0.5
    learn_activation_steps: bool = True
    augmentation: Augmentation = "none"
    optimizer: Optimizer = "adamw"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        _within(self, "batch_size", 2, 1 << 16)  # batch norm has no statistics of one sample
        _within(self, "quant_noise", 0, 1)
        _within(self, "weight_decay", 0, 1)
        _within(self, "temperature", 0.1, 100)
        _within(self, "distillation", 0, 1)
        _within(self, "reassign_every", 1, 1 << 20)
        _one_of(self, "augmentation", get_args(Augmentation))
        _one_of(self, "optimizer", get_args(Optimizer))
        _one_of(self, "precision", get_args(Precision))


@dataclass(frozen=True)
class SearchConfig:
    """How what each layer gets is found under a budget.

    `samples`: of the training data, that trial trainings use; `validation`: of the training data, cut off to compare by. Networks of
    `shrink`, `shrink`^2, ... of the float network's weights are considered, `levels` in all, each trained by `recovery`. The `trials`
    most promising allocations are compressed with `trial_epochs` of the epochs; `swaps`: allocations near the best that are measured.
    """

    samples: int = 8192
    validation: int = 2048
    levels: int = 9
    shrink: float = 0.5
    recovery: StageConfig = StageConfig(2, 1e-3)
    trials: int = 3
    trial_epochs: float = 0.25
    swaps: int = 24

    def __post_init__(self) -> None:
        _within(self, "samples", 1, 1 << 31)
        _within(self, "validation", 1, 1 << 31)
        _within(self, "levels", 1, 64)
        _within(self, "shrink", 0.1, 0.95)
        _within(self, "trials", 1, 64)
        _within(self, "trial_epochs", 0.001, 1)
        _within(self, "swaps", 0, 10_000)


@dataclass(frozen=True)
class ReconstructionConfig:
    """Training without training data, for the float network's activations on a few samples; indices stay as they were first chosen.

    `blocks`: of each block for its own output; `network`: of the whole network for its output. Learning rates are relative to the size of
    what they change.
    """

    blocks: StageConfig = StageConfig(30, 1e-2)
    network: StageConfig = StageConfig(10, 1e-3)
    batch_size: int = 32

    def __post_init__(self) -> None:
        _within(self, "batch_size", 1, 1 << 16)


@dataclass(frozen=True)
class CompressionConfig:
    """All that decides what a network becomes. A layer takes the first entry of `layers` that matches, else a default by its size.

    `method`: "train" on training data, or "reconstruct" the float network from some hundreds of samples; "auto" leaves it to the samples.
    `index_coding` "auto" entropy-codes the indices of layers where that saves flash; it costs RAM and time.
    With `importance`, errors of weights count by the mean square of the inputs that they meet when codebooks are first learned.
    """

    layers: tuple[LayerConfig, ...] = ()
    method: Method = "auto"
    pruning: PruningConfig = PruningConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    importance: bool = False
    calibration_samples: int = 1024
    seed: int = 0
    index_coding: Literal["never", "auto"] = "never"

    def __post_init__(self) -> None:
        _one_of(self, "method", METHODS)
        _one_of(self, "index_coding", ("never", "auto"))
        _within(self, "calibration_samples", 1, 1 << 20)
        _within(self, "seed", 0, (1 << 63) - 1)

    def layer(self, name: str, index: int) -> LayerConfig | None:
        """The settings of the op `name`, number `index` among the layers with weights; None leaves it to the default."""
        return next((layer for layer in self.layers if layer.matches(name, index)), None)

    def for_samples(self, samples: int, labelled: bool) -> "CompressionConfig":
        """The same with `method` chosen: "auto" becomes "reconstruct" for fewer than 2,000 samples without labels, unless something is to
        be pruned, which needs training."""
        if self.method != "auto":
            return self
        return replace(self, method="train" if labelled or self.pruning.removes or samples >= TRAINING_SAMPLES else "reconstruct")

    def with_seed(self, seed: int) -> "CompressionConfig":
        """The same with another seed."""
        return replace(self, seed=seed)

    def with_epochs_scaled(self, factor: float) -> "CompressionConfig":
        """The same with `factor` times the epochs of every stage, rounded up."""
        if not 0 < factor <= 1000:
            raise ConfigurationError(f"the scale of epochs is {factor}; it must be above 0 and at most 1000")

        def scaled(record: Any) -> Any:
            stages = {f.name: stage for f in fields(record) if isinstance(stage := getattr(record, f.name), StageConfig)}
            return replace(record, **{name: stage.scaled(factor) for name, stage in stages.items()})

        parts = {name: scaled(getattr(self, name)) for name in ("training", "reconstruction", "search")}
        return replace(self, **parts)


def load_config(path: Path) -> CompressionConfig:
    """Settings from a TOML file. Raises ConfigurationError."""
    try:
        return parse_config(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not a UTF-8 text file") from error


def parse_config(text: str, source: str = "configuration") -> CompressionConfig:
    """Settings from TOML text; what is left out keeps its default. Raises ConfigurationError naming `source`."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are a ValueError of their own
        raise ConfigurationError(f"{source} is not valid TOML: {error}") from error
    try:
        config = from_plain(CompressionConfig, table, source)
    except RecordError as error:
        raise ConfigurationError(str(error)) from error
    assert isinstance(config, CompressionConfig)
    return config


def format_config(config: CompressionConfig) -> str:
    """The settings as TOML; `parse_config` reads it back equal."""
    return "\n".join(_toml_table(to_plain(config), ())) + "\n"


def _toml_table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    scalars = {key: value for key, value in table.items() if value is not None and not isinstance(value, dict | list)}
    lines = [f"{_toml_string(key)} = {_toml_value(value)}" for key, value in scalars.items()]
    for key, value in table.items():
        inner = (*path, key)
        header = ".".join(map(_toml_string, inner))
        if isinstance(value, dict):
            lines += ["", f"[{header}]", *_toml_table(value, inner)]
        elif isinstance(value, list):
            for item in value:
                lines += ["", f"[[{header}]]", *_toml_table(item, inner)]
    return lines


def _toml_value(value: object) -> str:
    return _toml_string(value, quoted=True) if isinstance(value, str) else json.dumps(value)


def _toml_string(text: str, quoted: bool = False) -> str:
    if not quoted and text.isascii() and text.replace("_", "").isalnum():
        return text
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
