"""The training loop of every stage: distillation, augmentation, progress, checkpoints without pickle.

An epoch's order, augmentation and dropout depend only on (seed, stage, epoch), so a run that is interrupted and resumed ends where an
uninterrupted one does. Runs on a GPU where torch sees one; processes that torchrun starts share each batch and average gradients.
"""

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn
from torch.nn import functional

from lutra_compiler.config import Augmentation, StageConfig, TrainingConfig
from lutra_compiler.errors import CompressionError, DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Inputs [n, *shape in the source's layout] float32, and class labels [n] int64 where they are known."""

    inputs: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def first(self, count: int) -> "Samples":
        """The first `count` samples."""
        return Samples(self.inputs[:count], None if self.labels is None else self.labels[:count])


@dataclass(frozen=True)
class Progress:
    """Where a long run is. `accuracy` is that of the validation samples, known after an epoch; `seconds_left` is of this stage."""

    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None
    seconds_left: float


Report = Callable[[Progress], None]
FEWEST_SAMPLES = 2  # batch norm needs them
_REPORT_EVERY = 10  # steps: a loss that is looked at makes a GPU wait


def silent(progress: Progress) -> None:
    """Report nothing."""


def _processes() -> PartialState:
    return PartialState(cpu=not torch.cuda.is_available())


def training_device() -> torch.device:
    """Where networks are trained: this process's GPU, else the CPU."""
    device: torch.device = _processes().device
    return device


def is_main_process() -> bool:
    """Whether this is the process that reports and writes files; true unless torchrun has started several."""
    main: bool = _processes().is_main_process
    return main


def main_process_first() -> AbstractContextManager[None]:
    """Within it the other processes wait for the main one."""
    first: AbstractContextManager[None] = _processes().main_process_first()
    return first


def wait_for_all_processes() -> None:
    """Go on when all processes of a torchrun have come here."""
    _processes().wait_for_everyone()


def once(load: Callable[[], T | None], work: Callable[[], T], save: Callable[[T], None]) -> T:
    """What `load` finds, else what `work` gives, kept by `save` for the next time: in all processes of a torchrun what the main one got."""
    found = load()
    wait_for_all_processes()  # all have looked before the main one writes
    if found is not None:
        return found
    result = work()
    if is_main_process():
        save(result)
    wait_for_all_processes()
    return result if is_main_process() else load() or result


@dataclass(frozen=True)
class Checkpoints:
    """A folder that holds the latest state of the stage under way; written atomically after each epoch, by the main process."""

    directory: Path

    def _path(self, stage: str) -> Path:
        return self.directory / f"{stage}.safetensors"

    def save(self, stage: str, epoch: int, tensors: dict[str, Tensor]) -> None:
        """Keep the state after `epoch` whole epochs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.directory, suffix=".tmp")
        os.close(handle)
        try:
            # Copies: the format refuses tensors that share memory, as shared codebooks do.
            copies = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
            safetensors.torch.save_file(copies, temporary, {"state": json.dumps({"epoch": epoch})})
            os.replace(temporary, self._path(stage))
        finally:
            Path(temporary).unlink(missing_ok=True)

    def load(self, stage: str) -> tuple[int, dict[str, Tensor]]:
        """Whole epochs done and the state after them; (0, {}) if the stage has not been checkpointed."""
        if not self._path(stage).exists():
            return 0, {}
        try:
            with safetensors.safe_open(self._path(stage), "pt") as file:
                return json.loads(file.metadata()["state"])["epoch"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
            raise CompressionError(f"the checkpoint {self._path(stage)} is damaged ({error}); remove it to repeat its stage") from error

    def discard(self, stage: str) -> None:
        """Forget the stage."""
        self._path(stage).unlink(missing_ok=True)


def fit(
    module: nn.Module,
    samples: Samples,
    stage: StageConfig,
    training: TrainingConfig,
    *,
    name: str,
    seed: int,
    teacher: nn.Module | None = None,
    validation: Samples | None = None,
    before_step: Callable[[int, int], None] | None = None,
    after_step: Callable[[], None] | None = None,
    report: Report = silent,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train `module` in place for `stage.epochs` epochs at the learning rates of `stage`.

    With a teacher the loss is `distillation` x KL at `temperature` + the rest x cross entropy; without labels the mean squared difference
    of the outputs relative to their variance; without a teacher cross entropy alone. `before_step(step, steps)` and `after_step()` run
    around every optimizer step.
    """
    if teacher is None and samples.labels is None:
        raise DataError(f"stage '{name}' needs labels or a teacher network to learn from; give at least one")
    if len(samples) < FEWEST_SAMPLES:
        raise DataError(f"stage '{name}' has {len(samples)} sample to learn from; give at least {FEWEST_SAMPLES}, better some thousands")
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    processes, rank = accelerator.num_processes, accelerator.process_index
    module.to(accelerator.device)
    if teacher is not None:
        teacher.to(accelerator.device).eval()
    samples = _near(samples, accelerator.device)
    mixed = training.precision == "bfloat16"
    sizes = batch_sizes(len(samples), training.batch_size, 2 * processes)
    steps_per_epoch = len(sizes)
    steps = steps_per_epoch * stage.epochs
    optimizer = _optimizer(module, stage, training)
    first_epoch = _resume(module, optimizer, name, checkpoints)
    network = accelerator.prepare_model(module) if processes > 1 else module
    started, done_before = time.monotonic(), first_epoch * steps_per_epoch
    step, accuracy, left, loss = done_before, None, 0.0, torch.zeros((), device=accelerator.device)
    for epoch in range(first_epoch, stage.epochs):
        module.train()
        generator = torch.Generator().manual_seed(seed_of(seed, name, epoch))
        torch.manual_seed(seed_of(seed, f"{name} {rank}", epoch))  # of dropout
        for chosen in torch.randperm(len(samples), generator=generator).split(sizes):
            for group in optimizer.param_groups:
                group["lr"] = stage.rate_at(step / steps_per_epoch)
            draws = torch.rand(AUGMENTATION_DRAWS, len(chosen), generator=generator)
            if processes > 1:
                # Every process gets its part of the batch; of one smaller than their number, the whole of it.
                part = slice(rank, None, processes) if len(chosen) >= processes else slice(None)
                chosen, draws = chosen[part], draws[:, part]
            chosen = chosen.to(samples.inputs.device)
            inputs = augment(samples.inputs[chosen].to(accelerator.device), training.augmentation, draws)
            labels = None if samples.labels is None else samples.labels[chosen].to(accelerator.device)
            if before_step:
                before_step(step, steps)
            optimizer.zero_grad(set_to_none=True)
            if mixed and inputs.ndim == 4:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=mixed):
                batch_loss = _loss(network, teacher, inputs, labels, training)
            accelerator.backward(batch_loss)
            optimizer.step()
            if after_step:
                after_step()
            step += 1
            loss = torch.where(loss == 0, batch_loss.detach(), 0.98 * loss + 0.02 * batch_loss.detach())
            if step % _REPORT_EVERY == 0:
                left = (time.monotonic() - started) / (step - done_before) * (steps - step)
                report(Progress(name, epoch, stage.epochs, step, steps, float(loss), accuracy, left))
        if checkpoints and accelerator.is_main_process:
            checkpoints.save(name, epoch + 1, _state(module, optimizer))
        if validation is not None and validation.labels is not None:
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=mixed):
                accuracy = measure_accuracy(module, validation)
        report(Progress(name, epoch + 1, stage.epochs, step, steps, float(loss), accuracy, left))
    module.eval()


