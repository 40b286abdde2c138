"""Fuzzing of what reads files from anywhere: whatever the bytes, a Graph or a LutraError comes out, in 10 s and 2 GiB.

    python tests/hostile/fuzz.py onnx --seconds 600        ONNX files
    python tests/hostile/fuzz.py lutra --seconds 600       .lutra files

Guided by coverage where atheris is installed (the extra `fuzz`), else inputs are changed at random. It starts from tests/hostile/corpus
and writes what it finds to build/fuzz; a file that ends in another exception, a hang or too much memory makes the exit code 1. Every
finding becomes a file in the corpus, which a test replays.
"""

import argparse
import contextlib
import copy
import json
import math
import random
import re
import resource
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CORPUS, BUILD = Path(__file__).parent / "corpus", ROOT / "build/fuzz"
SECONDS_EACH, MEGABYTES, MAX_BYTES = 10, 2048, 1 << 16
ATTRIBUTES = (
    "axis", "axes", "pads", "strides", "kernel_shape", "perm", "group", "auto_pad", "keepdims", "to", "ceil_mode", "dilations", "direction",
    "layout", "linear_before_reset", "hidden_size", "activations", "clip",
)  # fmt: skip
NUMBERS = (-(2**63), -(2**31), -129, -2, -1, 0, 1, 2, 3, 4, 7, 8, 255, 256, 65535, 65536, 2**24, 2**31, 2**40, 2**62, 2**63 - 1)


def read_onnx_bytes(data: bytes) -> None:
    """One input of the target onnx."""
    from lutra_compiler.errors import LutraError
    from lutra_compiler.frontends.onnx_reader import read_onnx
    from lutra_compiler.ir.graph import Graph
    from lutra_compiler.passes import canonicalise

    with warnings.catch_warnings(), contextlib.suppress(LutraError):
        warnings.simplefilter("error")
        graph = read_onnx(data)
        assert isinstance(graph, Graph)
        canonicalise(graph)


def read_lutra_bytes(data: bytes) -> None:
    """One input of the target lutra: as it is, and with its checksum made right, so that what lies behind it is met."""
    from lutra_compiler.errors import GraphError, ModelError
    from lutra_compiler.model_file import parse_model
    from lutra_compiler.records import RecordError

    for content in (data, signed(data)):
        with contextlib.suppress(ModelError, GraphError, RecordError):  # which load_model makes one of
            parse_model(content)


def signed(data: bytes) -> bytes:
    """A .lutra file with the SHA-256 that fits its content and the length that fits its header, if both can be made out."""
    from lutra_compiler import model_file

    try:
        size = int.from_bytes(data[:8], "little")
        header, tensors = json.loads(data[8 : 8 + size]), data[8 + size :]
        document = json.loads(header["__metadata__"]["lutra"])
        document["sha256"] = model_file._digest(document, model_file._tensors(data))
        header["__metadata__"]["lutra"] = json.dumps(document)
        text = json.dumps(header).encode()
    except Exception:
        return data
    return len(text).to_bytes(8, "little") + text + tensors


def mutate_onnx(data: bytes, rng: random.Random) -> bytes:
    """The model with something changed that still is a model; the bytes where it is none."""
    import onnx

    try:
        model = onnx.ModelProto.FromString(data)
        _change_model(model, rng)
        return bytes(model.SerializeToString())
    except Exception:  # no model, or one with names that are no text
        return mutate_bytes(data, rng)


