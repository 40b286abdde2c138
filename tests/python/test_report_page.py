"""The report page: what it says, that it is self-contained and readable, and that what models are called cannot do anything in it."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import lutra
from cli_models import METADATA, compressed_graph, write_data
from lutra import page, validation, zoo
from lutra.dataset import Dataset, make_dataset, read_dataset
from lutra.errors import BundleError, ConfigurationError, LoweringError, OutputError
from lutra.page import gathering
from lutra.page.charts import MEMORY_HEIGHT, Buffer, Point, curve_of, memory_blocks, stacked_bar
from lutra.page.lanes import Node, lanes_of
from lutra.page.pictures import data_address, sample_pixels, signed_pixels
from lutra.page.samples import answers_of
from lutra_compiler.driver import Model
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Add, Clamp, Linear, Op
from page_checks import Page, check_page
from quantized_graphs import coded, graph

DOCUMENTS = Path(__file__).parents[2] / "docs"
STYLE = Path(page.__file__).with_name("templates") / "style.css"
pytestmark = pytest.mark.usefixtures("host_cache")


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upper bounds instead of linking: the page does not depend on the tools of this machine."""
    monkeypatch.setattr(gathering, "can_measure", lambda: False)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return read_dataset(write_data(tmp_path / "data.npz"))


@pytest.fixture
def model() -> Model:
    return Model(compressed_graph(), METADATA)


def rendered(source: Any, question: page.Question | None = None, **more: Any) -> tuple[page.Facts, Page]:
    found = page.gather(source, question or page.Question(), **more)
    return found, check_page(page.render(found))


# What it says.


def test_the_page_says_what_analyze_and_validate_say(model: Model, data: Dataset) -> None:
    found, read = rendered(model, data=data)
    analysis, checked = lutra.analyze(model), lutra.validate(model, data)
    assert f"{analysis.model_bytes:,} B" in read.text
    assert f"{analysis.flash_bytes:,} B" in read.text
    assert f"{analysis.ram_bytes:,} B" in read.text
    assert found.accuracy == checked.accuracy
    assert f"{100 * checked.accuracy:.2f} %" in read.text
    assert "The same bytes came from host and interpreter on 60 of them" in read.text
    assert all(f"{layer.rounding:.4f}" in read.text for layer in checked.layers)
    assert len(checked.layers) == 2
    assert [layer.cycles for layer in found.layers] == [layer.cycles for layer in analysis.layers]
    assert sum(map(sum, (layer.sizes for layer in found.layers))) == found.model_bytes


def test_the_verdict_comes_first(model: Model) -> None:
    read = rendered(model, page.Question(board="microbit"))[1]
    assert read.text.index("Fits BBC micro:bit") < read.text.index("model and code") < read.text.index("A row an operator")


def test_the_answer_is_yes_no_or_not_asked(model: Model) -> None:
    needs = lutra.analyze(model)
    exactly = page.Question(flash=needs.flash_bytes, ram=needs.ram_bytes, cycles=needs.cycles)
    assert page.gather(model, exactly).fits is True
    assert page.gather(model, replace(exactly, cycles=needs.cycles - 1)).fits is False
    assert page.gather(model, page.Question()).fits is None
    found, read = rendered(model, page.Question(flash=needs.model_bytes))
    assert found.fits is False
    assert "Does not fit the limits" in read.text
    assert "with the fastest kernels, whatever they take" in read.text


def test_a_board_asks_for_its_processor(model: Model) -> None:
    assert page.gather(model, page.Question(board="mps2-an500")).target == "cortex-m7"
    with pytest.raises(ConfigurationError, match="has a cortex-m7, not a cortex-m4"):
        page.gather(model, page.Question(board="mps2-an500", target="cortex-m4"))


def test_every_layer_is_shown_on_every_target(model: Model) -> None:
    found, read = rendered(model)
    for target, total in zip(found.targets, found.totals, strict=True):
        assert total == lutra.analyze(model, target).cycles
    assert len(found.targets) == 7
    assert [len(row) for row in found.cells] == [7, 7]
    assert "linear lut" in read.text


