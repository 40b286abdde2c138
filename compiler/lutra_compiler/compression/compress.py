"""The whole way of a network: prune, recover, product-quantize, fine-tune, quantize activations."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from lutra_compiler.compression.calibrate import calibrate
from lutra_compiler.compression.code_indices import code_indices
from lutra_compiler.compression.input_power import input_power
from lutra_compiler.compression.post_training import reconstruct
from lutra_compiler.compression.product_quantize import layer_settings, order_channels, product_quantize, scalar_quantize
from lutra_compiler.compression.prune import (
    magnitude_scores,
    prune,
    round_widths,
    target_widths,
    taylor_scores,
    weighted_layers,
    widths_of,
    with_selects,
)
from lutra_compiler.compression.torch_graph import TorchGraph
from lutra_compiler.compression.training import (
    Checkpoints,
    Report,
    Samples,
    batch_sizes,
    fit,
    once,
    seed_of,
    silent,
    training_device,
)
from lutra_compiler.compression.weights import CodebookWeight, ScalarWeight, WeightModule
from lutra_compiler.config import CompressionConfig, StageConfig
from lutra_compiler.errors import CompressionError
from lutra_compiler.ir.encoding import SOFTMAX_OUTPUT, ProductQuantized
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Softmax
from lutra_compiler.passes.fold_batchnorm import fold_batchnorm

_SCORE_SAMPLES = 2048
_STATISTICS_SAMPLES = 5000  # of batch norms
_BATCH = 256
_NOISY_PART = 0.6  # of the assignment stage: from there on nothing is left float and rates are whole


@dataclass(frozen=True)
class Stages:
    """Keeps the Graph that each finished stage gave, so that an interrupted run goes on where it was.

    `load(stage)` gives a finished stage's Graph or None; `save(stage, graph)` keeps it.
    """

    load: Callable[[str], Graph | None]
    save: Callable[[str, Graph], None]


def compress(
    graph: Graph,
    samples: Samples,
    config: CompressionConfig,
    *,
    validation: Samples | None = None,
    report: Report = silent,
    checkpoints: Checkpoints | None = None,
    stages: Stages | None = None,
) -> Graph:
    """A float Graph -> the same network, smaller: encoded weights, calibrated int8 activations.

    Every stage is distilled from `graph` as it is given, before its softmax if it ends in one. Without labels the distillation is all
    there is; `config.method` says whether it is training or reconstruction. Raises CompressionError.
    """
    if graph.encodings:
        raise CompressionError("the model is compressed already; start from its float network")
    if len(graph.outputs) != 1 or len(graph.inputs) != 1:
        found = f"{len(graph.inputs)} and {len(graph.outputs)}"
        raise CompressionError(f"compression trains networks of one input and one output; this one has {found}")
    if config.training.augmentation != "none" and graph.inputs[0].layout != "NCHW":
        raise CompressionError(
            f"augmentation = \"{config.training.augmentation}\" turns images in NCHW; the input '{graph.inputs[0].name}' is "
            f"{graph.inputs[0].layout}: set augmentation = \"none\""
        )
    softmax = graph.producer(graph.outputs[0])
    if isinstance(softmax, Softmax):
        graph = replace(graph, ops=tuple(op for op in graph.ops if op is not softmax), outputs=softmax.inputs)
    config = config.for_samples(len(samples), samples.labels is not None)
    run = _Run(TorchGraph(fold_batchnorm(graph)).eval(), samples, config, validation, report, checkpoints, stages)
    layer_settings(graph, config)  # settings that cannot be met are refused before hours of training
    if config.method == "reconstruct":
        inputs = samples.first(config.calibration_samples).inputs.to(training_device())
        graph = reconstruct(order_channels(graph, config), inputs, config, run.stage, report)
    else:
        graph = run.pruning(graph)
        graph = run.stage("assignment", order_channels(graph, config), run.assignment)
        graph = run.stage("codewords", graph, run.codewords)
    if config.index_coding == "auto":
        graph = code_indices(graph)
    if isinstance(softmax, Softmax):
        quantization = {**graph.quantization, softmax.output: SOFTMAX_OUTPUT}
        graph = replace(graph, ops=(*graph.ops, softmax), outputs=(softmax.output,), quantization=quantization)
    return graph


@dataclass(frozen=True)
class _Run:
    """What all stages of one compression share."""

    teacher: TorchGraph
    samples: Samples
    config: CompressionConfig
    validation: Samples | None
    report: Report
    checkpoints: Checkpoints | None
    stages: Stages | None

    def stage(self, name: str, graph: Graph, work: Callable[[str, Graph], Graph]) -> Graph:
        """The stage's result, from an earlier run if it was finished there."""
        def save(result: Graph) -> None:
            if self.stages:
                self.stages.save(name, result)
            if self.checkpoints:
                self.checkpoints.discard(name)

        return once(lambda: self.stages.load(name) if self.stages else None, lambda: work(name, graph), save)

    def train(self, name: str, stage: StageConfig, module: TorchGraph, **hooks: Callable[..., None]) -> Graph:
        """Train `module` for one stage and return its Graph; without weights there is nothing to train."""
        if not module.weights:
            return module.to_graph()
        fit(
            module,
            self.samples,
            stage,
            self.config.training,
            name=name,
            seed=self.config.seed,
            teacher=self.teacher,
            validation=self.validation,
            after_step=module.project,
            report=self.report,
            checkpoints=self.checkpoints,
            **hooks,
        )
        for weight in module.modules():
            if isinstance(weight, CodebookWeight):
                weight.leave_float(0.0, 0)
        if module.batch_statistics:
            module.reestimate_batch_norms(self.batches(self.samples.first(_STATISTICS_SAMPLES)))
        return module.to_graph()

    def batches(self, samples: Samples) -> Iterator[torch.Tensor]:
        """Inputs of `samples` where networks are trained, in parts that fit."""
        return (batch.to(training_device()) for batch in samples.inputs.split(batch_sizes(len(samples), _BATCH)))

    def pruning(self, graph: Graph) -> Graph:
        """Rounds of removal and training down to the target widths, then recovery."""
        config, training = self.config.pruning, self.config.training
        graph = with_selects(graph, config)
        target, start = target_widths(graph, config), widths_of(graph)
        if all(start[name] == width for name, width in target.items()):
            return graph

        def one_round(widths: Mapping[str, int], stage: StageConfig) -> Callable[[str, Graph], Graph]:
            def work(name: str, graph: Graph) -> Graph:
                if config.score == "taylor":
                    scores = taylor_scores(graph, self.samples.first(_SCORE_SAMPLES), self.teacher)
                else:
                    scores = magnitude_scores(graph)
                smaller = prune(graph, widths, scores)
                return self.train(name, stage, TorchGraph(smaller))

            return work

        for step in range(1, config.rounds + 1):
            last = step == config.rounds
            work = one_round(round_widths(start, target, step, config.rounds), training.recovery if last else training.pruning)
            graph = self.stage("recovery" if last else f"pruning-{step}", graph, work)
        return graph

    def assignment(self, name: str, graph: Graph) -> Graph:
        """Product-quantize, then train latent weights through the quantization, with subvectors moving to other codewords."""
        settings = layer_settings(graph, self.config)
        # Rates come in later, slowly.
        unrated = replace(self.config, layers=tuple(replace(layer, rate=0.0) for layer in self.config.layers))
        calibration = self.samples.first(self.config.calibration_samples)
        power = input_power(graph, self.batches(calibration)) if self.config.importance else None
        encoded = product_quantize(graph, unrated, power)
        weights: dict[str, WeightModule] = {}
        for parameter, encoding in encoded.encodings.items():
            latent = torch.tensor(graph.parameters[parameter])
            if isinstance(encoding, ProductQuantized):
                chosen = settings[parameter]
                weights[parameter] = CodebookWeight(encoding, latent, pin_zero=chosen.zero_codeword, norm=chosen.codeword_norm)
            else:
                weights[parameter] = ScalarWeight(latent)
        module = TorchGraph(graph, weights)
        moving = [(weight, settings[name].rate) for name, weight in weights.items() if isinstance(weight, CodebookWeight)]
        training = self.config.training

        def before_step(step: int, steps: int) -> None:
            left = max(0.0, 1 - step / (_NOISY_PART * steps))
            for index, (weight, rate) in enumerate(moving):
                weight.leave_float(training.quant_noise * left, seed_of(self.config.seed, f"quant noise {index}", step))
                if step % training.reassign_every == 0:
                    weight.reassign(rate * (1 - left**3))

        return self.train(name, training.assignment, module, before_step=before_step)

    def codewords(self, name: str, graph: Graph) -> Graph:
        """Calibrate activations, then train codewords, scales and biases with indices frozen and int8 activations in the loop."""
        calibrated = calibrate(graph, self.batches(self.samples.first(self.config.calibration_samples)))
        module = TorchGraph(calibrated, learn_steps=self.config.training.learn_activation_steps)
        module.batch_statistics = False  # what the integer network folds in is what it is trained with
        return self.train(name, self.config.training.codewords, module)


def quantize_to_int8(graph: Graph, samples: torch.Tensor) -> Graph:
    """The plain int8 network: every weight int8 with one scale a row, activations calibrated on `samples`. No training."""
    encodings = {op.weight: scalar_quantize(graph.weight(op.weight)) for op in weighted_layers(graph)}
    return calibrate(graph.with_encodings(encodings), samples.split(_BATCH))
