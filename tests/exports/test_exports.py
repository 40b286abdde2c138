"""Every export builds here, with stubs in place of SDKs, and prints the golden output; its C and C++ compile for Arm and RISC-V."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import lutra
from cli_models import compressed_graph
from lutra import cli, host, runtime
from lutra.exports import KINDS, export_bundle
from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.errors import BundleError, ConfigurationError, DataError, OutputError
from lutra_compiler.ir.ops import Add, Linear
from lutra_compiler.program.lower import lower
from lutra_compiler.target import TARGETS, target_by_name
from quantized_graphs import coded, dense, graph

STUBS = Path(__file__).parent / "stubs"
ROOT = Path(__file__).parents[2]
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Werror")
SDK_FOLDERS = tuple(f"-I{STUBS / folder}" for folder in ("arduino", "zephyr/include", "pico/include"))
FLAGS = {
    "cortex-m0": ["-mcpu=cortex-m0", "-mthumb"],
    "cortex-m4": ["-mcpu=cortex-m4", "-mthumb"],
    "cortex-m55": ["-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"],
    "rv32imac": ["-march=rv32imac", "-mabi=ilp32", "-ffreestanding", f"-isystem{STUBS / 'libc'}"],  # Debian's brings no libc
}
ARM = ("arm-none-eabi-gcc", "arm-none-eabi-g++")
RISCV = ("riscv64-unknown-elf-gcc", "riscv64-unknown-elf-g++")
pytestmark = pytest.mark.usefixtures("host_cache")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One input and one output, two kernels."""
    ops = (Linear(name="a", inputs=("x",), output="h", weight="w1"), Linear(name="b", inputs=("h",), output="y", weight="w2"))
    network = graph(ops, {"x": (16,)}, {"w1": coded((32, 16)), "w2": dense((20, 32))})
    return lutra.generate(network, tmp_path_factory.mktemp("bundle") / "digits", prefix="digits", target="generic")


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two inputs and two outputs."""
    ops = (Add(name="s", inputs=("x", "z"), output="s"), Linear(name="b", inputs=("s",), output="y", weight="w"))
    program = lower(graph(ops, {"x": (8,), "z": (8,)}, {"w": dense((4, 8))}, outputs=("s", "y")), target_by_name("generic"))
    directory = tmp_path_factory.mktemp("bundle") / "ports"
    write_bundle(emit(program, "ports", {}), directory)
    return directory


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run(command: Sequence[object], folder: Path, **environment: object) -> str:
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def library_of(kind: str, project: Path) -> Path:
    """The folder that holds src/."""
    (found,) = (path.parent for path in project.rglob("src") if (path / "lutra").is_dir())
    return found


def output_of(kind: str, project: Path, folder: Path) -> str:
    """What the example prints, built as the users of `kind` build it, in `folder` where that is possible."""
    if kind == "make":
        return run(["make", "-s", f"CFLAGS=-O1 {' '.join(WARNINGS)}"], project)
    if kind in ("cmake", "zephyr", "esp-idf", "pico-sdk"):
        sdk = {"ZEPHYR_BASE": STUBS / "zephyr", "IDF_PATH": STUBS / "idf", "PICO_SDK_PATH": STUBS / "pico"}
        source = project / "samples/inference" if kind == "zephyr" else project
        run(["cmake", "-S", source, "-B", folder, "-G", "Ninja", f"-DCMAKE_C_FLAGS={' '.join(WARNINGS)}"], project, **sdk)
        run(["cmake", "--build", folder], project)
        return run([folder / "example"], project)
    library, (example,) = library_of(kind, project), (path.parent for path in project.rglob("*_golden.h"))
    if kind == "cmsis-pack":
        (pack,) = project.glob("*.pdsc")
        files = ElementTree.parse(pack).findall(".//component/files/file")
        sources = [project / file.attrib["name"] for file in files if file.attrib["category"] == "sourceC"]
        includes = [project / file.attrib["name"] for file in files if file.attrib["category"] == "include"]
    else:  # all that is in src/
        sources, includes = sorted((library / "src").rglob("*.c")), [library / "src", STUBS / "arduino"]
    flags = [*WARNINGS, *(f"-I{path}" for path in (*includes, example))]
    run(["gcc", "-std=c99", *flags, "-c", *sources], folder)
    (program,) = (path for path in example.iterdir() if path.suffix in (".c", ".cpp", ".ino"))
    stub = [STUBS / "arduino/main.cpp"] if kind != "cmsis-pack" else []
    compiler = ["g++", "-std=c++17"] if stub else ["gcc", "-std=c99"]
    language = ["-x", "c++"] if program.suffix == ".ino" else []
    run([*compiler, *flags, *language, program, *stub, "-x", "none", *folder.glob("*.o"), "-o", "example"], folder)
    return run([folder / "example"], folder)


# What examples print.


def test_the_example_prints_the_golden_output(bundle: Path, kind: str, tmp_path: Path) -> None:
    export_bundle(bundle, kind, tmp_path / "project")
    (tmp_path / "build").mkdir()
    golden = golden_numbers(tmp_path / "project", "output_0")
    printed = output_of(kind, tmp_path / "project", tmp_path / "build")
    first = " ".join(map(str, golden[:16]))
    assert f"digits: output 0: {first}\ndigits: the golden output\n" in printed


def test_two_networks_with_kernels_in_common_are_in_one_zephyr_application(bundle: Path, tmp_path: Path) -> None:
    network = graph((Linear(name="a", inputs=("x",), output="y", weight="w"),), {"x": (16,)}, {"w": coded((32, 16))})
    other = lutra.generate(network, tmp_path / "other", prefix="other", target="generic")
    for path in (bundle, other):
        export_bundle(path, "zephyr", tmp_path / f"{path.name}-module")
    sample = tmp_path / "digits-module/samples/inference"
    modules = " ".join(f"{tmp_path}/{name}-module" for name in ("digits", "other"))
    lists = sample / "CMakeLists.txt"
    lists.write_text(re.sub(r"list\(APPEND ZEPHYR_EXTRA_MODULES .*\)", f"list(APPEND ZEPHYR_EXTRA_MODULES {modules})", lists.read_text()))
    (sample / "prj.conf").write_text((sample / "prj.conf").read_text() + "CONFIG_LUTRA_OTHER=y\n")
    main = sample / "src/main.c"
    main.write_text('#include "other.h"\nint32_t run_other(void);\nint32_t run_other(void) { return other_check(); }\n' + main.read_text())
    run(["cmake", "-S", sample, "-B", tmp_path / "build", "-G", "Ninja"], tmp_path, ZEPHYR_BASE=STUBS / "zephyr")
    run(["cmake", "--build", tmp_path / "build"], tmp_path)
    assert "digits: the golden output" in run([tmp_path / "build/example"], tmp_path)


def test_the_example_says_if_the_output_is_another(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "make", tmp_path / "project")
    golden = tmp_path / "project/example/digits_golden.h"
    last = golden_numbers(tmp_path / "project", "output_0")[-1]  # beyond what is printed
    text = golden.read_text()
    end = text.rindex(f"{last},")
    golden.write_text(text[:end] + f"{last ^ 1}," + text[end + len(f"{last},") :])
    done = subprocess.run(["make", "-s"], cwd=tmp_path / "project", capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "digits: NOT the golden output" in done.stdout


def test_the_golden_output_is_the_networks(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "cmake", tmp_path / "project")
    inputs, outputs = (np.array(golden_numbers(tmp_path / "project", port), np.int8) for port in ("input_0", "output_0"))
    assert np.array_equal(host.open_bundle(bundle).run_int8([inputs[None]])[0][0], outputs)
    assert len(set(inputs.tolist())) > 8  # noise
    assert len(set(outputs.tolist())) > 4


def test_the_golden_input_can_be_a_sample(bundle: Path, tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 16)
    lutra.export(bundle, tmp_path / "project", kind="cmake", data=lutra.make_dataset(samples))
    port = host.open_bundle(bundle).inputs[0]
    assert golden_numbers(tmp_path / "project", "input_0") == host.bundle.quantize(samples[:1], port)[0].tolist()


def test_several_inputs_and_outputs(ports: Path, tmp_path: Path) -> None:
    export_bundle(ports, "cmake", tmp_path / "project")
    printed = output_of("cmake", tmp_path / "project", tmp_path / "build")
    for index in range(2):
        assert f"ports: output {index}: {' '.join(map(str, golden_numbers(tmp_path / 'project', f'output_{index}')))}\n" in printed
    assert "ports: the golden output\n" in printed


def golden_numbers(project: Path, port: str) -> list[int]:
    (header,) = project.rglob("*_golden.h")
    (numbers,) = re.findall(rf"_golden_{port}\[\w+\] = {{([^}}]*)}}", header.read_text())
    return [int(number) for number in numbers.split(",") if number.strip()]


# Other CPUs.


@pytest.mark.parametrize("cpu", FLAGS)
def test_everything_compiles_for(bundle: Path, kind: str, cpu: str, tmp_path: Path) -> None:
    c, cpp = RISCV if cpu.startswith("rv") else ARM
    if shutil.which(c) is None:
        pytest.skip(f"{c} is not installed (make toolchain)")
    export_bundle(bundle, kind, tmp_path / "project")
    flags = ["-Os", *FLAGS[cpu]]
    flags += [*WARNINGS, f"-I{library_of(kind, tmp_path / 'project') / 'src'}", *SDK_FOLDERS, "-c"]
    (tmp_path / "objects").mkdir()
    sources = [path for path in sorted(tmp_path.rglob("*")) if path.suffix == ".c"]
    run([c, "-std=c99", *flags, *sources], tmp_path / "objects")
    for sketch in (path for path in tmp_path.rglob("*") if path.suffix in (".cpp", ".ino")):
        run([cpp, "-std=c++17", *flags, "-x", "c++", sketch], tmp_path / "objects")
    assert len(list((tmp_path / "objects").iterdir())) >= 8


def test_avr_is_refused_with_the_reason(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "arduino", tmp_path / "library")
    command = ["gcc", "-D__AVR__", "-fsyntax-only", f"-I{tmp_path}/library/src", tmp_path / "library/src/digits.c"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Lutra does not run on AVR" in done.stderr
    properties = (tmp_path / "library/library.properties").read_text()
    architectures = re.findall(r"^architectures=(.*)$", properties, re.MULTILINE)[0].split(",")
    assert "samd" in architectures
    assert not {"avr", "megaavr", "*"} & set(architectures)
    assert "AVR" in (tmp_path / "library/README.md").read_text()


# What is in them.


def test_all_files_of_the_listing_are_there_and_no_others(bundle: Path, kind: str, tmp_path: Path) -> None:
    written = export_bundle(bundle, kind, tmp_path / "project")
    listed = json.loads((tmp_path / "project/lutra-export.json").read_text())["files"]
    present = {path.relative_to(tmp_path / "project").as_posix() for path in (tmp_path / "project").rglob("*") if path.is_file()}
    assert set(listed) == set(written.files) == present - {"lutra-export.json"}


def test_an_export_is_reproducible(bundle: Path, kind: str, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        written = export_bundle(bundle, kind, tmp_path / name)
        contents.append({file: (tmp_path / name / file).read_bytes() for file in written.files})
    assert contents[0] == contents[1]


def test_the_readme_has_three_steps(bundle: Path, kind: str, tmp_path: Path) -> None:
    export_bundle(bundle, kind, tmp_path / "project")
    assert re.findall(r"^(\d)\. ", (tmp_path / "project/README.md").read_text(), re.MULTILINE) == ["1", "2", "3"]


def test_the_bundle_in_an_export_can_be_validated(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "cmake", tmp_path / "project")
    samples = lutra.make_dataset(np.zeros((2, 16), np.float32))
    assert lutra.validate(tmp_path / "project/src", samples).tables_intact


@pytest.mark.parametrize("target", [target.name for target in TARGETS])
def test_the_compressed_lenet_is_a_small_archive(target: str, tmp_path: Path) -> None:
    limit = 37 if target == "generic" else 32  # KB; loops for all CPUs, or for one kind
    lutra.generate("zoo:lenet5", tmp_path / "bundle", prefix="lenet5", target=target)
    for kind in KINDS:
        export_bundle(tmp_path / "bundle", kind, tmp_path / kind)
        assert os.path.getsize(shutil.make_archive(str(tmp_path / f"{kind}.archive"), "xztar", tmp_path / kind)) < limit * 1024, kind


# Build systems' own checkers, and what can be read of their files.


def test_platformio_accepts_its_files_and_the_arduino_library(bundle: Path, tmp_path: Path) -> None:
    python = checker("platformio")
    for name in ("platformio", "arduino"):
        export_bundle(bundle, name, tmp_path / name)
    code = (
        "import sys; from platformio.package.manifest import parser, schema;"
        "schema.ManifestSchema.load_spdx_licenses = staticmethod(lambda: {'licenses': [{'licenseId': 'Apache-2.0'}]});"  # else downloads
        "read = lambda path: parser.ManifestParserFactory.new_from_file(path).as_dict();"
        "print([schema.ManifestSchema().load_manifest(read(path)) for path in sys.argv[1:]])"
    )
    files = [tmp_path / "platformio/lib/lutra-digits/library.json", tmp_path / "arduino/library.properties"]
    assert run([*python, "-c", code, *files], tmp_path).count("'lutra-digits'") == 2
    lint = [*python, "-m", "platformio", "project", "config", "--lint", "--json-output"]
    assert "{'errors': [], 'warnings': []}" in run(lint, tmp_path / "platformio", PLATFORMIO_CORE_DIR=tmp_path / "core")


def test_espressifs_component_manager_accepts_the_component(bundle: Path, tmp_path: Path) -> None:
    python = checker("idf_component_manager")
    export_bundle(bundle, "esp-idf", tmp_path / "project")
    component = tmp_path / "project/components/lutra-digits"
    run([*python, "-m", "idf_component_manager", "-W", "manifest", "lint", "."], component)


def test_kconfig_knows_the_option_of_the_sample(bundle: Path, tmp_path: Path) -> None:
    python = checker("kconfiglib")
    export_bundle(bundle, "zephyr", tmp_path / "project")
    code = (
        "import kconfiglib; k = kconfiglib.Kconfig('zephyr/Kconfig', warn_to_stderr=False);"
        "before = k.syms['LUTRA_DIGITS'].str_value; k.load_config('samples/inference/prj.conf');"
        "print(before, k.syms['LUTRA_DIGITS'].str_value, k.warnings)"
    )
    assert run([*python, "-c", code], tmp_path / "project") == "n y []\n"


def checker(module: str) -> list[str]:
    """A Python that has `module`."""
    pytest.importorskip(module, reason=f"{module} is not installed (pip install lutra-mcu[test])")
    return [sys.executable, "-W", "ignore"]


def test_the_pack_names_files_that_are_there(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "cmsis-pack", tmp_path / "pack")
    pack = ElementTree.parse(tmp_path / "pack/Lutra.digits.pdsc")
    names = [file.attrib["name"] for file in pack.findall(".//component/files/file")]
    examples = pack.findall(".//example")
    names += [f"{e.attrib['folder']}/{e.find('project/environment').attrib['load']}" for e in examples]  # type: ignore[union-attr]
    assert all((tmp_path / "pack" / name).exists() for name in names)
    assert {name for name in names if name.endswith(".c")} == {
        path.relative_to(tmp_path / "pack").as_posix() for path in (tmp_path / "pack/src").rglob("*.c")
    }
    component = "Lutra::Machine Learning:Network:digits"
    assert component in (tmp_path / "pack/examples/inference/inference.cproject.yml").read_text()


# What is refused.


def test_an_unknown_kind_is_refused_with_the_nearest(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no export for 'zepyr'; did you mean 'zephyr'"):
        export_bundle(bundle, "zepyr", tmp_path / "project")
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(("kind", "prefix"), [("arduino", "print"), ("platformio", "spi"), ("esp-idf", "esp_log"), ("pico-sdk", "pico")])
def test_a_prefix_that_hides_a_header_of_the_sdk_is_refused(kind: str, prefix: str, tmp_path: Path) -> None:
    bundle = lutra.generate(compressed_graph(), tmp_path / "bundle", prefix=prefix)
    with pytest.raises(ConfigurationError, match=f"{kind} has a header {prefix}.h of its own; .* another --prefix"):
        export_bundle(bundle, kind, tmp_path / "project")
    export_bundle(bundle, "cmake", tmp_path / "project")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a folder"):
        lutra.export(tmp_path / "model.lutra", tmp_path / "project", kind="cmake")


def test_a_renamed_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    (tmp_path / "bundle/digits.json").write_text((bundle / "digits.json").read_text().replace('"prefix": "digits"', '"prefix": "x; y"'))
    with pytest.raises(BundleError, match="not to be renamed"):
        lutra.export(tmp_path / "bundle", tmp_path / "project", kind="cmake")


def test_samples_of_another_shape_are_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be float"):
        lutra.export(bundle, tmp_path / "project", kind="cmake", data=lutra.make_dataset(np.zeros((2, 7), np.float32)))
    assert not (tmp_path / "project").exists()


def test_samples_for_two_inputs_are_refused(ports: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the network has 2"):
        lutra.export(ports, tmp_path / "project", kind="cmake", data=lutra.make_dataset(np.zeros((2, 8), np.float32)))


# Folders that are there already.


def test_a_folder_with_files_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.c").write_text("mine")
    with pytest.raises(OutputError, match=r"is not empty: 'mine.c'.*--force"):
        export_bundle(bundle, "cmake", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.c"]


def test_force_replaces_files_of_the_same_names_and_keeps_others(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "cmake", tmp_path / "project")
    (tmp_path / "project/mine.c").write_text("mine")
    (tmp_path / "project/README.md").write_text("mine")
    export_bundle(bundle, "cmake", tmp_path / "project", force=True)
    assert (tmp_path / "project/mine.c").read_text() == "mine"
    assert (tmp_path / "project/README.md").read_text().startswith("# digits")


def test_force_removes_what_an_earlier_export_wrote_unless_it_was_edited(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "zephyr", tmp_path / "project")
    (tmp_path / "project/zephyr/Kconfig").write_text("mine")
    export_bundle(bundle, "cmake", tmp_path / "project", force=True)
    files = {path.relative_to(tmp_path / "project").as_posix() for path in (tmp_path / "project").rglob("*") if path.is_file()}
    assert {path for path in files if path.startswith(("zephyr/", "samples/"))} == {"zephyr/Kconfig"}
    assert "CMakeLists.txt" in files


def test_a_forged_listing_removes_nothing_outside(bundle: Path, tmp_path: Path) -> None:
    export_bundle(bundle, "cmake", tmp_path / "project")
    (tmp_path / "precious").write_text("")
    empty = "e3b0c44298fc1c14"
    forged = {"../precious": empty, str(tmp_path / "precious"): empty}
    (tmp_path / "project/lutra-export.json").write_text(json.dumps({"files": forged}))
    export_bundle(bundle, "cmake", tmp_path / "project", force=True)
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize("place", ["src", "README.md"])
def test_force_follows_no_links(bundle: Path, place: str, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project" / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="a link or a folder is in its place"):
        export_bundle(bundle, "cmake", tmp_path / "project", force=True)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_failure_in_the_middle_leaves_all_as_it_was(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_bundle(bundle, "zephyr", tmp_path / "project")
    (tmp_path / "project/README.md").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    replace, moves = Path.replace, iter(range(20))

    def fail(self: Path, target: Path) -> Path:
        if next(moves, None) is None and not str(self).startswith(str(tmp_path / "project")) and "old" not in self.parts:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        export_bundle(bundle, "cmake", tmp_path / "project", force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_command_says_what_it_wrote(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lutra", "export", str(bundle), "--for", "make", "-o", str(tmp_path / "project"), "--json"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    record = json.loads(capsys.readouterr().out)
    assert (record["prefix"], record["for"]) == ("digits", "make")
    assert "Makefile" in record["files"]


def test_a_folder_of_images_is_refused_for_what_it_is(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    arguments = ["--for", "make", "-o", str(tmp_path / "project"), "--data", str(tmp_path / "photos")]
    monkeypatch.setattr("sys.argv", ["lutra", "export", str(bundle), *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "an export takes arrays" in re.sub(r"\W+", " ", capsys.readouterr().err)
    assert not (tmp_path / "project").exists()


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    package = (runtime.cmake_directory() / "lutra-config-version.cmake").read_text()
    assert f"set(PACKAGE_VERSION {project})" in package
    assert lutra.__version__ == project