def test_a_zoo_model_is_compared_with_its_float_network_and_its_family() -> None:
    found, read = rendered("zoo:lenet5")
    int8 = lutra.analyze("zoo:lenet5/float")
    assert found.rivals[1].model_bytes == int8.model_bytes == lutra.load("zoo:lenet5").metadata["int8_model_bytes"]
    assert (found.rivals[1].ram_bytes, found.rivals[1].cycles) == (int8.ram_bytes, int8.cycles)
    family = {f"zoo:{name}" for name in zoo.names() if name.startswith("lenet5") and not name.endswith("/float")}
    assert {point.name for point in found.points} == family - {"zoo:lenet5"} | {"this model"}
    assert f"{found.drop:.2f} pp below float" in read.text


def test_measured_and_recorded_accuracies_are_not_compared(model: Model, data: Dataset) -> None:
    found, read = rendered(model, data=data)
    assert (found.float_accuracy, found.drop) == (METADATA["float_accuracy"], None)
    assert "as recorded in the file, not of these samples" in read.text


def test_different_bytes_come_first(model: Model, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    right = validation.interpret

    def wrong(program: Any, inputs: Any, **how: Any) -> Any:
        run = right(program, inputs, **how)
        run.outputs[0][-1, -1] ^= 1
        return run

    monkeypatch.setattr(validation, "interpret", wrong)
    found, read = rendered(model, page.Question(flash=16384), data=data)
    assert (found.fits, found.wrong) == (True, "targets give different bytes")
    assert read.text.index("Not to be used: targets give different bytes") < read.text.index("Fits the limits")


def test_a_codebook_is_drawn_as_it_is(model: Model) -> None:
    found, _ = rendered(model)
    (book,) = found.codebooks
    encoding = compressed_graph().encodings["w1"]
    assert (book.codewords, book.subvector) == encoding.codebook.shape
    assert book.counts == tuple(np.bincount(encoding.indices.ravel(), minlength=book.codewords))
    assert 0 < book.entropy_bits <= np.log2(book.codewords)
    with Image.open(io.BytesIO(base64.b64decode(book.picture.partition(",")[2]))) as image:
        assert image.size == (book.codewords, book.subvector)
        assert np.array_equal(np.asarray(image), signed_pixels(encoding.codebook.T))


def test_a_bundle_says_what_it_does_not_hold(model: Model, data: Dataset, tmp_path: Path) -> None:
    lutra.generate(model, tmp_path / "bundle", target="cortex-m4")
    found, read = rendered(tmp_path / "bundle", data=data)
    of_model = page.gather(model, page.Question(target="cortex-m4"), data=data)
    assert (found.target, found.has_graph, found.cycles, found.flash_bytes) == ("cortex-m4", False, None, None)
    assert (found.accuracy, found.answers, found.buffers) == (of_model.accuracy, of_model.answers, of_model.buffers)
    assert [layer.sizes for layer in found.layers] == [layer.sizes for layer in of_model.layers]
    assert "A bundle does not say which layer reads which" in read.text
    assert "Not known from a bundle: give the .lutra file." in read.text
    with pytest.raises(ConfigurationError, match="generated for cortex-m4, not for cortex-m0"):
        page.gather(tmp_path / "bundle", page.Question(target="cortex-m0"))


@pytest.mark.board
def test_a_bundle_is_linked_to_know_its_flash_and_ram(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "can_measure", lambda: True)
    lutra.generate(model, tmp_path / "bundle")
    found, read = rendered(tmp_path / "bundle", page.Question(board="microbit"))
    assert (found.fits, found.measured) == (True, True)
    assert found.model_bytes < found.flash_bytes < 20_000
    assert "measured in an ELF" in read.text


@pytest.mark.parametrize("change", [
    {"arena_bytes": 4}, {"buffers": [{"index": 0}]}, {"layers": 3}, {"model_bytes": -1}, {"target": "abacus"}, {"model": [1]},
])  # fmt: skip
def test_a_manifest_is_not_trusted(model: Model, tmp_path: Path, change: dict[str, Any]) -> None:
    path = lutra.generate(model, tmp_path / "bundle") / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    if "model" in change:
        assert page.gather(tmp_path / "bundle", page.Question()).accuracy is None
        return
    with pytest.raises((BundleError, ConfigurationError)):
        page.gather(tmp_path / "bundle", page.Question())


def test_a_float_network_is_refused_with_what_to_do() -> None:
    with pytest.raises(LoweringError, match="compress it first"):
        page.gather("zoo:lenet300/float", page.Question())


def test_a_compressed_reference_is_refused(model: Model) -> None:
    with pytest.raises(ConfigurationError, match="give its float network"):
        page.gather(model, page.Question(), reference=model)


# Samples.


def test_answers_are_counted_and_the_worst_found() -> None:
    scores = np.array([[3, 1, 0], [0, 1, 5], [2, 1, 0], [0, 0, 9]], np.float32)
    found = answers_of(scores, Dataset(np.zeros((4, 2), np.float32), np.array([0, 1, 1, 0])), "NF")
    assert found is not None
    assert found.matrix == ((1, 0, 1), (1, 0, 1), (0, 0, 0))
    assert [(s.number, s.label, s.taken_for, s.margin) for s in found.worst] == [(3, 0, 2, 9.0), (1, 1, 2, 4.0), (2, 1, 0, 1.0)]
    assert [(c.label, c.taken_for, c.count) for c in found.confusions] == [(0, 2, 1), (1, 0, 1), (1, 2, 1)]
    assert answers_of(scores, Dataset(np.zeros((4, 2), np.float32)), "NF") is None


def test_many_classes_are_shown_by_their_confusions(model: Model) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 50)).astype(np.float32)
    answers = answers_of(scores, Dataset(rng.normal(size=(300, 4)).astype(np.float32), rng.integers(50, size=300)), "NF")
    assert answers is not None
    assert answers.matrix is None
    read = check_page(page.render(replace(page.gather(model, page.Question()), answers=answers)))
    assert "The most frequent confusions of 50 classes" in read.text


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (3, 90, 200)), ("NHWC", (20, 30, 1))])
def test_samples_that_are_images_are_shown_small(layout: str, shape: tuple[int, ...]) -> None:
    sample = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    pixels = sample_pixels(sample, layout, -1, 1)
    assert pixels is not None
    assert pixels.shape == {"NCHW": (22, 50, 3), "NHWC": (20, 30, 1)}[layout]
    with Image.open(io.BytesIO(base64.b64decode(data_address(pixels).partition(",")[2]))) as image:
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    if layout == "NHWC":
        assert np.abs(pixels - 127.5 * (sample + 1)).max() <= 0.5


