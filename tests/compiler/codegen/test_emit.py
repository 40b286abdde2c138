import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from lutra_compiler.ir.ops import Add
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import ABI_VERSION, CRC_BYTES, Program
from lutra_compiler.target import target_by_name
from quantized_graphs import graph
from random_programs import random_program
from tiny_program import tiny_program

RUNTIME = Path(__file__).parents[3] / "runtime_c"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wvla", "-Werror", f"-I{RUNTIME / 'include'}"]


def adder() -> Program:
    """Two inputs, one output."""
    source = graph([Add(name="a", inputs=("x", "y"), output="z")], {"x": (2, 3, 4), "y": (2, 3, 4)})
    return lower(source, target_by_name("generic"))


# Names


@given(st.tuples(*[st.text()] * 6))
def test_no_name_of_a_model_reaches_c(names: tuple[str, ...]):
    plain, hostile = emit(tiny_program(), "tiny", {}), emit(tiny_program(names), "tiny", {"title": names[0]})
    manifest = json.loads(hostile.pop("tiny.json"))
    plain.pop("tiny.json")
    assert hostile == plain
    assert manifest["inputs"][0]["name"] == names[0]
    assert manifest["model"]["title"] == names[0]


def test_all_files_are_plain_ascii():
    files = emit(tiny_program(["*/ #include <stdlib.h>", "\0", "\u2028", "é", "\ud800", '"']), "tiny", {"\x1b[31m": "é"})
    for text in files.values():
        assert re.fullmatch(r"[ -~\n]*", text)


def test_files_and_names_begin_with_the_prefix():
    files = emit(random_program(0), "keyword_net", {})
    assert list(files) == ["keyword_net.h", "keyword_net.c", "keyword_net_data.h", "keyword_net.json"]
    definitions = re.findall(r"^static const \w+ (\w+)\[", files["keyword_net_data.h"], re.MULTILINE)
    definitions += re.findall(r"^#define (\w+)", files["keyword_net.h"], re.MULTILINE)
    assert all(name.lower().startswith("keyword_net_") for name in definitions)


# The same bytes every time


def test_a_program_always_gives_the_same_bytes():
    code = """
import hashlib
from lutra_compiler.codegen.emit import emit
from random_programs import random_program
for seed in range(5):
    print(hashlib.sha256("".join(emit(random_program(seed), "net", {"b": 1, "a": 2}).values()).encode()).hexdigest())
"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].split()) == 5


# The C compiles


@pytest.mark.parametrize("program", [tiny_program, adder], ids=["tiny", "two inputs"])
@pytest.mark.parametrize(
    "compiler",
    ["gcc -std=c99", "g++ -x c++ -std=c++17", "clang -std=c99", "clang++ -x c++ -std=c++17"],
)
def test_compiles_without_a_warning(tmp_path: Path, compiler: str, program):
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    write_bundle(emit(program(), "net", {}), tmp_path / "net")
    subprocess.run([*command, *STRICT, "-O2", "-DLUTRA_WITH_FLOAT", "-c", "net.c", "-o", os.devnull], cwd=tmp_path / "net", check=True)


def compile_error(folder: Path, include: Path) -> str:
    done = subprocess.run(
        ["gcc", "-std=c99", f"-I{include}", "-c", "tiny.c", "-o", os.devnull], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode
    return done.stderr


@pytest.fixture
def include(tmp_path: Path) -> Path:
    """A copy of the runtime's headers."""
    return Path(shutil.copytree(RUNTIME / "include", tmp_path / "include"))


def change(header: Path, pattern: str, replacement: str) -> None:
    text = header.read_text()
    assert pattern in text
    header.write_text(text.replace(pattern, replacement))


def test_a_runtime_of_another_abi_does_not_compile(tmp_path: Path, include: Path):
    write_bundle(emit(tiny_program(), "tiny", {}), tmp_path / "tiny")
    change(include / "lutra/lutra.h", f"#define LUTRA_ABI_VERSION {ABI_VERSION}", f"#define LUTRA_ABI_VERSION {ABI_VERSION + 1}")
    assert f"needs a Lutra runtime of ABI {ABI_VERSION}" in compile_error(tmp_path / "tiny", include)


def test_a_runtime_with_other_scratch_sizes_does_not_compile(tmp_path: Path, include: Path):
    write_bundle(emit(tiny_program(), "tiny", {}), tmp_path / "tiny")
    change(include / "lutra/lutra_kernels.h", "(4u * (block) * (codewords) + 4u", "(5u * (block) * (codewords) + 4u")
    assert "tiny_assert_scratch_0" in compile_error(tmp_path / "tiny", include)


def test_a_runtime_with_other_descriptors_does_not_compile(tmp_path: Path, include: Path):
    write_bundle(emit(tiny_program(), "tiny", {}), tmp_path / "tiny")
    change(include / "lutra/lutra_kernels.h", "uint16_t pixels, channels;", "uint16_t pixels, channels, more;")
    assert "tiny_assert_size_2" in compile_error(tmp_path / "tiny", include)


# What is counted is what is stored