def _change_model(model: Any, rng: random.Random) -> None:
    import onnx

    from lutra_compiler.frontends import onnx_reader

    graph = model.graph
    operators = [*onnx_reader._HANDLERS, *onnx_reader._FOLDED, "Sin", "If", "LSTM"]
    names = [name for node in graph.node for name in (*node.input, *node.output)] + [tensor.name for tensor in graph.initializer] + [""]
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(10)
        node = rng.choice(graph.node) if graph.node else None
        tensor = rng.choice(graph.initializer) if graph.initializer else None
        if kind == 0 and node:
            node.op_type = rng.choice(operators)
        elif kind == 1 and node and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        elif kind == 2 and node:
            (node.input if rng.random() < 0.7 else node.output).append(rng.choice(names))
        elif kind == 3 and node and node.input:
            del node.input[rng.randrange(len(node.input))]
        elif kind == 4 and node:
            twin = graph.node.add()
            twin.CopyFrom(node)
            twin.output[:] = [f"{name}{rng.randrange(99)}" for name in twin.output]
        elif kind == 5 and node and node.attribute:
            _change_attribute(rng.choice(node.attribute), rng)
        elif kind == 6 and node:
            name = rng.choice(ATTRIBUTES)
            values = [rng.choice(NUMBERS) for _ in range(rng.randrange(5))]
            value: Any = rng.choice((rng.choice(NUMBERS), values or [1], 0.5, b"SAME_UPPER"))
            node.attribute.append(onnx.helper.make_attribute(name, value))
        elif kind == 7 and tensor:
            if tensor.dims and rng.random() < 0.5:
                tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
            elif rng.random() < 0.5:
                tensor.data_type = rng.randrange(26)
            else:
                tensor.raw_data = mutate_bytes(tensor.raw_data, rng)
        elif kind == 8 and graph.input:
            dims = rng.choice(graph.input).type.tensor_type.shape.dim
            if dims:
                dim = rng.choice(dims)
                dim.dim_value = rng.choice(NUMBERS)
        elif kind == 9 and model.opset_import:
            model.opset_import[0].version = rng.choice((7, 9, 10, 11, 12, 13, 17, 18, 21, 23, 28))


def _change_attribute(attribute: Any, rng: random.Random) -> None:
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.type == 2:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == 1:
        attribute.f = rng.choice((0.0, -1.0, 1e38, float("inf"), float("nan")))
    else:
        attribute.type = rng.randrange(15)


def mutate_lutra(data: bytes, rng: random.Random) -> bytes:
    """The file with a value of its document or of the header changed; the bytes where it is none."""
    try:
        size = int.from_bytes(data[:8], "little")
        header, tensors = json.loads(data[8 : 8 + size]), data[8 + size :]
        document = json.loads(header["__metadata__"]["lutra"])
    except Exception:
        return mutate_bytes(data, rng)
    if rng.random() < 0.15:
        place = rng.randrange(max(1, len(tensors)))
        tensors = tensors[:place] + mutate_bytes(tensors[place : place + 8], rng)[:8].ljust(8, b"\0") + tensors[place + 8 :]
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change(header if rng.random() < 0.15 else document, rng)
    try:
        header["__metadata__"]["lutra"] = json.dumps(document)
        text = json.dumps(header).encode()
    except Exception:
        return mutate_bytes(data, rng)
    return len(text).to_bytes(8, "little") + text + tensors


def _change(tree: Any, rng: random.Random) -> None:
    """Change, remove or double one thing somewhere in JSON values."""
    places: list[tuple[Any, Any]] = []
    stack = [tree]
    while stack:
        value = stack.pop()
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
        places += [(value, key) for key, _ in items]
        stack += [item for _, item in items]
    if not places:
        return
    owner, key = rng.choice(places)
    other_owner, other_key = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        del owner[key]
    elif kind == 1:
        owner[key] = rng.choice((*NUMBERS, None, True, "", "x", [], {}, 1e300, -0.5, [[]], [1, 2, 3], "conv2d", "NHWC"))
    elif kind == 2:
        owner[key] = copy.deepcopy(other_owner[other_key])
    elif isinstance(owner, list):
        owner.insert(key, copy.deepcopy(owner[key]))
    else:
        owner[f"{key}{rng.choice(('', '_', '0'))}"] = copy.deepcopy(other_owner[other_key])


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, removed or doubled."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[place] = rng.randrange(256)
            case 1:
                changed[place] ^= 1 << rng.randrange(8)
            case 2 if len(changed) > 1:
                del changed[place : place + rng.choice((1, 1, 8, 64))]
                changed = changed or bytearray(1)
            case _:
                changed[place:place] = changed[place : place + rng.choice((1, 4, 32))]
    return bytes(changed)


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[bytes, random.Random], bytes]]] = {
    "onnx": (read_onnx_bytes, mutate_onnx),
    "lutra": (read_lutra_bytes, mutate_lutra),
}