def batch_sizes(count: int, size: int, least: int = 2) -> list[int]:
    """The batches that `count` samples are worked through in. A last one of fewer than `least`, too few for the statistics of a batch,
    joins the one before."""
    sizes = [size] * (count // size) + [count % size] * (count % size > 0)
    if len(sizes) > 1 and sizes[-1] < least:
        sizes[-2:] = [sum(sizes[-2:])]
    return sizes


def _near(samples: Samples, device: torch.device) -> Samples:
    """The samples in the GPU's memory where they take little of it: a batch that comes from elsewhere makes the GPU wait."""
    if device.type != "cuda" or samples.inputs.nbytes > torch.cuda.mem_get_info(device)[0] // 8:
        return samples
    return Samples(samples.inputs.to(device), None if samples.labels is None else samples.labels.to(device))


def _optimizer(module: nn.Module, stage: StageConfig, training: TrainingConfig) -> torch.optim.Optimizer:
    named = dict(module.named_parameters())
    scales = {name for name in named if name.startswith("steps.") or name.endswith((".gain", ".codebook"))}  # not sizes
    groups: list[dict[str, Any]] = [
        {"params": [parameter for name, parameter in named.items() if name not in scales]},
        {"params": [named[name] for name in named if name in scales], "weight_decay": 0.0},
    ]
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=stage.learning_rate, momentum=0.9, nesterov=True, weight_decay=training.weight_decay, fused=True)
    return torch.optim.AdamW(groups, lr=stage.learning_rate, weight_decay=training.weight_decay, fused=True)


