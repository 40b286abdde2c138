"""`lutra validate`: the task's metric, the worst sample, layers, images as inputs, and reports for other programs."""

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from PIL import Image
from test_cli import Result, lutra  # noqa: F401  (fixture)

import lutra as package
from cli_models import FEATURES, METADATA, compressed_graph, float_onnx, write_data
from lutra import validation
from lutra.dataset import Dataset
from lutra.images import ImageFormat, read_images
from lutra.metrics import accuracy, auc, top5
from lutra_compiler.compression.compress import quantize_to_int8
from lutra_compiler.driver import Model, float_metadata
from lutra_compiler.errors import ConfigurationError, DataError
from lutra_compiler.frontends.onnx_reader import read_onnx
from lutra_compiler.ir.encoding import ScalarQuantized
from lutra_compiler.model_file import save_model
from lutra_compiler.passes import canonicalise
from onnx_models import model as network
from onnx_models import node, normal

pytestmark = pytest.mark.usefixtures("host_cache")


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    onnx.save(float_onnx(), tmp_path / "float.onnx")
    return tmp_path / "float.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data.npz")


def int8_model(graph_bytes: bytes, samples: np.ndarray) -> Model:
    import torch

    graph = canonicalise(read_onnx(graph_bytes))
    return Model(quantize_to_int8(graph, torch.from_numpy(samples)), float_metadata(graph, "int8"))


@pytest.fixture
def model(tmp_path: Path, data: Path) -> Path:
    """The float model as plain int8."""
    images = np.load(data)["images"]
    package.save(int8_model(float_onnx().SerializeToString(), images), tmp_path / "int8.lutra")
    return tmp_path / "int8.lutra"


# Layers and samples.


def test_layers_of_an_int8_network_are_near_the_float_ones(
    lutra: Callable[..., Result], model: Path, float_model: Path, data: Path  # noqa: F811
) -> None:
    record = lutra("validate", model, "--data", data, "--reference", float_model, "--json").json()
    assert [layer["name"] for layer in record["layers"]] == ["hidden", "scores"]
    for layer in record["layers"]:
        assert 0 < layer["l2r"] < 0.02
        assert layer["cos"] > 0.999
        assert 0.1 < layer["steps"] < 1.5
        assert layer["bit_exact"]
    assert record["first_deviating"] is None


def test_the_first_layer_that_deviates_is_named(
    lutra: Callable[..., Result], model: Path, float_model: Path, data: Path, tmp_path: Path  # noqa: F811
) -> None:
    small = package.load(model)
    weight = small.graph.ops[1].weight
    wrong = ScalarQuantized(-small.graph.encodings[weight].values, small.graph.encodings[weight].scale)
    package.save(replace(small, graph=small.graph.with_encodings({weight: wrong})), tmp_path / "wrong.lutra")
    result = lutra("validate", "wrong.lutra", "--data", data, "--reference", float_model, "--deviation", "0.5", "--json")
    assert (result.code, result.json()["first_deviating"]) == (1, "scores")
    assert "'scores' is the first above 0.5" in lutra("validate", "wrong.lutra", "--data", data, "--reference", float_model).out
    assert lutra("validate", "wrong.lutra", "--data", data, "--json").json()["first_deviating"] is None  # its own weights are what they are


