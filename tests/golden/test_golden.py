"""The bundle of tests/tiny_program.py, byte for byte. After a wanted change run `REGENERATE_GOLDEN=1 pytest tests/golden`
and read the difference."""

import os
from pathlib import Path

from lutra_compiler.codegen.bundle import write_bundle
from lutra_compiler.codegen.emit import emit
from tiny_program import tiny_program

GOLDEN = Path(__file__).parent / "tiny"


def test_the_bundle_is_the_golden_one():
    files = emit(tiny_program(), "tiny", {"float_parameter_bytes": 488, "int8_model_bytes": 900})
    if os.environ.get("REGENERATE_GOLDEN"):
        write_bundle(files, GOLDEN)
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(files)
    for name, text in files.items():
        assert (GOLDEN / name).read_bytes() == text.encode(), name