def corpus(target: str) -> list[Path]:
    """The saved inputs of a target."""
    return sorted(path for path in (CORPUS / target).iterdir() if path.is_file())


def at_random(target: str, seconds: float, seed: int, inputs: float = math.inf) -> int:
    """Change saved inputs at random, up to a number of them; without atheris, or for a quick look that is the same on every machine."""
    run, mutate = TARGETS[target]
    rng, saved = random.Random(seed), [path.read_bytes() for path in corpus(target)]
    begin, count = time.monotonic(), 0
    while time.monotonic() < begin + seconds and count < inputs:
        data = rng.choice(saved)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = mutate_bytes(data, rng) if rng.random() < 0.2 else mutate(data, rng)
        started = time.monotonic()
        try:
            run(data[:MAX_BYTES])
            problem = f"it took {time.monotonic() - started:.1f} s" if time.monotonic() - started > SECONDS_EACH else ""
        except Exception:
            problem = traceback.format_exc()
        if problem:
            (BUILD / target).mkdir(parents=True, exist_ok=True)
            path = BUILD / target / f"crash-random-{seed}-{count}"
            path.write_bytes(data)
            print(f"{problem}\nwritten to {path}", file=sys.stderr)
            return 1
        count += 1
    used = peak_megabytes()
    print(f"{target}: {count:,} inputs at random in {time.monotonic() - begin:.0f} s, {used} MB at most, no finding")
    return int(used > MEGABYTES)


def peak_megabytes() -> int:
    """Memory that this process took at most; where the system says it, without what its parent took before it."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024


def guided(target: str, seconds: float) -> int:
    """Run atheris in a process of its own, which libFuzzer ends as it likes."""
    folder = BUILD / target
    folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={MEGABYTES}", f"-max_len={MAX_BYTES}"]
    how = [f"-max_total_time={seconds:g}", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    how += [str(folder / "inputs"), str(CORPUS / target)]
    (folder / "inputs").mkdir(exist_ok=True)
    return subprocess.run([sys.executable, __file__, "--atheris", target, *limits, *how], check=False).returncode


def inside_atheris(target: str, arguments: Sequence[str]) -> None:
    """The process that libFuzzer drives."""
    import atheris

    with atheris.instrument_imports(include=["lutra_compiler"]):
        import lutra_compiler.frontends.onnx_reader
        import lutra_compiler.model_file
        import lutra_compiler.passes  # noqa: F401
    run, mutate = TARGETS[target]

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, len(data)))
        changed = mutate(data, rng)
        return changed if len(changed) <= max_size else data

    atheris.Setup([sys.argv[0], *arguments], run, custom_mutator=mutator, internal_libfuzzer=True)
    atheris.Fuzz()


def has_atheris() -> bool:
    """Whether inputs can be guided by coverage."""
    from importlib.util import find_spec

    return find_spec("atheris") is not None


def main() -> int:
    if sys.argv[1:2] == ["--atheris"]:
        inside_atheris(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0, help="of changes at random")
    parser.add_argument("--random", action="store_true", help="not guided by coverage")
    parser.add_argument("--inputs", type=int, help="so many at the most; implies --random")
    options = parser.parse_args()
    if options.inputs is not None:
        return at_random(options.target, options.seconds, options.seed, options.inputs)
    if options.random or not has_atheris():
        return at_random(options.target, options.seconds, options.seed)
    return guided(options.target, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
