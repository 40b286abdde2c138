"""Validations as files for other programs: JSON, and JUnit XML, which continuous integration shows."""

import json
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from lutra.report import printable, validation_record
from lutra.validation import Validation
from lutra_compiler.errors import OutputError
from lutra_compiler.files import write_atomically


@dataclass(frozen=True)
class Check:
    """One question with its answer: `wrong` says what is wrong, empty if nothing is; `skipped`: why it was not asked."""

    name: str
    wrong: str = ""
    skipped: str = ""


def checks_of(validation: Validation, max_drop: float | None = None, deviation: float | None = None) -> tuple[Check, ...]:
    """What a validation answers with yes or no; `max_drop`: percentage points to lose, `deviation`: what a layer's error may be."""
    checks = [Check("the tables are intact", "" if validation.tables_intact else "a CRC-32 is wrong: generate the bundle again")]
    comparison = validation.comparison
    if comparison is None:
        checks.append(Check("all targets give the same bytes", skipped="a bundle without its model was not compared with the interpreter"))
    else:
        for target in comparison.targets[1:]:
            differing = comparison.differing.get(target, 0)
            wrong = f"{differing} of {comparison.samples} samples differ; the first layer is {_first(validation)}" if differing else ""
            checks.append(Check(f"{target} gives the bytes of the host", wrong))
    if max_drop is not None:
        drop = validation.drop
        wrong = "" if drop is None or drop <= max_drop else f"it loses {drop:.2f}, the limit is {max_drop:g}"
        checks.append(Check(f"at most {max_drop:g} percentage points are lost", wrong))
    if deviation is not None:
        layer = next((layer for layer in validation.layers if layer.error > deviation), None)
        wrong = "" if layer is None else f"layer '{layer.name}' has a relative L2 error of {layer.error:.4g}"
        checks.append(Check(f"no layer has a relative L2 error above {deviation:g}", wrong))
    return tuple(checks)


def _first(validation: Validation) -> str:
    return next((f"'{layer.name}'" for layer in validation.layers if not layer.bit_exact), "not known")


def write_report(path: Path, validation: Validation, checks: tuple[Check, ...]) -> None:
    """Write `path`, JSON by the suffix .json or JUnit XML by .xml, whole or not at all. Raises OutputError."""
    check_report(path)
    if path.suffix == ".json":
        write_atomically(path, (json.dumps(validation_record(validation), indent=1, allow_nan=False) + "\n").encode())
        return
    suite = ElementTree.Element(
        "testsuite", name="lutra validate", tests=str(len(checks)), failures=str(sum(bool(check.wrong) for check in checks)), errors="0",
        skipped=str(sum(bool(check.skipped) for check in checks)),
    )  # fmt: skip
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in validation_record(validation).items():
        if isinstance(value, str | int | float):
            ElementTree.SubElement(properties, "property", name=name, value=_text(value))
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=_text(f"lutra.{validation.model}"), name=_text(check.name))
        if check.wrong:
            ElementTree.SubElement(case, "failure", message=_text(check.wrong))
        if check.skipped:
            ElementTree.SubElement(case, "skipped", message=_text(check.skipped))
    ElementTree.indent(suite)
    write_atomically(path, ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n")


def check_report(path: Path) -> None:
    """Refuse a file that `write_report` could not write, before the work is done. Raises OutputError."""
    if path.suffix not in (".json", ".xml"):
        raise OutputError(f"a report is JSON or JUnit XML; {printable(path)} must end in .json or .xml")
    if not path.parent.is_dir() or path.is_dir():
        raise OutputError(f"{printable(path)} cannot be written; choose a file in a folder that exists")


def _text(value: object) -> str:
    """Names come from anywhere; XML has no way to say most control characters, nor halves of surrogate pairs."""
    return printable(value).replace("\n", " ")
