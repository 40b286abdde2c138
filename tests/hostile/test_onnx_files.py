"""Files that are no models, damaged, or out to hurt: each ends in an error that names what is wrong, and soon."""

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lutra_compiler.errors import GraphError, LutraError, ModelError
from lutra_compiler.frontends import onnx_reader
from lutra_compiler.frontends.onnx_reader import read_onnx
from lutra_compiler.model_file import load_model, save_model
from onnx_models import model, node, normal

RELU = [node("Relu", "x", "y")]
CONV = [node("Conv", "x w", "y", "first")]
WEIGHT = {"w": normal(4, 2, 3, 3)}


def refuse(m: onnx.ModelProto, message: str) -> None:
    with pytest.raises(LutraError, match=message):
        read_onnx(m.SerializeToString())


class Bomb:
    """Unpickling this would raise AssertionError."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise AssertionError",)


@pytest.mark.parametrize("name", ["model.pt", "model.PTH", "model.pkl", "model.zip", "model.onnx"])
def test_a_pickle_is_refused_unread(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match=r"never opens pickles.*torch.onnx.export.*or call lutra.load"):
        read_onnx(tmp_path / name)


def test_an_archive_is_refused() -> None:
    with pytest.raises(ModelError, match="never opens pickles"):
        read_onnx(b"PK\x03\x04 and more")


@pytest.mark.parametrize("name", ["train.npz", "samples.NPY"])
def test_samples_are_no_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"holds samples, not a model; give it with --data"):
        read_onnx(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, problem in ((tmp_path, "is not a file"), (tmp_path / "none.onnx", "does not exist")):
        with pytest.raises(ModelError, match=rf"{problem}; give the path of an \.onnx or \.lutra file"):
            read_onnx(path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").touch()
    monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(ModelError, match=r"model\.onnx' cannot be read: Permission denied"):
        read_onnx(tmp_path / "model.onnx")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(RELU).SerializeToString())
    assert len(read_onnx(path).ops) == 1


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = model(RELU).SerializeToString()
    monkeypatch.setattr(onnx_reader, "MAX_FILE_BYTES", len(data))
    assert read_onnx(data)
    path = tmp_path / "large.onnx"
    path.write_bytes(data + b"\0")
    for source in (path, data + b"\0"):
        with pytest.raises(ModelError, match=f"has {len(data) + 1} bytes; the limit is {len(data)}"):
            read_onnx(source)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(model(CONV, WEIGHT).SerializeToString()[:-9])
    with pytest.raises(ModelError, match=r"cut\.onnx' .*truncated"):
        read_onnx(tmp_path / "cut.onnx")


def test_every_truncation_is_refused() -> None:
    data = model(CONV, WEIGHT).SerializeToString()
    for size in range(len(data)):
        with pytest.raises(LutraError):
            read_onnx(data[:size])


@pytest.mark.parametrize("data", [b"", b"\x08\x08", b"not a model at all", bytes(1000)])
def test_what_is_no_onnx_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match="not an ONNX file, or it is truncated"):
        read_onnx(data)


def external(**where: str) -> onnx.ModelProto:
    """The convolution with its weight said to be elsewhere."""
    m = model(CONV, WEIGHT)
    tensor = m.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        tensor.external_data.add(key=key, value=value)
    return m


def test_external_data_of_mere_bytes_is_refused_with_the_remedy() -> None:
    refuse(external(location="w.data"), r"tensor 'w' is in another file.*store the model in one file")


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    whole = model(CONV, WEIGHT)
    onnx.save(whole, tmp_path / "whole.onnx")
    onnx.save(whole, tmp_path / "split.onnx", save_as_external_data=True, location="split.onnx.data", size_threshold=0)
    assert (tmp_path / "split.onnx.data").stat().st_size > 0
    read, expected = (read_onnx(tmp_path / f"{name}.onnx") for name in ("split", "whole"))
    assert read.ops == expected.ops
    for name, parameter in expected.parameters.items():
        np.testing.assert_array_equal(read.parameters[name], parameter)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"location": "../outside"}, "only a file beside the model"), ({"location": "/etc/passwd"}, "only a file beside the model"),
        ({"location": ""}, "only a file beside the model"), ({"location": ".."}, "only a file beside the model"),
        ({"location": "link"}, "cannot be read"), ({"location": "missing"}, "cannot be read"),
        ({"location": "folder"}, "cannot be read|which has"),
        ({"location": "pipe"}, "which has 0 bytes"), ({"location": "short"}, "which has 3 bytes"),
        ({"location": "w.data", "offset": "-1"}, "no number of bytes"), ({"location": "w.data", "offset": "9" * 40}, "no number of bytes"),
        ({"location": "w.data", "offset": "999999"}, "which has"), ({"location": "w.data", "length": "1"}, "1 bytes of it, but has"),
    ],
)  # fmt: skip
def test_external_data_cannot_lead_elsewhere(tmp_path: Path, where: dict[str, str], message: str) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(bytes(100_000))
    (folder / "w.data").write_bytes(bytes(100_000))
    (folder / "short").write_bytes(b"abc")
    (folder / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe")
    onnx.save(external(**where), folder / "network.onnx")
    with pytest.raises(ModelError, match=message):
        read_onnx(folder / "network.onnx")


def test_external_data_of_boundless_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    m = external(location="w.data")
    m.graph.initializer[0].dims[0] = 1 << 40
    (tmp_path / "w.data").write_bytes(bytes(100))
    onnx.save(m, tmp_path / "network.onnx")
    with pytest.raises(ModelError, match="more bytes than the limit"):
        read_onnx(tmp_path / "network.onnx")


NEWEST = onnx.defs.onnx_opset_version()


@pytest.mark.parametrize("opset", [6, NEWEST + 1])
def test_other_opsets_are_refused(opset: int) -> None:
    refuse(model(RELU, opset=opset), f"opset is {opset}; Lutra reads 7 to {NEWEST}")


def test_a_model_without_an_opset_is_refused() -> None:
    m = model(RELU)
    m.opset_import[0].domain = "com.example"
    refuse(m, "opset is none")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, "height", 6), r"input 'x': dimension 2 \('height'\) is not fixed; export the model with static shapes"),
        ((1, 2, 0, 6), r"dimension 2 \(''\) is not fixed"),
        ((8, 2, 5, 6), "batch 8; export the model with batch 1"),
        ((1, 2, 5, 6, 7), r"shape \[1, 2, 5, 6, 7\]; Lutra takes"),
        ((), r"shape \[\]; Lutra takes"),
        ((1, 2, 2**40, 6), "elements .* the limit is"),
    ],
)
def test_inputs_without_a_usable_shape_are_refused(shape: tuple[int | str, ...], message: str) -> None:
    refuse(model(RELU, inputs={"x": shape}), message)


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.FLOAT16, "FLOAT16"), (TensorProto.DOUBLE, "DOUBLE"), (99, r"\?")])
def test_inputs_of_another_type_are_refused(kind: int, name: str) -> None:
    m = model(RELU)
    m.graph.input[0].type.tensor_type.elem_type = kind
    refuse(m, f"input 'x' is {name}, not FLOAT; export the model in float32")


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int8])
def test_weights_of_another_type_are_refused(kind: type) -> None:
    refuse(model(CONV, {"w": WEIGHT["w"].astype(kind)}), f"layer 'first': tensor 'w' is {np.dtype(kind)}, not float32")


def test_weights_that_are_nan_are_refused_with_their_number() -> None:
    weight = WEIGHT["w"].copy()
    weight[0, 0, 0, :2] = np.nan, -np.inf
    with pytest.raises(GraphError, match=r"op 'first': parameter 'first.weight' has 2 of 72 values that are NaN or infinite"):
        read_onnx(model(CONV, {"w": weight}).SerializeToString())


def test_a_tensor_of_a_declared_size_above_the_limit_is_refused_before_it_is_made() -> None:
    m = model(CONV, WEIGHT)
    m.graph.initializer[0].dims[:] = [2**62, 2, 3, 3]
    refuse(m, "tensor 'w' has shape .* the limit is")


@pytest.mark.parametrize("dims", [[4, 2, 3, 4], [4, 2, 3], [-1, 2, 3, 3]])
def test_a_tensor_that_does_not_fit_its_shape_is_refused(dims: list[int]) -> None:
    m = model(CONV, WEIGHT)
    m.graph.initializer[0].dims[:] = dims
    refuse(m, "tensor 'w'")


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ConstantOfShape", "huge", "b")],
        [node("Expand", "one huge", "b")],
        [node("Gather", "many indices", "b")],
        [node("Add", "column row", "b")],
    ],
)
def test_constants_that_grow_above_the_limit_are_not_computed(nodes: list[onnx.NodeProto]) -> None:
    constants = {
        "huge": [2**40], "one": np.float32(1), "many": np.zeros((9000, 1), np.float32), "indices": [0] * 9000,
        "column": np.zeros((9000, 1), np.float32), "row": np.zeros(9000, np.float32),
    }  # fmt: skip
    refuse(model([*nodes, node("Add", "x b", "y")], constants), "constants computed by nodes exceed")


def test_one_weight_read_by_many_layers_counts_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [node("Conv", f"{'x' if i == 0 else i} w", "y" if i == 9 else f"{i + 1}", pads=[1, 1, 1, 1]) for i in range(10)]
    m = model(layers, {"w": normal(2, 2, 3, 3)})
    monkeypatch.setattr("lutra_compiler.frontends.builder.MAX_ELEMENTS", 360)
    assert read_onnx(m.SerializeToString())
    monkeypatch.setattr("lutra_compiler.frontends.builder.MAX_ELEMENTS", 359)
    refuse(m, "there are 360 parameters; the limit is 359")


def test_too_many_nodes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_reader, "MAX_NODES", 3)
    refuse(model([node("Relu", "x", "a"), node("Relu", "a", "y")]), "4 nodes and node inputs; the limit is 3")


def test_too_many_inputs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_reader, "MAX_PORTS", 3)
    m = model([node("Add", "x z", "y")], inputs={"x": (1, 2), "z": (1, 2)})
    assert read_onnx(m.SerializeToString())
    m.graph.input.add(name="w")
    refuse(m, "4 inputs and outputs; the limit is 3")


def test_constants_of_a_full_file_leave_less_to_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_reader, "MAX_ELEMENTS", 200)
    nodes = [node("Add", "w w", "v"), node("Conv", "x v", "y")]
    assert read_onnx(model(nodes, {"w": normal(2, 2, 5, 5)}).SerializeToString())
    refuse(model(nodes, {"w": normal(2, 2, 5, 6)}), "constants computed by nodes exceed 80 elements")


def test_wide_numbers_count_as_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_reader, "MAX_FOLDED", 150)
    nodes = [node("Add", "w w", "v"), node("Cast", "v", "c", to=1), node("Conv", "x c", "y")]
    refuse(model(nodes, {"w": normal(2, 2, 4, 5).astype(np.float64)}), "exceed 150 elements")


@pytest.mark.parametrize("kind", [TensorProto.COMPLEX64, TensorProto.STRING])
def test_constants_that_are_no_real_numbers_are_refused(kind: int) -> None:
    m = model([node("Constant", "", "c"), node("Identity", "c", "d"), node("Add", "x d", "y")])
    values = [1 + 2j] if kind == TensorProto.COMPLEX64 else [b"text"]
    m.graph.node[0].attribute.append(helper.make_attribute("value", helper.make_tensor("c", kind, [1], values)))
    refuse(m, "constants are real numbers")


def test_a_version_beyond_an_int_is_no_crash() -> None:
    m = model(RELU)
    m.ir_version = 2**40
    assert read_onnx(m.SerializeToString())


def test_a_range_is_bounded_before_it_is_made() -> None:
    nodes = [node("Range", "zero huge one", "r"), node("Add", "x r", "y")]
    refuse(model(nodes, {"zero": np.int64(0), "huge": np.int64(2**60), "one": np.int64(1)}), "constants computed by nodes exceed")
    refuse(model(nodes, {"zero": np.int64(0), "huge": np.int64(2**60), "one": np.int64(0)}), "constants computed by nodes exceed")


def test_subgraphs_of_unsupported_nodes_are_not_entered() -> None:
    result = helper.make_tensor_value_info("z", 1, None)
    inner = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["z"], pads=[2**62])], "b", [], [result])
    m = model([helper.make_node("Loop", ["n", "c", "x"], ["y"], body=inner)], {"n": np.int64(2**40), "c": np.bool_(True)})
    refuse(m, r"\(Loop\): the operator is not supported; export the path that is taken")


def test_a_link_to_a_model_is_read_and_one_to_what_is_no_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model(RELU).SerializeToString())
    (tmp_path / "link.onnx").symlink_to(tmp_path / "model.onnx")
    assert read_onnx(tmp_path / "link.onnx")
    for name, place in (("loop", "loop.onnx"), ("device", "/dev/zero"), ("nothing", "nosuch")):
        (tmp_path / f"{name}.onnx").symlink_to(place)
        with pytest.raises(ModelError, match="is not a file"):
            read_onnx(tmp_path / f"{name}.onnx")


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    os.mkfifo(tmp_path / "model.lutra")
    with pytest.raises(ModelError, match="is not a file"):
        read_onnx(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="is not a file"):
        load_model(tmp_path / "model.lutra")


def test_what_is_written_over_a_link_leaves_alone_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "model.lutra").symlink_to(tmp_path / "precious")
    save_model(tmp_path / "model.lutra", read_onnx(model(RELU).SerializeToString()), {})
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "model.lutra").is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize("folded", [False, True])
def test_the_largest_file_is_read_within_two_gigabytes(tmp_path: Path, folded: bool) -> None:
    elements = (onnx_reader.MAX_FILE_BYTES - 4096) // 4
    rows = 8192
    constants = {"w": np.ones((rows, elements // rows), np.float32)}
    nodes = [node("MatMul", "x w", "y")]
    if folded:  # as many numbers as nodes may compute besides
        constants["s"] = np.ones((rows, (onnx_reader.MAX_ELEMENTS - elements) // rows), np.float32)
        constants["w"] = constants["w"][:, : -constants["s"].shape[1]]
        nodes = [node("Mul", "s s", "t"), node("MatMul", "x w", "a"), node("MatMul", "x t", "b"), node("Concat", "a b", "y", axis=1)]
    (tmp_path / "large.onnx").write_bytes(model(nodes, constants, {"x": (1, rows)}).SerializeToString())
    # Of the process alone: ru_maxrss begins with what its parent took.
    code = (
        "import re, sys; from pathlib import Path; from lutra_compiler.frontends.onnx_reader import read_onnx; "
        "ops = len(read_onnx(Path(sys.argv[1])).ops); "
        "print(ops, *re.findall(r'VmHWM:\\s+([0-9]+) kB', Path('/proc/self/status').read_text()))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "large.onnx"], capture_output=True, text=True, check=True)
    ops, kilobytes = map(int, done.stdout.split())
    assert ops == (3 if folded else 1)
    assert kilobytes < 2 << 20


def test_a_deep_chain_does_not_recurse() -> None:
    chain = [node("Relu", "x" if i == 0 else f"{i}", "y" if i == 2999 else f"{i + 1}") for i in range(3000)]
    assert len(read_onnx(model(chain).SerializeToString()).ops) == 3000


def test_a_cycle_is_refused() -> None:
    refuse(model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]), "is on a cycle")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Relu", "x", "a"), node("Abs", "x", "a"), node("Relu", "a", "y")], "value 'a' is defined 2 times"),
        ([node("Relu", "x", "x"), node("Relu", "x", "y")], "value 'x' is defined 2 times"),
        ([node("Relu", "nothing", "y")], "value 'nothing' is read but never defined"),
        ([node("Relu", "x", "z")], "value 'y' is read but never defined"),
        ([node("Relu", "x", ""), node("Relu", "x", "y")], "has no output"),
        ([node("Constant", "", "y", value_float=1.0)], "output 'y' does not depend on the network's inputs"),
        ([node("Identity", "x", "y")], "output 'y' is an input of the network"),
        ([node("Conv", "x", "y", "first")], r"node 'first' \(Conv\) is not valid ONNX"),
        ([node("Relu", "x", "y", "first", to=1)], r"node 'first' \(Relu\) is not valid ONNX"),
        ([node("Conv", "x -", "y", "first")], r"node 'first' \(Conv\) is not valid ONNX: .*input 1"),
        ([node("Conv", "x w -", "y", group=3)], "do not fit a weight"),
        ([node("Conv", "x w s", "y")], "must have shape"),
        ([node("Conv", "x w", "y", strides=[0, 1])], r"strides is \[0, 1\]"),
        ([node("MaxPool", "x", "y", kernel_shape=[9, 9])], "do not fit an input"),
        ([node("MaxPool", "x", "y", kernel_shape=[2, 2], pads=[2, 0, 0, 0])], "must be smaller than the kernel"),
        ([node("BatchNormalization", "x s s s w", "y")], "do not fit parameters of shapes"),
        ([node("BatchNormalization", "x s s s n", "y")], r"variance \+ epsilon must be positive"),
        ([node("Clip", "x nan", "y")], "a bound is NaN"),
        ([node("Clip", "x s", "y")], "must be one number, not 2"),
        ([node("Reshape", "x t", "y")], "export the model with batch 1"),
        ([node("Reshape", "x s", "y")], "must be a short list of integers"),
        ([node("Slice", "x t zero", "y")], "differ in number"),
        ([node("Slice", "x zero zero two", "y")], "selects nothing"),
        ([node("Slice", "x zero zero t", "y")], "differ in number"),
        ([node("Slice", "x zero zero nine", "y")], r"axes \[9\] of a tensor of rank 4"),
        ([node("Pad", "x zero", "y")], "1 pads for 4 axes"),
        ([node("Squeeze", "t nine", "z"), node("Reshape", "x z", "y")], "cannot be computed from its constant inputs"),
    ],
)
def test_nodes_that_make_no_sense_are_refused(nodes: list[onnx.NodeProto], message: str) -> None:
    constants = {
        **WEIGHT, "s": np.ones(2, np.float32), "n": np.full(2, -1, np.float32), "nan": np.float32(np.nan), "zero": [0], "two": [2],
        "nine": [9], "t": [8, -1],
    }  # fmt: skip
    refuse(model(nodes, constants), message)


def test_two_weights_or_outputs_of_one_name_are_refused() -> None:
    m = model(CONV, WEIGHT)
    m.graph.initializer.append(m.graph.initializer[0])
    refuse(m, "value 'w' is defined 2 times")
    refuse(model([node("Relu", "x", "y"), node("Identity", "y", "z")], outputs="y z"), "the same value as another output")


def test_sparse_weights_are_refused() -> None:
    m = model(CONV, WEIGHT)
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    m.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    refuse(m, "sparse weights")


def test_control_flow_is_refused_unread() -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, None)])
    m = model([helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], {"c": np.bool_(True)})
    refuse(m, r"\(If\): the operator is not supported; export the path that is taken")


def test_names_that_are_no_text_are_refused() -> None:
    data = model([node("Relu", "x", "y", "NAME")]).SerializeToString()
    with pytest.raises(ModelError, match=r"a name in the model is not text|not an ONNX file"):  # depends on protobuf's version
        read_onnx(data.replace(b"NAME", b"\xff\xfe\xfd\xfc"))


SEED = model(
    [
        node("Conv", "x w b", "a", "conv", pads=[1, 1, 1, 1], strides=[1, 1]),
        node("BatchNormalization", "a s s s s", "n", "bn"),
        node("Clip", "n low", "c"),
        node("MaxPool", "c", "p", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Slice", "p start end axis", "q"),
        node("Shape", "q", "t"),
        node("Gather", "t zero", "g"),
        node("Unsqueeze", "g start", "u"),
        node("Concat", "u minus", "v", axis=0),
        node("Reshape", "q v", "f"),
        node("Gemm", "f m", "h", transB=1),
        node("Softmax", "h", "y"),
    ],
    {
        "w": normal(2, 2, 3, 3), "b": normal(2), "s": np.ones(2, np.float32), "low": np.float32(0), "start": [0], "end": [2], "axis": [2],
        "zero": np.int64(0), "minus": [-1], "m": normal(3, 12),
    },
).SerializeToString()  # fmt: skip


def test_the_seed_of_the_fuzzer_is_read() -> None:
    assert len(read_onnx(SEED).ops) == 8


@settings(max_examples=400, deadline=5000, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 100))
def test_random_bytes_end_in_a_graph_or_an_error(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(SEED)
    for place, byte in changes:
        data[place] = byte
    with contextlib.suppress(LutraError):
        read_onnx(bytes(data[: len(data) - max(0, cut - 80)]))