@pytest.mark.board
@pytest.mark.parametrize("options", ["-Os", "-O0", "-O3"])
@pytest.mark.parametrize("seed", range(3))
def test_model_bytes_are_the_constants_of_the_object(tmp_path: Path, seed: int, options: str):
    program = random_program(seed)
    write_bundle(emit(program, "net", {}), tmp_path / "net")
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-std=c99", options, f"-I{RUNTIME / 'include'}", "-c", "net.c"]
    subprocess.run(command, cwd=tmp_path / "net", check=True)
    with (tmp_path / "net/net.o").open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
        sizes = {symbol.name: symbol["st_size"] for symbol in symbols if symbol["st_info"]["type"] == "STT_OBJECT"}
    assert sizes == {"net_layers": program.objects[0].size_bytes, "net_tables": program.objects[1].size_bytes, "net_crc": 8}
    assert sum(sizes.values()) == program.model_bytes


@pytest.mark.board
@pytest.mark.parametrize("seed", range(3))
def test_tables_lie_where_the_manifest_says_and_those_read_as_words_are_aligned(tmp_path: Path, seed: int):
    program = random_program(seed)
    files = emit(program, "net", {})
    write_bundle(files, tmp_path / "net")
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-Os", f"-I{RUNTIME / 'include'}", "-c", "net.c"]
    subprocess.run(command, cwd=tmp_path / "net", check=True)
    with (tmp_path / "net/net.o").open("rb") as file:
        image = ELFFile(file)
        symbols = {symbol.name: symbol for symbol in image.get_section_by_name(".symtab").iter_symbols()}
        sections = {name: image.get_section(symbols[name]["st_shndx"]).data() for name in ("net_layers", "net_tables")}
    words = 0
    for table in json.loads(files["net.json"])["tables"]:
        place = symbols[table["object"]]["st_value"] + table["offset"]
        assert sections[table["object"]][place : place + table["bytes"]] == program.tables[table["index"]].data.tobytes()
        if table["role"] in ("codebook", "indices", "weights", "channels"):
            assert place % 4 == 0
            words += 1
    assert words


# The manifest


def manifest_of(program: Program) -> dict:
    return json.loads(emit(program, "net", {})["net.json"])


@pytest.mark.parametrize("seed", range(10))
def test_the_layers_account_for_every_byte(seed: int):
    program = random_program(seed)
    manifest = manifest_of(program)
    assert sum(sum(layer["bytes"].values()) for layer in manifest["layers"]) == manifest["model_bytes"]
    beside = sum(sum(part.padding) + CRC_BYTES for part in program.objects)
    assert sum(table["bytes"] for table in manifest["tables"]) + beside == manifest["model_bytes"]
    assert sum(part["bytes"] + CRC_BYTES for part in manifest["objects"]) == manifest["model_bytes"]


def test_the_manifest_has_the_hashes_of_the_c_files():
    files = emit(tiny_program(), "tiny", {})
    manifest = json.loads(files.pop("tiny.json"))
    assert manifest["files"] == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}


def test_a_crc_covers_the_bytes_as_a_little_endian_target_has_them():
    program = tiny_program()
    files = emit(program, "tiny", {})
    manifest = json.loads(files["tiny.json"])
    for part in manifest["objects"]:
        content = bytearray(part["bytes"])
        for table in manifest["tables"]:
            if table["object"] == part["name"]:
                data = program.tables[table["index"]].data
                little = b"".join(int(value).to_bytes(data.itemsize, "little", signed=value < 0) for value in data)
                content[table["offset"] : table["offset"] + table["bytes"]] = little
        assert zlib.crc32(content) == int(part["crc32"], 16)
        assert f"0x{part['crc32']}u" in files["tiny_data.h"]


def test_the_manifest_describes_ports_layers_and_memory():
    manifest = manifest_of(tiny_program())
    assert manifest["inputs"] == [
        {"name": "image", "shape": [4, 4, 2], "layout": "NCHW", "scale": 0.1, "zero_point": -3, "offset": 0}
    ]
    layer = manifest["layers"][0]
    assert (layer["kernel"], layer["source_names"], layer["output_shape"], layer["macs"]) == ("lutra_conv2d_lut", ["conv"], [2, 2, 3], 864)
    assert layer["bytes"] == {"descriptor": 38, "codebook": 32, "indices": 27, "channels": 12, "padding": 1, "crc": 8}
    assert manifest["buffers"][2] == {"index": 2, "storage": "scratch", "offset": 44, "bytes": 356, "first": 0, "last": 0}
    assert max(buffer["offset"] + buffer["bytes"] for buffer in manifest["buffers"]) == manifest["arena_bytes"] == 400


def test_the_header_gives_sizes_and_quantization():
    header = emit(tiny_program(), "tiny", {})["tiny.h"]
    defined = dict(re.findall(r"^#define TINY_(\w+) (.+)$", header, re.MULTILINE))
    assert (defined["ARENA_BYTES"], defined["MODEL_BYTES"], defined["LAYERS"]) == ("400u", f"{tiny_program().model_bytes}u", "3u")
    assert (defined["INPUT_0_SIZE"], defined["INPUT_0_HEIGHT"], defined["INPUT_0_CHANNELS"]) == ("32u", "4u", "2u")
    assert (np.float32(defined["INPUT_0_SCALE"][:-1]), defined["INPUT_0_ZERO_POINT"]) == (np.float32(0.1), "(-3)")
    assert (defined["OUTPUT_0_SIZE"], defined["OUTPUT_0_OFFSET"], defined["OUTPUT_0_ZERO_POINT"]) == ("5u", "8u", "(-128)")
    assert "tiny_run1" in header


def test_run1_is_there_for_one_input_and_one_output_only():
    assert "run1" not in emit(adder(), "net", {})["net.h"]
