"""Cycles that a core would take for what the emulator counted: estimates, from a profile, the disassembly, and rules for each core.

Memory answers at once (no wait states, no contention), and multiplication is fast where that is an option. The rules of Cortex-M0, M0+,
M3 and M4 are the instruction timings of Arm's Technical Reference Manuals. Arm publishes none for Cortex-M7, M33 and M55: theirs are
models of our own of what is known of their pipelines.
"""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

_DISASSEMBLER = "arm-none-eabi-objdump"  # GCC needs it as well
OWN_MODELS = ("cortex-m7", "cortex-m33", "cortex-m55")

Profile = npt.NDArray[Any]  # rows of BoardRun.profile, at most one an address, by address


class Kind(Enum):
    """Instructions that are alike in time. The value is a pattern of mnemonics; the first that matches counts."""

    LOAD = r"ldr(b|h|sb|sh|d|t)?"
    STORE = r"str(b|h|d)?"
    LOAD_MULTIPLE = r"ldm(ia|db)?|pop"
    STORE_MULTIPLE = r"stm(ia|db)?|push"
    LONG_MULTIPLY = r"[su]mull|[su]mlal\w*|umaal"
    MULTIPLY_ADD = r"ml[as]|sml[as]\w+|smml[as]r?"
    MULTIPLY = r"muls?|smul\w+|smua\w+|smus\w+|smmulr?"
    DIVIDE = r"[su]div"
    TABLE_BRANCH = r"tb[bh]"
    CALL = r"bl"
    JUMP = r"bx|blx"
    BRANCH = r"b|cbn?z"
    LOOP_END = r"(le|lc)(tp)?"
    NO_RESULT = r"cmp|cmn|tst|teq|i[te]+"
    VECTOR = r"v\w+"
    OTHER = r"\w+"


def _mnemonics(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"({pattern})(?P<condition>eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?")


_KINDS = {kind: _mnemonics(kind.value) for kind in Kind}
_DOUBLE = _mnemonics("ldrd|strd")
_PLAIN_MULTIPLY = _mnemonics("muls?")
_SHIFTING = _mnemonics("[us]xta?[bh](16)?|[us]bfx|bf[ic]")
_DSP = _mnemonics("[us]xta?b16|pkhbt|pkhtb|rev|[us]sat|qadd")
_COPYING = _mnemonics("mov[sw]?|mvns?|[us]xt[bh](16)?|negs?|rev(16|sh)?|clz|rbit")  # two operands, and only one is read
_REGISTER = re.compile(r"\b(r\d+|sl|fp|ip|sp|lr|pc|s\d+|d\d+|q\d)\b")
_OTHER_NAMES = {"sl": "r10", "fp": "r11", "ip": "r12"}


@dataclass(frozen=True)
class Instruction:
    """What the rules ask of an instruction, and registers by name.

    `reads` includes `address`, what an address is computed from; `accumulator` is what a multiply-add adds to; `transfers`: registers
    that a load or store of several moves; `double`: it moves two; `indexed`: the offset is in a register; `shifts`: an operand goes
    through the shifter; `dsp`: one of the DSP extension. `vector`: it has a Q register, and then `memory`: it loads or stores,
    `gathered`: that many elements at addresses of their own, 0 if they lie side by side.
    """

    kind: Kind
    reads: frozenset[str]
    writes: frozenset[str]
    address: frozenset[str]
    accumulator: str | None = None
    transfers: int = 0
    double: bool = False
    indexed: bool = False
    shifts: bool = False
    dsp: bool = False
    vector: bool = False
    memory: bool = False
    gathered: int = 0

    @property
    def loads_pc(self) -> bool:
        """Whether it branches to what it loads."""
        return "pc" in self.writes