def _loss(
    module: nn.Module, teacher: nn.Module | None, inputs: Tensor, labels: Tensor | None, training: TrainingConfig
) -> Tensor:
    scores = module(inputs)
    if teacher is None or (training.distillation == 0 and labels is not None):
        assert labels is not None
        return functional.cross_entropy(scores, labels)
    with torch.no_grad():
        target = teacher(inputs)
    if labels is None:
        # Nothing says that the outputs are scores of classes: match the values themselves, relative to their spread.
        difference: Tensor = functional.mse_loss(scores, target) / target.var().clamp_min(1e-12)
        return difference
    student, wanted = (functional.log_softmax(x / training.temperature, 1) for x in (scores, target))
    distillation: Tensor = functional.kl_div(student, wanted, reduction="batchmean", log_target=True) * training.temperature**2
    return training.distillation * distillation + (1 - training.distillation) * functional.cross_entropy(scores, labels)


@torch.no_grad()
def measure_accuracy(module: nn.Module, samples: Samples, batch_size: int = 1000) -> float:
    """Part of the samples whose highest score is at their label."""
    if samples.labels is None:
        raise DataError("accuracy needs labels")
    module.eval()
    device = next(module.parameters()).device
    hits = 0
    for inputs, labels in zip(samples.inputs.split(batch_size), samples.labels.split(batch_size), strict=True):
        hits += int((module(inputs.to(device)).argmax(1).cpu() == labels).sum())
    return hits / len(samples)


AUGMENTATION_DRAWS = 5  # random numbers an image
_CROP_PADDING = 4  # pixels


def augment(images: Tensor, kind: Augmentation, draws: Tensor) -> Tensor:
    """Images [n, c, h, w] changed a little at random; `draws` [AUGMENTATION_DRAWS, n] are uniform in [0, 1).

    "affine": rotation by up to 10 degrees, scale by 10 %, shift by 2 pixels; the border is repeated. "crop_flip": shift by up to 4 pixels,
    zeros coming in, and half of the images mirrored. "crop_flip_cutout": moreover a square of half the height, which may reach beyond the
    image, becomes zero. [DeVries 2017]
    """
    draws = draws.to(images.device)
    match kind:
        case "none":
            return images
        case "affine":
            return _turn(images, draws * 2 - 1)
        case "crop_flip":
            return _crop_and_flip(images, draws)
        case "crop_flip_cutout":
            return _crop_and_flip(images, draws) * _outside_a_square(images, draws[3:])


def _crop_and_flip(images: Tensor, draws: Tensor) -> Tensor:
    height, width = images.shape[2:]
    top, left = (draws[:2] * (2 * _CROP_PADDING + 1)).long()[..., None]
    rows = top + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    columns = left + torch.where(draws[2][:, None] < 0.5, columns, columns.flip(0))
    padded = functional.pad(images, (_CROP_PADDING,) * 4)
    samples = torch.arange(len(images), device=images.device)
    return padded[samples[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _outside_a_square(images: Tensor, draws: Tensor) -> Tensor:
    """0 within a square of each image, 1 elsewhere, [n, 1, h, w]."""
    height, width = images.shape[2:]
    side = height // 2
    rows, columns = (
        torch.arange(size, device=images.device) - ((draw * size).long() - side // 2)[:, None]
        for draw, size in zip(draws, (height, width), strict=True)
    )
    beyond: Tensor = ((rows < 0) | (rows >= side))[:, :, None] | ((columns < 0) | (columns >= side))[:, None, :]
    return beyond[:, None].to(images.dtype)


def _turn(images: Tensor, uniform: Tensor) -> Tensor:
    height, width = images.shape[2:]
    angle = uniform[0] * math.radians(10)
    scale_x, scale_y = 1 + 0.1 * uniform[1], 1 + 0.1 * uniform[2]
    aspect = height / width  # the grid is -1..1 both ways
    rows = torch.stack([scale_x * angle.cos(), -scale_x * angle.sin() * aspect, uniform[3] * 4 / width], 1)
    columns = torch.stack([scale_y * angle.sin() / aspect, scale_y * angle.cos(), uniform[4] * 4 / height], 1)
    grid = functional.affine_grid(torch.stack([rows, columns], 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def seed_of(seed: int, name: str, number: int) -> int:
    """The seed of one thing that is random, by a run's seed, its name and its number."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}/{number}".encode()).digest()[:7], "little")


def _state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


def _resume(module: nn.Module, optimizer: torch.optim.Optimizer, name: str, checkpoints: Checkpoints | None) -> int:
    """Restore the stage's checkpoint, if there is one; returns the whole epochs it has done."""
    epoch, tensors = checkpoints.load(name) if checkpoints else (0, {})
    if not tensors:
        return 0
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    restored = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "module":
            restored[rest] = tensor
        else:
            index, _, field = rest.partition(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:  # fused optimizers walk through both as they lie in memory
                tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
            state.setdefault(int(index), {})[field] = tensor
    module.load_state_dict(restored)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return epoch
