"""Small pictures as PNG files inside the page."""

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels of a pixel -> PNG's number for them
_POSITIVE, _NEGATIVE = (15, 143, 131), (139, 118, 106)  # both are seen on white and on black


def data_address(pixels: npt.NDArray[np.uint8]) -> str:
    """uint8 [height, width, channels], of 1 (grey), 3 (RGB) or 4 channels (RGBA), as the address of a picture that holds itself."""
    height, width, channels = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * channels)], axis=1)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)).decode()


def signed_pixels(values: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """int8 [height, width] as RGBA: one colour a sign, the more opaque the larger, so that zero is the page itself."""
    size = np.abs(values.astype(np.float64))
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where((values >= 0)[..., None], _POSITIVE, _NEGATIVE)
    pixels[..., 3] = np.round(255 * size / max(1.0, float(size.max())))
    return pixels


def sample_pixels(
    sample: npt.NDArray[np.float32], layout: str, low: float, high: float, largest: int = 64
) -> npt.NDArray[np.uint8] | None:
    """A sample in its source's layout as grey or RGB, `low` black and `high` white, no side above `largest`; None if it is no image."""
    if sample.ndim != 3:
        return None
    image = sample.transpose(1, 2, 0) if layout == "NCHW" else sample
    if image.shape[2] not in (1, 3):
        return None
    step = -(-max(image.shape[:2]) // largest)
    height, width = (max(1, side // step) for side in image.shape[:2])
    blocks = image[: height * step, : width * step].reshape(height, min(step, image.shape[0]), width, min(step, image.shape[1]), -1)
    scaled = (blocks.mean(axis=(1, 3)) - low) / max(high - low, 1e-30)
    return np.asarray(np.clip(255 * scaled, 0, 255).round(), np.uint8)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
