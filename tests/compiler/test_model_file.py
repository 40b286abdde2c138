"""model_file.py: a .lutra file gives back what was saved, and nothing but a ModelError if anything is wrong with it."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from lutra_compiler import model_file
from lutra_compiler.errors import GraphError, ModelError, OutputError
from lutra_compiler.ir.encoding import ProductQuantized, Quantization, ScalarQuantized, WeightEncoding
from lutra_compiler.ir.graph import Graph, Input
from lutra_compiler.ir.ops import (
    OP_KINDS,
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Binary,
    Clamp,
    Concat,
    Conv2d,
    Elementwise,
    Flatten,
    Gather,
    Gru,
    Linear,
    Lstm,
    MaxPool,
    Normalise,
    Pad,
    Rearrange,
    Select,
    Slice,
    Softmax,
    Step,
    Upsample,
)
from lutra_compiler.model_file import load_model, save_model

RNG = np.random.default_rng(0)
METADATA = {"network": "éverything\x1b[31m", "float_parameter_bytes": 4096, "float_accuracy": 0.1 + 0.2, "notes": [1, None, {"a": True}]}


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def coded(shape: tuple[int, ...], codewords: int, subvector: int, bits: int) -> ProductQuantized:
    indices = RNG.integers(codewords, size=(shape[0], int(np.prod(shape[1:-1])), -(-shape[-1] // subvector)), dtype=np.uint8)
    codebook = RNG.integers(-128, 128, (codewords, subvector), np.int8)
    return ProductQuantized(codebook, indices, np.abs(floats(shape[0])), shape, bits)


def everything() -> Graph:
    """Every kind of op and of encoding; an odd number of 4-bit indices."""

    def unary(kind: Callable[..., Any], source: str, output: str, **attributes: Any) -> Any:
        return kind(name=f"{kind.__name__} \u202e {output}", inputs=(source,), output=output, **attributes)

    norm = {"scale": "n.scale", "offset": "n.offset", "mean": "n.mean", "variance": "n.variance", "epsilon": 1e-3}
    ops = (
        unary(Conv2d, "x", "a", weight="a.w", bias="a.b", stride=(1, 1), padding=(1, 0, 1, 2)),
        unary(BatchNorm, "a", "b", **norm, activation=Clamp(0.0, 6.0)),
        unary(MaxPool, "b", "c", kernel=(2, 2), stride=(1, 1), padding=(0, 1, 1, 0)),
        unary(AveragePool, "b", "d", kernel=(2, 2), stride=(1, 1), padding=(0, 1, 1, 0), count_include_pad=True),
        Add(name="", inputs=("c", "d"), output="e", activation=Clamp(0.1, None)),
        Concat(name="join", inputs=("e", "c"), output="f"),
        unary(Pad, "f", "g", spatial=(1, 0, 0, 1), channels=(0, 1)),
        unary(Slice, "g", "h", start=(0, 1, 0), stop=(4, 5, 7), step=(2, 1, 1)),
        unary(Activation, "h", "h1", clamp=Clamp(None, 2.5)),
        unary(Elementwise, "h1", "h2", steps=(Step("tanh", (0,)), Step("multiply", (1,), (1 / 3,)), Step("add", (0, 2)))),
        Binary(name="times", inputs=("h1", "h2"), output="h3", function="multiply", activation=Clamp(-1.0, None)),
        unary(Gather, "h3", "h4", axis=1, indices=(3, 0, 0, 1)),
        unary(Rearrange, "h4", "h5", view=(2, 2, 2, 7), order=(2, 0, 1, 3), shape=(2, 4, 7)),
        unary(Normalise, "h5", "h6", axes=(0, 1), epsilon=1e-4),
        unary(Upsample, "h6", "h7", factors=(2, 1)),
        unary(Slice, "h7", "i", start=(0, 0, 0), stop=(2, 4, 7), step=(1, 1, 1)),
        unary(Slice, "h7", "r", start=(0, 0, 0), stop=(1, 4, 4), step=(1, 1, 1)),
        unary(Lstm, "r", "r1", weight="r1.w", initial="r1.i", reverse=True),
        unary(Pad, "r1", "r2", channels=(1, 1)),
        unary(Gru, "r2", "r3", weight="r3.w", bias="r3.b", sequence=False),
        unary(Flatten, "i", "j"),
        unary(Select, "j", "j2", indices=(*range(27), *range(28, 56))),
        unary(Linear, "j2", "k", weight="k.w", activation=Clamp(0.0, None)),
        unary(Linear, "k", "l", weight="l.w", bias="l.b"),
        unary(Softmax, "l", "m"),
    )
    assert {type(op) for op in ops} == set(OP_KINDS)
    parameters = {name: np.abs(floats(3)) for name in ("a.b", "n.scale", "n.offset", "n.mean", "n.variance")} | {"l.b": floats(5)}
    parameters |= {"r1.i": floats(2, 1), "r3.b": floats(3)}
    weight = ScalarQuantized(RNG.integers(-127, 128, (3, 2, 2, 2), np.int8), np.abs(floats(3)))
    entropy_coded = replace(coded((5, 7), 32, 2, 8), coded=True)
    encodings: dict[str, WeightEncoding] = {"a.w": weight, "k.w": coded((7, 2 * 4 * 7 - 1), 16, 8, 4), "l.w": entropy_coded}
    encodings |= {"r1.w": ScalarQuantized(RNG.integers(-127, 128, (4, 1), np.int8), np.abs(floats(4))), "r3.w": coded((3, 1), 2, 1, 4)}
    graph = Graph((Input("x", (4, 4, 2), "NCHW"),), ops, ("m", "g", "r3"), parameters, encodings)
    return replace(graph, quantization={value: Quantization(0.1 + i, -i) for i, value in enumerate(graph.materialised_values())})


def assert_same(a: Graph, b: Graph) -> None:
    for part in ("inputs", "ops", "outputs"):
        assert getattr(a, part) == getattr(b, part)
    for part in ("parameters", "encodings", "quantization"):
        assert list(getattr(a, part)) == list(getattr(b, part))
    assert a.quantization == b.quantization
    for name, array in a.parameters.items():
        np.testing.assert_array_equal(array, b.parameters[name], strict=True)
    for name, encoding in a.encodings.items():
        other = b.encodings[name]
        assert type(encoding) is type(other)
        for field in fields(encoding):
            np.testing.assert_array_equal(getattr(encoding, field.name), getattr(other, field.name), strict=True)


GRAPH = everything()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("models") / "everything.lutra"
    save_model(path, GRAPH, METADATA)
    return path.read_bytes()


def rebuilt(content: bytes, change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    """The file with its document and tensors changed and its hash made right again."""
    tensors = safetensors.numpy.load(content)
    document = document_of(content)
    change(document, tensors)
    document["sha256"] = model_file._digest(document, tensors)
    return bytes(safetensors.numpy.save(tensors, {"lutra": json.dumps(document)}))


def document_of(content: bytes) -> dict[str, Any]:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    document: dict[str, Any] = json.loads(header["__metadata__"]["lutra"])
    return document


def load(path: Path, content: bytes) -> tuple[Graph, dict[str, Any]]:
    path.write_bytes(content)
    return load_model(path)


def test_a_model_comes_back_whole(content: bytes, tmp_path: Path) -> None:
    graph, metadata = load(tmp_path / "x.lutra", content)
    assert_same(graph, GRAPH)
    assert metadata == METADATA


def test_a_float_model_comes_back_whole(tmp_path: Path) -> None:
    graph = replace(GRAPH.with_parameters({name: GRAPH.weight(name) for name in GRAPH.encodings}), quantization={})
    save_model(tmp_path / "x.lutra", graph, {})
    assert_same(load_model(tmp_path / "x.lutra")[0], graph)


def test_arrays_that_are_not_contiguous_are_saved_right(tmp_path: Path) -> None:
    transposed = np.asfortranarray(GRAPH.parameters["a.b"][::-1])
    graph = GRAPH.with_parameters({"a.b": transposed})
    save_model(tmp_path / "x.lutra", graph, {})
    np.testing.assert_array_equal(load_model(tmp_path / "x.lutra")[0].parameters["a.b"], transposed)


def test_the_same_model_gives_the_same_bytes(content: bytes, tmp_path: Path) -> None:
    save_model(tmp_path / "x.lutra", copy.deepcopy(GRAPH), METADATA)
    assert (tmp_path / "x.lutra").read_bytes() == content


def test_four_bit_indices_take_four_bits(content: bytes) -> None:
    assert GRAPH.encodings["k.w"].indices.size == 49  # type: ignore[union-attr]
    assert safetensors.numpy.load(content)["indices/k.w"].size == 25


def test_a_file_from_before_there_were_coded_indices_is_read(content: bytes, tmp_path: Path) -> None:
    def without_the_key(document: dict[str, Any], _: dict[str, Any]) -> None:
        for encoding in document["encodings"].values():
            del encoding["coded"]

    graph, _ = load(tmp_path / "old.lutra", rebuilt(content, without_the_key))
    assert not any(getattr(encoding, "coded", False) for encoding in graph.encodings.values())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lutra"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save_model(path, GRAPH, {})
    assert [p.name for p in tmp_path.iterdir()] == ["x.lutra"]
    assert path.read_bytes() == b"old"


def test_a_graph_that_breaks_the_rules_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="output 'nosuch'"):
        save_model(tmp_path / "x.lutra", replace(GRAPH, outputs=("nosuch",)), {})
    assert not list(tmp_path.iterdir())


def setting(*path: Any, to: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """A change that sets one place of the document."""

    def change(document: Any, tensors: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return change


def tensor(name: str, array: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """A change that sets one tensor, or removes it."""

    def change(document: Any, tensors: dict[str, Any]) -> None:
        tensors.pop(name, None)
        if array is not None:
            tensors[name] = array

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("format_version", to=2), "format version is 2, this Lutra reads 1"),
        (setting("surprise", to=1), "unknown key 'surprise'"),
        (setting("ops", to=[]), "output 'm' is not computed"),
        (setting("ops", to=7), "ops is 7; it must be a list"),
        (setting("ops", 0, "kind", to="conv3d"), r"ops\[0\] has the unknown kind 'conv3d'; did you mean 'conv2d'"),
        (setting("ops", 0, "kind", to=["conv2d"]), "unknown kind"),
        (setting("ops", 0, "dilation", to=1), "unknown key 'dilation'"),
        (setting("ops", 0, "stride", to=[1]), r"ops\[0\]\.stride has 1 entries; it must have 2"),
        (setting("ops", 0, "stride", to=[0, 1]), "stride"),
        (setting("ops", 0, "stride", to=[True, 1]), "64-bit integer"),
        (setting("ops", 0, "groups", to=0), "group"),
        (setting("ops", 0, "groups", to=1 << 70), "64-bit integer"),
        (setting("ops", 1, "epsilon", to=-1e9), "variance"),
        (setting("ops", 7, "step", to=[0, 1, 1]), "slice"),
        (setting("inputs", 0, "shape", to=[4, 4]), "layout NCHW does not fit"),
        (setting("inputs", 0, "shape", to=[-4, 4, 2]), "."),
        (setting("inputs", 0, "layout", to="NHCW"), "layout"),
        (setting("quantization", "x", "scale", to=0), "positive scale"),
        (setting("quantization", "x", "zero_point", to=128), "zero point"),
        (setting("quantization", "y", to={"scale": 1.0, "zero_point": 0}), "does not compute"),
        (setting("encodings", "k.w", "shape", to=[7, 1 << 40]), "do not fit"),
        (setting("encodings", "k.w", "shape", to=[1 << 62, 1 << 62, 1 << 62]), "do not fit"),
        (setting("encodings", "k.w", "shape", to=[7, 0]), "do not fit"),
        (setting("encodings", "k.w", "shape", to=[7]), "do not fit"),
        (setting("encodings", "k.w", "index_bits", to=8), "do not fit"),
        (setting("encodings", "k.w", "index_bits", to=5), "allowed: 4, 8"),
        (setting("encodings", "k.w", "kind", to="scalar"), "'values/k.w' is missing"),
        (setting("metadata", "float_parameter_bytes", to="many"), "metadata.float_parameter_bytes"),
        (setting("metadata", to=[]), "metadata"),
        (tensor("parameter/a.b", None), "'parameter/a.b' is missing"),
        (tensor("parameter/zzz", np.zeros(1, np.float32)), "'parameter/zzz' belongs to nothing"),
        (tensor("parameter/a.b", np.zeros(3, np.int8)), "has type int8; it must be float32"),
        (tensor("parameter/a.b", np.zeros(3, np.float16)), "has type F16; allowed: F32, I8, U8"),
        (tensor("parameter/a.b", np.array([0, np.nan, 0], np.float32)), "NaN or infinity"),
        (tensor("parameter/a.b", np.array([0, np.inf, 0], np.float32)), "NaN or infinity"),
        (tensor("parameter/a.b", np.zeros(0, np.float32)), "is empty"),
        (tensor("parameter/a.b", np.zeros(4, np.float32)), "shape"),
        (tensor("scale/k.w", np.zeros(7, np.float32)), "positive"),
        (tensor("scale/k.w", np.ones(6, np.float32)), "row scale"),
        (tensor("codebook/k.w", np.ones(64, np.int8)), "codebook"),
        (tensor("codebook/k.w", np.ones((8, 8), np.int8)), "index"),
        (tensor("codebook/k.w", np.ones((15, 8), np.int8)), "power of two"),
        (tensor("codebook/l.w", np.ones((1 << 10, 2), np.int8)), "power of two"),
        (tensor("values/a.w", np.full((3, 2, 2, 2), -128, np.int8)), "-127"),
    ],
)
def test_a_file_that_says_something_wrong_is_refused(
    content: bytes, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], message: str
) -> None:
    with pytest.raises(ModelError, match=f"(?s)x.lutra is not a valid .lutra file: .*{message}"):
        load(tmp_path / "x.lutra", rebuilt(content, change))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.lutra"
    with path.open("wb") as stream:
        stream.truncate(model_file.MAX_FILE_BYTES + 1)
    with pytest.raises(ModelError, match="the limit is"):
        load_model(path)


@pytest.mark.parametrize(
    "text",
    ["null", "[]", "7", '{"ops": NaN}', '{"a": 1e999}', '{"a": Infinity}', "{", "[" * 100_000, '{"a":' * 100_000, "9" * 10_000],
    ids=lambda text: text[:12],
)
def test_a_document_that_is_no_plain_json_object_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError):
        load(tmp_path / "x.lutra", safetensors.numpy.save({"a": np.zeros(1, np.float32)}, {"lutra": text}))


@pytest.mark.parametrize("metadata", [None, {}, {"other": "{}"}])
def test_safetensors_without_a_document_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    with pytest.raises(ModelError, match="no Lutra document"):
        load(tmp_path / "x.lutra", safetensors.numpy.save({"a": np.zeros(1, np.float32)}, metadata))


def test_every_truncation_is_refused(content: bytes, tmp_path: Path) -> None:
    for length in [*range(40), *range(40, len(content), 97), len(content) - 1]:
        with pytest.raises(ModelError):
            load(tmp_path / "x.lutra", content[:length])


def test_a_file_that_would_be_refused_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "MAX_FILE_BYTES", 400)
    pad = Pad(name="p", inputs=("x",), output="y", spatial=(1, 1, 1, 1))
    with pytest.raises(ModelError, match=r"would have \d+ bytes; the limit is 400"):
        save_model(tmp_path / "x.lutra", Graph((Input("x", (1, 1, 1), "NHWC"),), (pad,), ("y",), {}), {})
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nosuch\.lutra cannot be read"):
        load_model(tmp_path / "nosuch.lutra")
    with pytest.raises(ModelError, match="is not a file"):
        load_model(tmp_path)


def test_a_header_that_takes_too_much_to_parse_is_refused_before_it_is(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = int.from_bytes(content[:8], "little")
    monkeypatch.setattr(model_file, "MAX_HEADER_BYTES", size)
    assert load(tmp_path / "x.lutra", content)
    monkeypatch.setattr(model_file, "MAX_HEADER_BYTES", size - 1)
    with pytest.raises(ModelError, match=f"its header has {size} bytes; the limit is {size - 1}"):
        load(tmp_path / "x.lutra", content)


def test_values_too_large_for_any_memory_are_refused(tmp_path: Path) -> None:
    pad = Pad(name="huge", inputs=("x",), output="y", spatial=(1 << 20, 1 << 20, 0, 0))
    graph = Graph((Input("x", (1, 1, 1), "NHWC"),), (pad,), ("y",), {})
    with pytest.raises(GraphError, match=r"value 'y' has \d+ elements .*; the limit is 16777216"):
        save_model(tmp_path / "x.lutra", graph, {})


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_are_noticed(content: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        graph, metadata = load(tmp_path_factory.getbasetemp() / "flipped.lutra", bytes(damaged))
    except ModelError:
        return
    assert_same(graph, GRAPH)  # two flips may undo each other
    assert metadata == METADATA


NUMBERS = st.integers(-(2**70), 2**70) | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_anywhere_ends_in_a_graph_or_a_model_error(
    content: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    def change(document: dict[str, Any], tensors: dict[str, Any]) -> None:
        container, key = data.draw(st.sampled_from(list(places(document))))
        container[key] = data.draw(JSON)

    try:
        load(tmp_path_factory.getbasetemp() / "changed.lutra", rebuilt(content, change))
    except ModelError:
        return


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])