def test_a_layer_whose_bytes_differ_is_named(
    lutra: Callable[..., Result], model: Path, data: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    right = validation.interpret

    def wrong(program: Any, inputs: Any, trace: bool = False) -> Any:
        run = right(program, inputs, trace)
        for layer in (*run.layers[1:], *run.outputs):
            layer[-1, -1] ^= 1
        return run

    monkeypatch.setattr(validation, "interpret", wrong)
    result = lutra("validate", model, "--data", data, "--report", "report.xml", "--json")
    record = result.json()
    assert (result.code, record["first_deviating"], record["compared"]["differing"]) == (1, "scores", {"interpreter": 1})
    failure = ElementTree.parse("report.xml").find(".//failure")
    assert failure is not None
    assert failure.get("message") == "1 of 60 samples differ; the first layer is 'scores'"


def test_the_worst_sample_is_named(lutra: Callable[..., Result], model: Path, float_model: Path, data: Path, tmp_path: Path) -> None:  # noqa: F811
    images = np.load(data)["images"]
    images[17] *= 50  # saturates
    np.savez(tmp_path / "far.npz", images=images)
    record = lutra("validate", model, "--data", "far.npz", "--reference", float_model, "--json").json()
    assert record["worst_sample"] == 17
    assert record["worst_l2r"] > 0.5 > record["layers"][0]["steps"] / 1000


def test_a_few_samples_are_of_all_classes_and_keep_their_numbers(
    lutra: Callable[..., Result], float_model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    images, labels = (np.load(data)[name] for name in ("images", "labels"))
    by_class = np.argsort(labels)
    labels = labels[by_class]
    np.savez(tmp_path / "sorted.npz", images=images[by_class], labels=labels)
    save_model(tmp_path / "random.lutra", compressed_graph(), METADATA)
    seen: list[Any] = []
    monkeypatch.setattr("lutra.page.write_page", lambda facts, path: seen.append(facts) or 1)
    assert lutra("report", "random.lutra", "--data", "sorted.npz", "--samples", "20", "-o", "x.html").code == 0
    worst = seen[0].answers.worst
    assert [labels[sample.number] for sample in worst] == [sample.label for sample in worst]
    assert len({sample.label for sample in worst}) > 2


def test_parts_of_a_concatenation_are_one_layer() -> None:
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "r"), node("Concat", "a r", "c", axis=1), node("Conv", "c v", "y")]
    samples = np.random.default_rng(0).normal(size=(20, 2, 5, 6)).astype(np.float32)
    int8 = int8_model(network(nodes, {"w": normal(4, 2, 3, 3), "v": normal(3, 8, 1, 1)}).SerializeToString(), samples)
    found = package.validate(int8, Dataset(samples))
    assert [layer.output_shape for layer in found.layers] == [(3, 4, 4), (3, 4, 4), (3, 4, 8), (3, 4, 3)]
    assert all(layer.bit_exact and layer.rounding < 0.02 for layer in found.layers)


# Metrics.


def test_metrics() -> None:
    scores = np.eye(7, dtype=np.float32)[[0, 1, 2, 2]] - 0.01 * np.arange(7, dtype=np.float32)
    labels = Dataset(np.zeros((4, 1), np.float32), np.array([0, 1, 3, 6]))
    assert accuracy(scores, labels) == 0.5
    assert top5(scores, labels) == 0.75
    images = np.zeros((5, 2), np.float32)
    errors = np.sqrt(np.array([0.1, 0.4, 0.3, 0.4, 0.9], np.float32))
    found = auc(np.stack([errors, errors], 1), Dataset(images, np.array([0, 0, 0, 1, 1])))
    assert found == pytest.approx(5.5 / 6)  # of six pairs five are in order, and one is a tie