def parse_instruction(mnemonic: str, operands: str) -> Instruction:
    """An instruction as objdump writes it."""
    name = mnemonic.partition(".")[0]
    registers, brackets = _registers(operands), re.search(r"\[(.*?)\]", operands)
    kind = next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(name)), Kind.OTHER)
    if kind is Kind.OTHER and registers[:1] == ("pc",):
        kind = Kind.JUMP
    listed = _listed(operands)
    address = _registers(brackets[1]) if brackets else ()
    if kind in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
        address = () if name.startswith("p") else registers[:1]  # the stack pointer is never late
    double = bool(_DOUBLE.fullmatch(name))
    results = len(registers) if kind is Kind.LOAD_MULTIPLE else _results(kind, double)
    multiplies = kind in (Kind.MULTIPLY, Kind.MULTIPLY_ADD, Kind.LONG_MULTIPLY)
    vector = kind is Kind.VECTOR and re.search(r"\bq\d", operands) is not None
    gathered = 0
    if vector and brackets and re.search(r"\bq\d", brackets[1]):
        gathered = 128 // int(re.sub(r"\D", "", mnemonic.partition(".")[2]))
    return Instruction(
        kind=kind,
        reads=frozenset(registers if _updates(kind, name, operands) else registers[results:]) | frozenset(address),
        writes=frozenset(listed if kind is Kind.LOAD_MULTIPLE else registers[:results]),
        address=frozenset(address),
        accumulator=registers[-1] if kind is Kind.MULTIPLY_ADD else None,
        transfers=len(listed),
        double=double,
        indexed=len(address) > 1,
        shifts=bool(_SHIFTING.fullmatch(name)) or (kind is Kind.OTHER and re.search(r"\b(lsl|lsr|asr|ror) #", operands) is not None),
        dsp=bool(_DSP.fullmatch(name)) or (multiplies and not _PLAIN_MULTIPLY.fullmatch(name) and kind is not Kind.OTHER),
        vector=vector,
        memory=vector and name.startswith(("vld", "vst")),
        gathered=gathered,
    )


def _registers(text: str) -> tuple[str, ...]:
    return tuple(_OTHER_NAMES.get(name, name) for name in _REGISTER.findall(text))


def _listed(operands: str) -> tuple[str, ...]:
    """The registers between braces, ranges written out."""
    braces = re.search(r"\{(.*)\}", operands)
    names: list[str] = []
    for part in braces[1].split(",") if braces else ():
        if span := re.fullmatch(r"\s*([rsdq])(\d+)-[rsdq](\d+)\s*", part):
            names += [f"{span[1]}{number}" for number in range(int(span[2]), int(span[3]) + 1)]
        else:
            names += _registers(part)
    return tuple(names)


def _results(kind: Kind, double: bool) -> int:
    """How many of the first operands are written."""
    if kind in (Kind.LOAD, Kind.MULTIPLY, Kind.MULTIPLY_ADD, Kind.DIVIDE, Kind.VECTOR, Kind.OTHER):
        return 2 if double else 1
    return 2 if kind is Kind.LONG_MULTIPLY else 0


def _updates(kind: Kind, name: str, operands: str) -> bool:
    """Whether what is written is read as well."""
    if kind in (Kind.LONG_MULTIPLY, Kind.VECTOR) or name in ("movt", "bfi", "bfc"):
        return True
    if copying := _COPYING.fullmatch(name):
        return copying["condition"] is not None
    return kind in (Kind.MULTIPLY, Kind.OTHER) and operands.count(",") < 2


