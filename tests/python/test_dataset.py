"""lutra.dataset: samples from NumPy files, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lutra.dataset import Dataset, make_dataset, read_dataset
from lutra_compiler.errors import DataError
from lutra_compiler.ir.ops import Clamp, Linear
from quantized_graphs import dense, graph

IMAGES = np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3)
LABELS = np.array([3, 0, 1, 1])


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("x", "y"), ("inputs", "labels"), ("samples", "y")])
def test_arrays_are_found_by_name(tmp_path: Path, images: str, labels: str) -> None:
    np.savez(tmp_path / "d.npz", **{images: IMAGES, labels: LABELS, "other": np.zeros(1)})
    data = read_dataset(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.images, IMAGES, strict=True)
    np.testing.assert_array_equal(data.labels, LABELS)


def test_a_folder_holds_an_array_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "labels.npy", LABELS.astype(np.uint8))
    data = read_dataset(tmp_path)
    assert data.labels is not None
    assert (len(data), data.labels.dtype) == (4, np.int64)


def test_a_single_array_is_samples_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", IMAGES.astype(np.float64))
    data = read_dataset(tmp_path / "d.npy")
    assert (data.images.dtype, data.labels) == (np.float32, None)


def test_the_head_and_the_held_out_tail() -> None:
    data = Dataset(IMAGES, LABELS)
    assert [len(data.head(3)), len(data.head(None)), len(data.head(9))] == [3, 4, 4]
    training, held_out = data.hold_out(1)
    assert [len(training), len(held_out)] == [3, 1]
    assert held_out.labels is not None
    assert held_out.labels[0] == LABELS[3]


def test_samples_sorted_by_class_are_mixed_the_same_way_every_time() -> None:
    data = Dataset(np.arange(100, dtype=np.float32)[:, None], np.repeat(np.arange(5), 20))
    mixed = data.mixed()
    assert mixed.labels is not None
    assert mixed.numbers is not None
    np.testing.assert_array_equal(mixed.images[:, 0], mixed.numbers)
    np.testing.assert_array_equal(mixed.labels, mixed.numbers // 20)
    np.testing.assert_array_equal(data.mixed().numbers, mixed.numbers)
    assert mixed.mixed() is mixed
    assert set(mixed.labels[:25]) == set(range(5))
    training, held_out = mixed.hold_out()
    assert (len(training), len(held_out)) == (90, 10)
    assert held_out.number_of(3) == mixed.numbers[93]
    assert data.number_of(3) == 3


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.astype(np.uint8), None, "uint8 .*; they must be float .*, preprocessed as for the float network"),
        (IMAGES[:0], None, r"float32 \[0, 1, 2, 3\]"),
        (np.zeros(3, np.float32), None, r"float32 \[3\]"),
        (np.where(IMAGES == 13, np.nan, IMAGES), None, "sample 2 holds NaN or infinity"),
        (np.where(IMAGES == 13, 1e300, IMAGES.astype(np.float64)), None, "sample 2 holds NaN or infinity"),
        (IMAGES, LABELS[:3], r"labels are int64 \[3\]"),
        (IMAGES, LABELS.astype(np.float32), r"labels are float32 \[4\]"),
        (IMAGES, LABELS - 1, "class numbers from 0"),
        (IMAGES, LABELS.astype(np.uint64) + np.uint64(1 << 63), "class numbers from 0"),
        ([[1.0], [2.0, 3.0]], None, "inhomogeneous"),
        (torch.zeros(3, 2, requires_grad=True), None, "requires grad"),
    ],
)
def test_arrays_of_another_kind_are_refused(images: np.ndarray, labels: np.ndarray | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_dataset(images, labels)


def test_tensors_and_lists_are_arrays() -> None:
    found = make_dataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS))
    np.testing.assert_array_equal(found.images, IMAGES)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert make_dataset([[1.0, 2.0]], [3]).images.dtype == np.float32


@pytest.mark.parametrize("name", ["label", "Labels", "targets"])
def test_misspelt_labels_are_told(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "d.npz", images=IMAGES, **{name: LABELS})
    with pytest.raises(DataError, match=f"holds the arrays images, {name}; call the labels 'labels'"):
        read_dataset(tmp_path / "d.npz")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_dataset(tmp_path / "d.npy")


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999, 9), }"


UNCLOSED, NO_NAMES = HEADER.replace(b"}", b" "), HEADER[:10] + b"{1: 2, 'a': 3}"


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 torn", HEADER[:50], *(header.ljust(127) + b"\n" for header in (HEADER, UNCLOSED, NO_NAMES))],
    ids=["empty", "zip", "torn", "huge", "unclosed", "no names"],
)
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_dataset(tmp_path / "d.npz")


@pytest.mark.parametrize(("after", "place"), [(b"PK\x01\x02", 10), (b"PK\x03\x04", 64)], ids=["unknown compression", "damaged content"])
def test_a_damaged_archive_is_refused(tmp_path: Path, after: bytes, place: int) -> None:
    np.savez_compressed(tmp_path / "d.npz", images=np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32))
    content = bytearray((tmp_path / "d.npz").read_bytes())
    content[content.index(after) + place] ^= 0xFF
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_dataset(tmp_path / "d.npz")


def test_missing_files_and_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nosuch"):
        read_dataset(tmp_path / "nosuch.npz")
    with pytest.raises(DataError, match="holds the arrays none"):
        read_dataset(tmp_path)
    np.savez(tmp_path / "d.npz", a=IMAGES, b=LABELS)
    with pytest.raises(DataError, match="the arrays a, b; the samples must be called 'images'"):
        read_dataset(tmp_path / "d.npz")


def test_samples_of_another_shape_than_the_network_takes_are_refused() -> None:
    network = graph([Linear(name="fc", inputs=("x",), output="y", weight="w", activation=Clamp(0))], {"x": (7,)}, {"w": dense((2, 7))})
    Dataset(np.zeros((1, 7), np.float32)).check(network)
    with pytest.raises(DataError, match=r"samples have shape \(1, 2, 3\), but the network takes \(7,\) \(NF\)"):
        Dataset(IMAGES).check(network)
