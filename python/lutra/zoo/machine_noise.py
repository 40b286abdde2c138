"""Made-up machine noise as log-mel spectra: inputs for networks that listen to machines, where no recordings are at hand.

It is shaped like the features of the DCASE toy-car task that MLPerf Tiny's autoencoder takes: 5 frames of 128 mel bands, in dB, of sound at
16 kHz with a frame every 32 ms. A machine turns at a slowly wavering speed, which gives harmonics over a smooth floor of noise; its load
swells and fades; each band flickers as the power of noise does.
"""

import numpy as np
import numpy.typing as npt

from lutra.dataset import Dataset

BANDS, FRAMES = 128, 5
_FRAME_SECONDS = 0.032
_HIGHEST_HERTZ = 8000.0
_HARMONICS = 24
_GRID = 64  # steps a dB: what is rounded to them is the same whatever the processor's last bits are


def machine_noise(samples: int, seed: int) -> Dataset:
    """`samples` windows [n, 640] float32, frame after frame, in dB between -85 and 15, each of another machine. No labels."""
    rng = np.random.default_rng(seed)
    windows = np.concatenate([_windows(min(1024, samples - at), rng) for at in range(0, samples, 1024)])
    return Dataset(windows.astype(np.float32))


def _windows(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    def uniform(low: float, high: float, *shape: int) -> npt.NDArray[np.float64]:
        return low + (high - low) * rng.random((count, *shape))

    band = np.arange(BANDS) / BANDS
    time = _FRAME_SECONDS * np.arange(FRAMES)
    # The floor: a tilt and a few smooth bumps over the bands.
    waves = np.cos(np.pi * np.arange(1, 7)[:, None] * (band + 1 / (2 * BANDS)))
    shape = (uniform(-1, 1, 6) * (8 / np.arange(1, 7))) @ waves
    floor = uniform(-45, -20, 1) - uniform(0, 30, 1) * band + shape
    # Harmonics of the speed, which wavers by a percent; a harmonic's power falls off with its number, with formants on top.
    speed = uniform(30, 250, 1, 1) * (1 + 0.01 * np.sin(2 * np.pi * (uniform(0.2, 2, 1, 1) * time[:, None] + uniform(0, 1, 1, 1))))
    number = np.arange(1, _HARMONICS + 1)
    centre = _mel_band(speed * number)[..., None]
    strength = uniform(0, 25, 1) - uniform(0.5, 1.5, 1) * number + uniform(-6, 6, _HARMONICS)
    width = uniform(0.6, 1.5, 1, 1, 1)
    lines = np.exp(-0.5 * np.square((np.arange(BANDS) - centre) / width))
    harmonics = (10 ** (strength / 10)[:, None, :, None] * lines).sum(2)
    load = uniform(0, 4, 1, 1) * np.sin(2 * np.pi * (uniform(0.5, 6, 1, 1) * time[:, None] + uniform(0, 1, 1, 1)))
    level = floor[:, None, :] + 10 * np.log10(1 + harmonics) + load
    # Noise power of a band is the mean of a few exponential draws: more of them in the wide bands above.
    draws = -np.log1p(-rng.random((count, FRAMES, BANDS, 4)))
    flicker = 10 * np.log10(draws.mean(-1)) * (1 - 0.5 * band)
    decibel = np.clip(level + flicker, -85, 15)
    rounded: npt.NDArray[np.float64] = np.rint(decibel * _GRID).reshape(count, FRAMES * BANDS) / _GRID
    return rounded


def _mel_band(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The band, as a real number, in which a frequency lies (O'Shaughnessy 1987)."""
    band: npt.NDArray[np.float64] = BANDS * np.log10(1 + hertz / 700) / np.log10(1 + _HIGHEST_HERTZ / 700) - 0.5
    return band