def disassemble(elf: Path, cpu: str, start: int, stop: int) -> dict[int, Instruction]:
    """The instructions at `start` <= address < `stop` of code for `cpu`."""
    vector = ["-m", "armv8.1-m.main", "-M", "force-thumb"] if cpu == "cortex-m55" else []
    span = [f"--start-address={start}", f"--stop-address={stop}"]
    command = [_DISASSEMBLER, "-d", "--no-show-raw-insn", *vector, *span, str(elf)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = re.findall(r"^ *([0-9a-f]+):\t(\S+)(?:\t([^@;\n]*))?", text, re.MULTILINE)
    parse = cache(parse_instruction)
    return {int(address, 16): parse(mnemonic, operands.strip()) for address, mnemonic, operands in lines}


def estimate_cycles(cpu: str, code: Mapping[int, Instruction], profile: Profile) -> float:
    """Cycles that `cpu`, a key of CORES, takes for what `profile` counted of `code`."""
    return CORES[cpu](code, profile)


@dataclass(frozen=True)
class _SingleIssue:
    """A core that starts one instruction after the other.

    `straight`: cycles of an instruction, given the one that ran just before it if that is the one in front of it in memory;
    `taken`: what is added when it branches, by kind; `loaded`: when it branches to what it loads.
    """

    straight: Callable[[Instruction, Instruction | None], int]
    taken: Mapping[Kind, int]
    loaded: int

    def __call__(self, code: Mapping[int, Instruction], profile: Profile) -> float:
        counted = {int(row["address"]): (int(row["size"]), int(row["executions"]), int(row["taken"])) for row in profile}
        cycles = 0
        for address, (_, executions, taken) in counted.items():
            instruction = code[address]
            before, through = _before(address, counted)
            through = min(executions, through)
            cycles += through * self.straight(instruction, None if before is None else code[before])
            cycles += (executions - through) * self.straight(instruction, None)
            cycles += taken * (self.loaded if instruction.loads_pc else self.taken.get(instruction.kind, 0))
        return float(cycles)


def _before(address: int, counted: Mapping[int, tuple[int, int, int]]) -> tuple[int | None, int]:
    """The address of the instruction in front of `address`, and how often it did not branch."""
    for size in (2, 4):
        length, executions, taken = counted.get(address - size, (0, 0, 0))
        if length == size:
            return address - size, executions - taken
    return None, 0


def _cortex_m0(instruction: Instruction, before: Instruction | None) -> int:
    match instruction.kind:
        case Kind.LOAD | Kind.STORE:
            return 2
        case Kind.LOAD_MULTIPLE | Kind.STORE_MULTIPLE:
            return 1 + instruction.transfers
    return 1


def _cortex_m3(instruction: Instruction, before: Instruction | None, multiply_add: int, long_multiply: int) -> int:
    """Loads that follow each other overlap; an address that was just computed is late."""
    cycles = 1
    after_load = before is not None and before.kind is Kind.LOAD
    match instruction.kind:
        case Kind.LOAD if instruction.double:
            cycles = 3
        case Kind.LOAD:
            cycles = 1 if before and after_load and not before.double and not before.writes & instruction.address else 2
        case Kind.STORE if instruction.double:
            cycles = 3
        case Kind.STORE:
            cycles = 2 if instruction.indexed and not after_load else 1
        case Kind.LOAD_MULTIPLE | Kind.STORE_MULTIPLE:
            cycles = 1 + instruction.transfers
        case Kind.MULTIPLY_ADD:
            cycles = multiply_add
        case Kind.LONG_MULTIPLY:
            cycles = long_multiply
        case Kind.DIVIDE:
            cycles = 6
        case Kind.TABLE_BRANCH:
            cycles = 2
        case Kind.VECTOR:  # the FPU's; libraries use none but moves, loads and stores
            cycles = 1 + instruction.transfers if instruction.transfers else 2 if instruction.address else 1
    late = before is not None and before.kind in (Kind.OTHER, Kind.MULTIPLY, Kind.MULTIPLY_ADD) and before.writes & instruction.address
    return cycles + 1 if late else cycles


def _cortex_m33(instruction: Instruction, before: Instruction | None) -> int:
    """A load's and a multiplication's result comes a cycle late, except for what a multiply-add adds up."""
    cycles = 1
    match instruction.kind:
        case Kind.LOAD | Kind.STORE if instruction.double:
            cycles = 2
        case Kind.LOAD_MULTIPLE | Kind.STORE_MULTIPLE:
            cycles = 1 + instruction.transfers
        case Kind.VECTOR if instruction.transfers > 1:  # the FPU's
            cycles = 1 + instruction.transfers
        case Kind.DIVIDE:
            cycles = 6
    if before is None or not before.writes & instruction.reads:
        return cycles
    multiplied = before.kind in (Kind.MULTIPLY, Kind.MULTIPLY_ADD) and instruction.kind is not Kind.MULTIPLY_ADD
    return cycles + 1 if before.kind is Kind.LOAD or multiplied else cycles


def _cortex_m55(instruction: Instruction, before: Instruction | None) -> int:
    """A vector is two beats; memory and arithmetic of neighbours overlap. Gathered elements come one by one. Loops are free."""
    if instruction.vector:
        if instruction.gathered:
            return instruction.gathered
        overlaps = before is not None and before.vector and before.memory != instruction.memory and not before.gathered
        return 1 if overlaps else 2
    cycles = 1
    match instruction.kind:
        case Kind.LOAD_MULTIPLE | Kind.STORE_MULTIPLE:
            cycles = 1 + (instruction.transfers + 1) // 2
        case Kind.DIVIDE:
            cycles = 6
        case Kind.LOOP_END:
            cycles = 0
    late = before is not None and before.kind is Kind.LOAD and before.writes & instruction.reads
    return cycles + 1 if late else cycles


_M7_TAKEN: Mapping[Kind, int] = {Kind.CALL: 1, Kind.JUMP: 2, Kind.TABLE_BRANCH: 4}  # branches are predicted
_M7_LATENCY = {Kind.LOAD: 2, Kind.LOAD_MULTIPLE: 2, Kind.MULTIPLY: 2, Kind.MULTIPLY_ADD: 2, Kind.LONG_MULTIPLY: 2, Kind.DIVIDE: 8}
_ALONE = (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE, Kind.DIVIDE)
_MULTIPLIES = (Kind.MULTIPLY, Kind.MULTIPLY_ADD, Kind.LONG_MULTIPLY)
_BRANCHES = (Kind.BRANCH, Kind.CALL, Kind.JUMP)


def _cortex_m7(code: Mapping[int, Instruction], profile: Profile) -> float:
    """Two instructions a cycle, in order, within straight runs of code; a run costs what it does right after itself, as in a loop."""
    cycles = 0
    for run, executions in _straight_runs(code, profile):
        issue = _DualIssue()
        first = issue.run(run)
        cycles += executions * (issue.run(run) - first)
    for row in profile:
        instruction = code[int(row["address"])]
        cycles += int(row["taken"]) * (3 if instruction.loads_pc else _M7_TAKEN.get(instruction.kind, 0))
    return float(cycles)


def _straight_runs(code: Mapping[int, Instruction], profile: Profile) -> Iterator[tuple[list[Instruction], int]]:
    """Neighbours that ran equally often, up to a branch, and how often they ran."""
    run: list[Instruction] = []
    following, count = 0, 0
    for row in profile:
        address, executions = int(row["address"]), int(row["executions"])
        if run and (address != following or executions != count):
            yield run, count
            run = []
        instruction = code[address]
        run.append(instruction)
        following, count = address + int(row["size"]), executions
        if row["taken"] or instruction.kind in _BRANCHES or instruction.loads_pc:
            yield run, count
            run = []
    if run:
        yield run, count


class _DualIssue:
    """The issue stage of a Cortex-M7: `now` is the cycle, `slot` what starts in it, `ready` when a register can be read."""

    def __init__(self) -> None:
        self.now = 0
        self.slot: list[Instruction] = []
        self.ready: dict[str, int] = {}
        self.summed: dict[str, int] = {}  # when a multiply-add can go on with another's sum

    def run(self, run: Sequence[Instruction]) -> int:
        """Issue a straight run; returns the cycle after it."""
        start = self.now
        self.slot = []
        for instruction in run:
            earliest = max([self.now, *(self._ready(name, instruction, start) for name in instruction.reads)])
            if earliest > self.now or any(_excludes(other, instruction) for other in self.slot) or len(self.slot) == 2:
                self.now, self.slot = max(earliest, self.now + 1), []
            self.slot.append(instruction)
            transfers = max(0, instruction.transfers - 1) if instruction.kind in _ALONE else 0
            for name in instruction.writes:
                self.ready[name] = self.now + _M7_LATENCY.get(instruction.kind, 1) + transfers
                self.summed.pop(name, None)
                if instruction.kind is Kind.MULTIPLY_ADD:
                    self.summed[name] = self.now + 1
            self.now += transfers
        self.now += 1
        return self.now

    def _ready(self, name: str, instruction: Instruction, start: int) -> int:
        ready = self.ready.get(name, 0)
        if instruction.shifts and ready > start:
            ready += 1  # the shifter comes first in the pipeline
        return min(ready, self.summed.get(name, ready)) if name == instruction.accumulator else ready


def _excludes(first: Instruction, second: Instruction) -> bool:
    """Whether `second` cannot start in the same cycle after `first`."""
    kinds = (first.kind, second.kind)
    return (
        any(kind in _ALONE for kind in kinds)
        or (all(kind in (Kind.LOAD, Kind.STORE) for kind in kinds) and Kind.STORE in kinds)
        or all(kind in _MULTIPLIES for kind in kinds)
        or all(kind in _BRANCHES for kind in kinds)
        or (first.shifts and second.shifts)
        or second.dsp
    )


_M3_TAKEN = {Kind.BRANCH: 2, Kind.CALL: 2, Kind.JUMP: 2, Kind.TABLE_BRANCH: 4}

CORES: Mapping[str, Callable[[Mapping[int, Instruction], Profile], float]] = {
    "cortex-m0": _SingleIssue(_cortex_m0, {Kind.BRANCH: 2, Kind.CALL: 3, Kind.JUMP: 2}, loaded=3),
    "cortex-m0plus": _SingleIssue(_cortex_m0, {Kind.BRANCH: 1, Kind.CALL: 2, Kind.JUMP: 1}, loaded=2),
    "cortex-m3": _SingleIssue(partial(_cortex_m3, multiply_add=2, long_multiply=5), _M3_TAKEN, loaded=3),
    "cortex-m4": _SingleIssue(partial(_cortex_m3, multiply_add=1, long_multiply=1), _M3_TAKEN, loaded=3),
    "cortex-m7": _cortex_m7,
    "cortex-m33": _SingleIssue(_cortex_m33, {Kind.BRANCH: 1, Kind.CALL: 2, Kind.JUMP: 2, Kind.TABLE_BRANCH: 3}, loaded=3),
    "cortex-m55": _SingleIssue(_cortex_m55, {Kind.BRANCH: 1, Kind.CALL: 1, Kind.JUMP: 2, Kind.TABLE_BRANCH: 3}, loaded=3),
}