def test_metrics_that_make_no_sense_are_refused() -> None:
    images = np.zeros((2, 3), np.float32)
    for metric, scores, labels, message in (
        (accuracy, images, None, "needs labels"), (accuracy, images, np.array([0, 3]), "label 3"),
        (auc, images, np.array([0, 0]), "label 1, anomalous"), (auc, images[:, :2], np.array([0, 1]), "reconstruct"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            metric(scores, Dataset(images, labels))


def test_a_metric_is_measured_of_both(lutra: Callable[..., Result], model: Path, float_model: Path, data: Path) -> None:  # noqa: F811
    result = lutra("validate", model, "--data", data, "--reference", float_model, "--metric", "top5", "--max-drop", "0", "--json")
    record = result.json()
    assert (result.code, record["metric"], record["metric_value"], record["float_metric_value"], record["drop_pp"]) == (0, "top5", 1, 1, 0)
    assert "top5" in lutra("validate", model, "--data", data, "--metric", "top5").out
    assert lutra("validate", model, "--data", data, "--metric", "top6").code == 2


def test_a_metric_of_ones_own() -> None:
    small = Model(compressed_graph(), METADATA)
    found = package.validate(small, lambda: Dataset(np.zeros((3, FEATURES), np.float32)), metric=lambda scores, data: float(len(data)))
    assert found.metric is not None
    assert found.metric.value == 3


def test_a_drop_above_the_limit_is_the_answer_no(lutra: Callable[..., Result], float_model: Path, data: Path, tmp_path: Path) -> None:  # noqa: F811
    save_model(tmp_path / "random.lutra", compressed_graph(), METADATA)
    result = lutra("validate", "random.lutra", "--data", data, "--reference", float_model, "--max-drop", "1", "--report", "r.xml")
    assert result.code == 1
    suite = ElementTree.parse("r.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert "the limit is 1" in (suite.find(".//failure").get("message") or "")  # type: ignore[union-attr]
    np.savez(tmp_path / "unlabelled.npz", images=np.zeros((3, FEATURES), np.float32))
    assert lutra("validate", "random.lutra", "--data", "unlabelled.npz", "--max-drop", "1").code == 2


# Reports.


def test_reports_say_what_was_printed(lutra: Callable[..., Result], model: Path, data: Path) -> None:  # noqa: F811
    result = lutra("validate", model, "--data", data, "--report", "r.json", "--report", "r.xml", "--json")
    assert json.loads(Path("r.json").read_text()) == result.json()
    suite = ElementTree.parse("r.xml").getroot()
    assert [case.get("name") for case in suite.iter("testcase")] == ["the tables are intact", "interpreter gives the bytes of the host"]
    properties = {entry.get("name"): entry.get("value") for entry in suite.iter("property")}
    assert properties["model_bytes"] == str(result.json()["model_bytes"])


def test_a_bundle_alone_has_less_to_say(lutra: Callable[..., Result], model: Path, data: Path) -> None:  # noqa: F811
    assert lutra("generate", model, "-o", "out").code == 0
    assert lutra("validate", "out", "--data", data, "--report", "r.xml").code == 0
    assert len(ElementTree.parse("r.xml").findall(".//skipped")) == 1
    refused = lutra("validate", "out", "--data", data, "--deviation", "0.5")
    assert (refused.code, "needs a model, not a bundle" in refused.err) == (2, True)


def test_a_compressed_reference_is_refused(lutra: Callable[..., Result], model: Path, data: Path) -> None:  # noqa: F811
    result = lutra("validate", model, "--data", data, "--reference", model, "--max-drop", "0")
    assert (result.code, "the reference is compressed; give its float network" in result.err) == (2, True)


def test_a_reference_of_other_weights_is_told_and_of_other_layers_refused_for_a_deviation(
    lutra: Callable[..., Result],  # noqa: F811
    float_model: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    known = {**METADATA, "float_sha256": package.load(float_model).metadata["float_sha256"]}
    save_model(tmp_path / "small.lutra", compressed_graph(), known)
    other = float_onnx()
    for index, layer in enumerate(other.graph.node):
        layer.name = f"other{index}"
        layer.input[0] = f"other{index - 1}" if index else "x"
        layer.output[0] = other.graph.output[0].name = f"other{index}"
    arguments = "validate", "small.lutra", "--data", data, "--reference"
    assert "other weights" not in lutra(*arguments, float_model).err
    weight = onnx.numpy_helper.to_array(other.graph.initializer[0])
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(2 * weight, "w1"))
    onnx.save(other, tmp_path / "other.onnx")
    result = lutra(*arguments, "other.onnx", "--deviation", "0.5")
    assert "the reference has other weights than the network that the model was made of" in result.err
    assert (result.code, "no layer of other.onnx has the name and shape of one of small.lutra" in result.err) == (2, True)


@pytest.mark.parametrize("name", ["r.txt", "nosuch/r.xml", "."])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(lutra: Callable[..., Result], data: Path, name: str) -> None:  # noqa: F811
    assert lutra("validate", "nosuch.lutra", "--data", data, "--report", name).code == 2


def test_names_of_a_model_cannot_break_a_report(lutra: Callable[..., Result], data: Path, tmp_path: Path) -> None:  # noqa: F811
    graph = compressed_graph()
    save_model(tmp_path / "x.lutra", graph.with_ops([replace(graph.ops[0], name="\x00]]><\ud800"), *graph.ops[1:]]), {})
    lutra("validate", "x.lutra", "--data", data, "--deviation", "0", "--report", "r.xml", "--report", "r.json")
    assert "\\x00]]><\\ud800" in ElementTree.parse("r.xml").find(".//failure").get("message")  # type: ignore[operator, union-attr]


# Images.


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of three and two images, 6 x 5, numbered by their red values."""
    for number in range(5):
        folder = tmp_path / "photos" / ("otter" if number < 3 else "seal")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (number, 128, 255)).save(folder / f"{number}.{'png' if number % 2 else 'bmp'}")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (ImageFormat("bytes"), (2, 128, 255)),
        (ImageFormat("unit"), (2 / 255, 128 / 255, 1)),
        (ImageFormat("signed"), (4 / 255 - 1, 256 / 255 - 1, 1)),
        (ImageFormat("bytes", (2.0,), (2.0,)), (0, 63, 126.5)),
        (ImageFormat("bytes", (2.0, 28.0, 55.0), (1.0, 2.0, 4.0)), (0, 50, 50)),
    ],
)
def test_images_become_samples(photos: Path, form: ImageFormat, expected: tuple[float, ...]) -> None:
    found = read_images(photos, (3, 5, 6), "NCHW", form)
    assert found.images.shape == (5, 3, 5, 6)
    assert found.labels is not None
    assert found.numbers is not None
    by_name = np.argsort(found.numbers)
    assert found.labels[by_name].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(found.images[by_name[2], :, 1, 1], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(read_images(photos, (5, 6, 3), "NHWC", form).images, found.images.transpose(0, 2, 3, 1))


def test_the_first_images_are_of_all_classes(tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path / str(number // 10)
        folder.mkdir(exist_ok=True)
        Image.new("L", (1, 1), number).save(folder / f"{number:02}.png")
    found = read_images(tmp_path, (1, 1, 1), "NCHW", ImageFormat("bytes"))
    assert found.labels is not None
    np.testing.assert_array_equal(found.images.ravel(), found.numbers)
    np.testing.assert_array_equal(found.labels, found.images.ravel() // 10)
    assert set(found.labels[:20]) == set(range(4))
    np.testing.assert_array_equal(read_images(tmp_path, (1, 1, 1), "NCHW", ImageFormat("bytes")).images, found.images)


def test_an_empty_folder_is_a_class_and_a_hidden_one_is_none(photos: Path) -> None:
    (photos / "narwhal").mkdir()
    (photos / ".thumbnails").mkdir()
    Image.new("RGB", (6, 5)).save(photos / ".thumbnails" / "0.png")
    labels = read_images(photos, (3, 5, 6), "NCHW", ImageFormat()).labels
    assert labels is not None
    assert sorted(labels.tolist()) == [1, 1, 1, 2, 2]


def png_of_16_bits(colour: int, channels: int) -> bytes:
    """6 x 5 pixels of 16 bits a channel, which Pillow does not write in colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + bytes(6 * 2 * channels)) * 5
    header = struct.pack(">IIBBBBB", 6, 5, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("grey.png", png_of_16_bits(0, 1)), ("colour.png", png_of_16_bits(2, 3)), ("clear.png", png_of_16_bits(4, 2)),
        ("grey.pgm", b"P5 6 5 1023\n" + bytes(60)), ("colour.ppm", b"P6 6 5 65535\n" + bytes(180)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 5, 6)])
def test_images_of_more_than_8_bits_are_refused(tmp_path: Path, name: str, content: bytes, shape: tuple[int, ...]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} has more than 8 bits a channel; convert it"):
        read_images(tmp_path, shape, "NCHW", ImageFormat())


@pytest.mark.parametrize("name", ["x.pgm", "x.gif", "x.tif", "x.webp", "x.jpg"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_images_of_8_bits_are_not(tmp_path: Path, name: str, mode: str) -> None:
    image = Image.new("L", (6, 5), 255).convert(mode)
    if (name, mode) in {("x.jpg", "P"), ("x.pgm", "P")}:
        image = image.convert("RGB")
    image.save(tmp_path / name)
    assert read_images(tmp_path, (1, 5, 6), "NCHW", ImageFormat()).images.min() > 0.9


def test_images_without_classes_and_in_grey(photos: Path) -> None:
    found = read_images(photos / "otter", (1, 5, 6), "NCHW", ImageFormat("bytes"))
    assert (found.images.shape, found.labels) == ((3, 1, 5, 6), None)
    assert len(np.unique(found.images)) <= 3


def test_images_of_another_size_are_resized_if_wished(photos: Path) -> None:
    with pytest.raises(DataError, match=r"has 6 x 5 pixels, the network takes 3 x 4"):
        read_images(photos, (3, 4, 3), "NCHW", ImageFormat())
    assert read_images(photos, (3, 4, 3), "NCHW", ImageFormat(resize=True)).images.shape == (5, 3, 4, 3)


def test_images_that_are_none_are_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"takes \(16,\) \(NF\)"):
        read_images(photos, (16,), "NF", ImageFormat())
    with pytest.raises(DataError, match="of 1 or 3 channels, but the network takes 2"):
        read_images(photos, (2, 5, 6), "NCHW", ImageFormat())
    with pytest.raises(ConfigurationError, match="2 numbers are given for the mean"):
        read_images(photos, (3, 5, 6), "NCHW", ImageFormat(mean=(1.0, 2.0)))
    (photos / "otter" / "x.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"x\.png cannot be read as an image"):
        read_images(photos, (3, 5, 6), "NCHW", ImageFormat())
    (photos / "x.png").touch()
    with pytest.raises(DataError, match="images beside folders of images"):
        read_images(photos, (3, 5, 6), "NCHW", ImageFormat())
    monkeypatch.setattr("lutra.images.MAX_PIXELS", 20)
    with pytest.raises(DataError, match="pixels; the limit is 20"):
        read_images(photos / "seal", (3, 5, 6), "NCHW", ImageFormat())
    monkeypatch.setattr("lutra.images.MAX_ELEMENTS", 100)
    with pytest.raises(DataError, match="180 numbers as samples; the limit is 100"):
        read_images(photos / "seal", (3, 5, 6), "NCHW", ImageFormat())


@pytest.mark.parametrize("wrong", [{"values": "floats"}, {"std": (0.0,)}, {"mean": (float("nan"),)}])
def test_formats_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ImageFormat(**wrong)


def test_validate_takes_a_folder_of_images(lutra: Callable[..., Result], photos: Path, tmp_path: Path) -> None:  # noqa: F811
    nodes = [node("Conv", "x w", "c"), node("Flatten", "c", "f"), node("Gemm", "f m", "y")]
    weights = {"w": normal(4, 3, 3, 3), "m": normal(48, 2)}
    samples = read_images(photos, (3, 5, 6), "NCHW", ImageFormat("signed", resize=True)).images
    package.save(int8_model(network(nodes, weights, {"x": (1, 3, 5, 6)}).SerializeToString(), samples), tmp_path / "x.lutra")
    signed = lutra("validate", "x.lutra", "--data", photos, "--image-values", "signed", "--json").json()
    assert (signed["samples"], signed["bit_exact"]) == (5, True)
    assert lutra("generate", "x.lutra", "-o", "out").code == 0
    assert lutra("validate", "out", "--data", photos, "--image-values", "signed", "--json").json()["accuracy"] == signed["accuracy"]
    assert lutra("validate", "x.lutra", "--data", photos, "--image-values", "floats").code == 2
    assert lutra("validate", "x.lutra", "--data", photos, "--image-mean", "a").code == 2


@pytest.mark.parametrize(
    "option", [("--image-values", "unit"), ("--image-mean", "0"), ("--image-std", "1"), ("--image-resize",)], ids=" ".join
)
@pytest.mark.parametrize("verb", ["validate", "report", "compress"])
def test_what_is_said_of_images_needs_some(
    lutra: Callable[..., Result], model: Path, float_model: Path, data: Path, verb: str, option: tuple[str, ...]  # noqa: F811
) -> None:
    more = {"validate": (), "report": ("-o", "x.html"), "compress": ("-o", "x.lutra")}[verb]
    result = lutra(verb, float_model if verb == "compress" else model, "--data", data, *more, *option)
    assert (result.code, result.out) == (2, "")
    assert option[0] in result.err
    assert "no folder of images" in result.err
