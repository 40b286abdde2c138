"""lutra.zoo.machine_noise: the same windows everywhere, that look like log-mel spectra of machines."""

from hashlib import sha256

import numpy as np
import pytest

from lutra.zoo.machine_noise import BANDS, FRAMES, machine_noise

PUBLISHED = "a83fa9c32e4ce5db06044ac43420968de6f6439b7d26c34dd651149c61b48a71"


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    return machine_noise(256, 1).images


def test_the_windows_are_the_published_ones(windows: np.ndarray) -> None:
    assert sha256(windows.astype("<f4").tobytes()).hexdigest() == PUBLISHED


def test_windows_are_frames_of_decibels_within_the_range_of_the_task(windows: np.ndarray) -> None:
    assert windows.shape == (256, FRAMES * BANDS)
    assert windows.dtype == np.float32
    assert windows.min() >= -85
    assert windows.max() <= 15
    assert ((windows == -85) | (windows == 15)).mean() < 0.02


def test_neighbouring_frames_are_of_one_machine_and_windows_are_not(windows: np.ndarray) -> None:
    def alike(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    shape = windows.mean(0).reshape(FRAMES, BANDS)
    frames = windows.reshape(-1, FRAMES, BANDS) - shape
    assert alike(frames[:, 0], frames[:, 1]) > 0.8
    assert abs(alike(frames[:-1, 0], frames[1:, 0])) < 0.2


def test_a_spectrum_is_smooth_with_lines_in_it(windows: np.ndarray) -> None:
    spectra = windows.reshape(-1, FRAMES, BANDS).mean(1)
    rough = np.abs(np.diff(spectra, 2, axis=1))
    assert np.median(rough) < 3
    assert (rough.max(1) > 6).mean() > 0.5  # dB, at a harmonic


def test_another_seed_gives_other_windows(windows: np.ndarray) -> None:
    assert not np.array_equal(machine_noise(256, 2).images, windows)