def test_other_samples_are_listed_without_pictures() -> None:
    assert sample_pixels(np.zeros((4, 9, 9), np.float32), "NCHW", 0, 1) is None
    assert sample_pixels(np.zeros(9, np.float32), "NF", 0, 1) is None


# The curve.


def curve_file(path: Path, accuracies: list[float | None]) -> Path:
    points = [
        {"model_bytes": 500 * (i + 1), "layers": f"16x{i}", "expected_loss": 1 / (i + 1), "trial_accuracy": accuracy}
        for i, accuracy in enumerate(accuracies)
    ]
    path.write_text(json.dumps({"title": "t", "points": points}))
    return path


def test_a_curve_is_drawn_with_this_model_on_it(model: Model, data: Dataset, tmp_path: Path) -> None:
    found, read = rendered(model, data=data, curve=curve_file(tmp_path / "a.pareto.json", [0.5, None, 0.75]))
    assert [(p.bytes, p.value) for p in found.curve] == [(500, 0.5), (1500, 0.75)]
    assert "squares are points of the given curve" in read.text
    found, read = rendered(model, data=data, curve=curve_file(tmp_path / "b.pareto.json", [None, None]))
    assert [(p.bytes, p.value) for p in found.curve] == [(500, 1.0), (1000, 0.5)]
    assert "expected loss, before any training" in read.text


