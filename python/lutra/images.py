"""Samples from folders of image files. Needs Pillow, the extra `data`."""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lutra.dataset import Dataset, mixed_order
from lutra_compiler.errors import ConfigurationError, DataError, ToolError

Values = Literal["unit", "signed", "bytes"]
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MAX_PIXELS = 1 << 26  # of one file, known before it is decoded
MAX_ELEMENTS = 1 << 28  # of all samples together: 1 GiB of float32
_WIDE = re.compile(r"\b(LA|RGB[AXa]?|CMYK);16")  # Pillow's names of how a file stores pixels of which its own modes keep 8 bits


@dataclass(frozen=True)
class ImageFormat:
    """How the bytes of a pixel, 0..255, become what the network was trained with.

    `values`: "unit" 0..1, "signed" -1..1, or "bytes" as they are; then (x - mean) / std a channel, where given. `resize`: bilinear, where
    a file has another size than the network's input; else that is refused.
    """

    values: Values = "unit"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: bool = False

    def __post_init__(self) -> None:
        if self.values not in get_args(Values):
            raise ConfigurationError(f"image values are {self.values!r}; allowed: {', '.join(get_args(Values))}")
        if any(not 0 < std < float("inf") for std in self.std) or not np.isfinite(self.mean).all():
            raise ConfigurationError(f"the images' mean {self.mean} and standard deviation {self.std} must be finite, the latter above 0")

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """float32 [height, width, channels] of uint8 ones."""
        scale, offset = {"unit": (1 / 255, 0.0), "signed": (2 / 255, -1.0), "bytes": (1.0, 0.0)}[self.values]
        x = pixels.astype(np.float32) * np.float32(scale) + np.float32(offset)
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (0, 1, pixels.shape[-1]):
                raise ConfigurationError(f"{len(numbers)} numbers are given for the {name} of images with {pixels.shape[-1]} channels")
        x = x - np.array(self.mean or 0.0, np.float32)
        return np.asarray(x / np.array(self.std or 1.0, np.float32), np.float32)


def is_image_folder(path: Path) -> bool:
    """Whether there are image files in the folder or in folders in it, and no .npy files."""
    return path.is_dir() and not any(path.glob("*.npy")) and any(True for _ in _files(path))


def read_images(path: Path, shape: tuple[int, ...], layout: str, form: ImageFormat) -> Dataset:
    """Samples for an input of `shape` and `layout`, "NCHW" or "NHWC", from a folder of images, mixed as by `Dataset.mixed`: their `numbers`
    are those in the order of the paths.

    With one folder a class, labels are the classes' places in the order of their names; a folder without images counts, one whose name
    begins with a dot does not. Raises DataError, ToolError without Pillow.
    """
    if len(shape) != 3 or layout not in ("NCHW", "NHWC"):
        raise DataError(f"{path} holds images, but the network takes {shape} ({layout}); give arrays in a .npz file")
    height, width, channels = shape if layout == "NHWC" else (*shape[1:], shape[0])
    if channels not in (1, 3):
        raise DataError(f"{path} holds images of 1 or 3 channels, but the network takes {channels}; give arrays in a .npz file")
    files = sorted(_files(path))
    holders = {file.parent for file in files}
    if path in holders and len(holders) > 1:
        raise DataError(f"{path} holds images beside folders of images; use one folder a class, or one for all without classes")
    if not files:
        raise DataError(f"{path} holds no images ({', '.join(SUFFIXES)})")
    if len(files) * prod(shape) > MAX_ELEMENTS:
        raise DataError(f"{path} holds {len(files)} images, {len(files) * prod(shape)} numbers as samples; the limit is {MAX_ELEMENTS}")
    numbers = mixed_order(len(files))
    files = [files[number] for number in numbers]
    samples = np.empty((len(files), *shape), np.float32)
    for index, file in enumerate(files):
        pixels = form.apply(_pixels(file, (height, width, channels), form.resize))
        samples[index] = pixels.transpose(2, 0, 1) if layout == "NCHW" else pixels
    classes = {folder: label for label, folder in enumerate(_folders(path))}
    labels = None if path in holders else np.array([classes[file.parent] for file in files], np.int64)
    return Dataset(samples, labels, numbers)


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _files(path: Path) -> list[Path]:
    found = [*path.iterdir(), *(file for folder in _folders(path) for file in folder.iterdir())]
    return [file for file in found if file.suffix.lower() in SUFFIXES and file.is_file()]


def _pixels(file: Path, shape: tuple[int, int, int], resize: bool) -> npt.NDArray[np.uint8]:
    image_module = _pillow()
    height, width, channels = shape
    try:
        with image_module.open(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{file} has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS}")
            if _is_wide(image):
                raise DataError(f"{file} has more than 8 bits a channel; convert it to 8 bits, or give arrays in a .npz file")
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                if not resize:
                    raise DataError(f"{file} has {image.width} x {image.height} pixels, the network takes {width} x {height}; resize it")
                image = image.resize((width, height), image_module.Resampling.BILINEAR)
            return np.asarray(image, np.uint8).reshape(shape)
    except DataError:
        raise
    except Exception as error:  # whatever a damaged file makes of Pillow's decoders
        raise DataError(f"{file} cannot be read as an image: {error}") from error


def _is_wide(image: Any) -> bool:
    """Whether channels have more than 8 bits, which Pillow would clip or drop."""
    stored = [tile[3] for tile in image.tile]
    if image.format == "PPM" and any(isinstance(arguments, tuple) and arguments[1] > 255 for arguments in stored):
        return True
    return image.mode[0] in "IF" or _WIDE.search(str(stored)) is not None


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ToolError("images need Pillow, which is not installed; run: pip install 'lutra-mcu[data]'") from error
    return Image
