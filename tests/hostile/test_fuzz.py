"""The saved inputs of the fuzzers end in a Graph or a LutraError; so do some thousand changes of them (`make fuzz` takes longer)."""

import random
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

INPUTS = [pytest.param(target, path, id=f"{target}-{path.name}") for target in fuzz.TARGETS for path in fuzz.corpus(target)]


@pytest.mark.parametrize(("target", "path"), INPUTS)
def test_a_saved_input_ends_in_a_graph_or_an_error(target: str, path: Path) -> None:
    fuzz.TARGETS[target][0](path.read_bytes())


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_changed_inputs_end_in_a_graph_or_an_error(target: str) -> None:
    done = subprocess.run(
        [sys.executable, fuzz.__file__, target, "--inputs", "3000"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "no finding" in done.stdout


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_most_changes_leave_a_file_that_is_read_to_some_depth(target: str) -> None:
    """Else the fuzzer would look at the doors only."""
    mutate, rng = fuzz.TARGETS[target][1], random.Random(0)
    inputs = [path.read_bytes() for path in fuzz.corpus(target) if path.stat().st_size > 100]
    changed = [mutate(rng.choice(inputs), rng) for _ in range(300)]
    assert sum(data not in inputs for data in changed) > 200
    assert sum(shallow(target, data) for data in changed) < 100


def shallow(target: str, data: bytes) -> bool:
    from lutra_compiler.errors import LutraError
    from lutra_compiler.frontends.onnx_reader import read_onnx
    from lutra_compiler.model_file import parse_model
    from lutra_compiler.records import RecordError

    try:
        read_onnx(data) if target == "onnx" else parse_model(fuzz.signed(data))
    except (LutraError, RecordError) as error:
        return any(text in str(error) for text in ("truncated", "no operators", "SHA-256", "no Lutra document", "not an ONNX file"))
    return False


def test_a_file_is_signed_as_the_writer_signs_it() -> None:
    for path in fuzz.corpus("lutra"):
        data = path.read_bytes()
        changed = data.replace(b'"network\\":', b'"netwerk\\":')
        if changed != data:
            assert fuzz.signed(changed) != changed
            fuzz.read_lutra_bytes(changed)