@pytest.mark.parametrize("text", ["", "[]", '{"points": []}', '{"points": [{"model_bytes": 0}]}', '{"points": [{"trial_accuracy": null}]}'])
def test_what_is_no_curve_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigurationError, match="is no curve"):
        gathering.read_curve(tmp_path / "x.json")


@given(st.lists(st.tuples(st.integers(1, 10**8), st.floats(0, 1)), min_size=1, max_size=30))
def test_every_point_of_a_curve_is_inside_the_drawing(points: list[tuple[int, float]]) -> None:
    curve = curve_of([Point("p", size, value, "zoo") for size, value in points], {"float": 0.5}, True)
    for mark in (*curve.points, *curve.values, *curve.sizes):
        assert 0 <= mark.x <= 100
        assert 0 <= mark.y <= 260
    by_size = sorted(curve.points, key=lambda mark: mark.point.bytes if mark.point else 0)
    assert [mark.x for mark in by_size] == sorted(mark.x for mark in by_size)


# Drawings.


@given(st.lists(st.sets(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=40))
def test_no_line_of_the_network_runs_through_a_foreign_node(reads: list[set[int]]) -> None:
    nodes = [Node("x", "input", "", (), "0")]
    for row, back in enumerate(reads, 1):
        nodes.append(Node("n", "op", "", tuple(str(max(0, row - steps)) for steps in sorted(back)), str(row)))
    lanes = lanes_of(nodes)
    assert len(lanes.edges) == sum(len(set(node.inputs)) for node in nodes)
    for edge in lanes.edges:
        assert lanes.lane[edge.first] == edge.lane
        assert lanes.lane[edge.last] == edge.end
        assert all(lanes.lane[row] != edge.lane for row in range(edge.first + 1, edge.turn + 1))


def test_a_residual_block_takes_two_lanes() -> None:
    chain = [("x", ()), ("a", ("x",)), ("b", ("a",)), ("sum", ("b", "x")), ("y", ("sum",))]
    lanes = lanes_of([Node(name, "", "", inputs, name) for name, inputs in chain])
    assert lanes.lane == (0, 1, 1, 0, 0)
    assert lanes.width == 2


def test_segments_of_a_bar_follow_each_other() -> None:
    bar = stacked_bar("l", "10 B", (5, 0, 3, 2), 20)
    assert [(s.part, s.start, s.width) for s in bar.segments] == [(0, 0, 25), (2, 25, 15), (3, 40, 10)]


def test_buffers_lie_where_the_plan_says() -> None:
    whole, part = Buffer("a", "input", 0, 100, 0, 1), Buffer("b", "activation", 50, 50, 1, 3)
    blocks = memory_blocks((whole, part), 4, 100)
    assert [(b.x, b.width, b.y, b.height) for b in blocks] == [(0, 50, 0, MEMORY_HEIGHT), (25, 75, MEMORY_HEIGHT / 2, MEMORY_HEIGHT / 2)]
    assert whole.overlaps(part)
    assert not whole.overlaps(replace(part, first=2))


# Names of models.

HOSTILE = (
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'><svg/onload=alert(1)>", "</title></style></svg><script>",
    "{{ 7 * 7 }}", "{% raw %}",
    "&lt;b&gt;", "<!--", "]]>", "javascript:alert(1)", "\u202eevil", "\ud800", "\x00\x1b[31m", "\u2028", "%s%d{0}", "x" * 5000,
)  # fmt: skip


def renamed(graph: Graph, name: str) -> Graph:
    """`graph` with everything that has a name called `name`, and something to tell the names apart."""
    values = {port.name: f"{name}0" for port in graph.inputs}
    values |= {op.output: f"{name}{i}" for i, op in enumerate(graph.ops, 1)}
    weights = {weight: f"{name}w{weight}" for weight in (*graph.parameters, *graph.encodings)}
    return Graph(
        inputs=tuple(replace(port, name=values[port.name]) for port in graph.inputs),
        ops=tuple(
            replace(op, name=name, inputs=tuple(values[v] for v in op.inputs), output=values[op.output], weight=weights[op.weight])
            for op in graph.ops
        ),
        outputs=tuple(values[value] for value in graph.outputs),
        parameters={weights[key]: array for key, array in graph.parameters.items()},
        encodings={weights[key]: encoding for key, encoding in graph.encodings.items()},
        quantization={values[key]: quantization for key, quantization in graph.quantization.items()},
    )


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("as_bundle", [False, True])
def test_names_in_a_model_are_only_text(name: str, as_bundle: bool, tmp_path: Path) -> None:
    pages = []
    for each in (name, "n" * len(name)):
        model = Model(renamed(compressed_graph(), each), {**METADATA, "network": each, "configuration": each, each: {each: [each]}})
        source: Any = lutra.generate(model, tmp_path / str(len(pages))) if as_bundle else model
        html = page.render(page.gather(source, page.Question()))
        html.encode()  # no halves of surrogate pairs
        pages.append((html, check_page(html)))
    (html, read), (_, harmless) = pages
    assert [tag for tag, _ in read.elements] == [tag for tag, _ in harmless.elements]
    assert [sorted(attributes) for _, attributes in read.elements] == [sorted(attributes) for _, attributes in harmless.elements]
    assert not set("\u202e\x00\x1b\u2028") & set(html)
    if name.isprintable() and len(name) < 100:
        assert name in read.text


# Sizes.


def test_the_report_of_lenet5_is_small() -> None:
    images = np.random.default_rng(0).normal(size=(400, 1, 28, 28)).astype(np.float32)  # noise has the largest pictures
    labelled = make_dataset(images, np.random.default_rng(1).integers(10, size=400))
    found, read = rendered("zoo:lenet5", data=labelled)
    assert found.answers is not None
    assert len(found.answers.worst) == 16
    assert len(read.all("img")) == 16 + len(found.codebooks)
    assert len(page.render(found)) < 200_000


@pytest.fixture(scope="module")
def deep() -> Model:
    """Sixty layers of 256 codewords each, with residual connections."""
    ops: list[Op] = []
    weights = {}
    value = "x"
    for i in range(60):
        weights[f"w{i}"] = coded((64, 64), codewords=256, subvector=8, index_bits=8, largest=7)
        ops.append(Linear(name=f"layers.{i}.linear", inputs=(value,), output=f"h{i}", weight=f"w{i}", activation=Clamp(0.0, None)))
        ops.append(Add(name=f"layers.{i}.add", inputs=(value, f"h{i}"), output=f"y{i}"))
        value = f"y{i}"
    return Model(graph(tuple(ops), {"x": (64,)}, weights), {})


def test_the_report_of_a_deep_network_is_small(deep: Model) -> None:
    found, read = rendered(deep)
    assert len(found.nodes) > 100
    assert len(read.all("circle")) == len(found.nodes)
    assert len(page.render(found)) < 1_000_000


def test_the_page_is_the_same_every_time(model: Model, data: Dataset) -> None:
    first, second = (page.render(page.gather(model, page.Question(), data=data)) for _ in range(2))
    assert first == second


def test_only_html_files_in_folders_that_exist_are_written(tmp_path: Path) -> None:
    for path in (tmp_path / "a.txt", tmp_path / "no/a.html"):
        with pytest.raises(OutputError):
            page.check_output(path)


# The document.


def test_the_document_shows_what_works(model: Model, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCUMENTS / "report.md").read_text()
    monkeypatch.chdir(tmp_path)
    lutra.save(model, "network.lutra")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example, {"test": data})
    assert check_page((tmp_path / "report.html").read_text()).text.startswith("small")
    assert (DOCUMENTS / "report.png").stat().st_size < 150_000


# Colours.


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2)."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light if scheme == "light" else light + dark))
    pairs = [(text, ground) for text in ("ink", "soft", "accent", "no") for ground in ("paper", "card")]
    pairs += [("ink", "wash"), ("accent", "wash"), ("ink", "no-wash"), ("no", "no-wash"), *((f"on{i}", f"k{i}") for i in range(5))]
    assert {pair: ratio for pair in pairs if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < 4.5} == {}
    assert {name for name in colours if contrast(colours[name], colours["paper"]) < 3 and name in ("accent", "k0", "k2")} == set()
