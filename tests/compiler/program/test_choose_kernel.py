"""Of several candidates one."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lutra_compiler.errors import BudgetError, LoweringError
from lutra_compiler.ir.graph import Graph
from lutra_compiler.ir.ops import Conv2d
from lutra_compiler.program.choose_kernel import Candidate, Limits, considered, fastest
from lutra_compiler.program.cost_model import cycles, program_cycles
from lutra_compiler.program.footprint import footprint
from lutra_compiler.program.kernels import KERNELS
from lutra_compiler.program.lower import lower
from lutra_compiler.program.program import Program
from lutra_compiler.target import TARGETS, target_by_name
from quantized_graphs import coded, graph
from random_programs import RandomBuilder


def candidate(cycles: float, scratch: int = 0, objection: str = "", block: int = 0) -> Candidate:
    fields = dict.fromkeys(KERNELS["lutra_conv2d_lut"].descriptor.fields, 0) | {"block": block}
    return Candidate("lutra_conv2d_lut", fields, (), cycles, 100, scratch, objection)


def test_the_fastest_candidate_is_taken():
    assert fastest([candidate(300), candidate(100, scratch=5000), candidate(200)]).cycles == 100


def test_of_equally_fast_ones_that_of_less_scratch_memory():
    assert fastest([candidate(100, scratch=900), candidate(101, scratch=100), candidate(110)]).scratch_bytes == 100


def test_none_that_is_slower_than_int8_weights():
    int8 = replace(candidate(100, scratch=900), kernel="lutra_conv2d_dense")
    assert fastest([int8, candidate(101, scratch=100), candidate(110)]) == int8
    assert fastest([int8, candidate(99), candidate(100)]).cycles == 99


def test_one_with_an_objection_is_not_taken():
    assert fastest([candidate(100, objection="flash"), candidate(200)]).cycles == 200


def test_the_reasons_against_the_others_are_told():
    chosen = candidate(100, scratch=50, block=8)
    others = [candidate(250, block=16), candidate(10, objection="flash", block=8), candidate(99, scratch=80, block=24)]
    told = {record.cycles: record for record in considered([chosen, *others], [], chosen)}
    assert told[100].why_not == ""
    assert told[250].why_not == "2.5 times the cycles"
    assert told[10].why_not == "flash"
    assert told[99].why_not == "30 bytes of RAM more"
    assert told[99].settings == {"block": 24}
    assert list(told) == [10, 99, 100, 250]


def test_a_kernel_that_is_not_linked_is_told():
    slower = replace(candidate(105, scratch=50), kernel="lutra_conv2d_decode")
    told = [record.why_not for record in considered([slower, candidate(100)], [], slower)]
    assert told == ["left out to save flash, or another was asked for", ""]


# In a network


def chain(*channels: int, ram: int | None = None, flash: int | None = None, subvector: int = 2, target: str = "cortex-m4") -> Program:
    layers = list(enumerate(pairwise(channels)))
    ops = [Conv2d(name=f"c{i}", inputs=(f"v{i}",), output=f"v{i + 1}", weight=f"w{i}", padding=(1, 1, 1, 1)) for i, _ in layers]
    weights = {f"w{i}": coded((out, 3, 3, fan_in), subvector=subvector, largest=20) for i, (fan_in, out) in layers}
    return lower(graph(ops, {"v0": (8, 8, channels[0])}, weights), target_by_name(target), Limits(ram=ram, flash=flash))


@pytest.mark.parametrize("target", [target.name for target in TARGETS])
def test_the_record_names_the_chosen_kernel_and_its_scratch_memory(target: str):
    program = chain(8, 40, 16, target=target)
    for call in program.calls:
        (chosen,) = (record for record in call.layer.candidates if not record.why_not)
        assert chosen.kernel == call.kernel
        assert all(call.fields[name] == value for name, value in chosen.settings.items())
        assert chosen.scratch_bytes == program.buffers[call.scratch].size_bytes
        rivals = [record for record in call.layer.candidates if record.cycles and not re.search("bytes of flash|vectors", record.why_not)]
        assert chosen.cycles <= 1.02 * min(record.cycles for record in rivals)


def test_without_a_limit_every_layer_has_what_it_wants():
    assert chain(8, 40, 16, ram=footprint(chain(8, 40, 16)).ram).calls == chain(8, 40, 16).calls


def heavy_and_light(channels: int) -> Graph:
    """A convolution that takes the time, and one of a few pixels."""
    heavy = Conv2d(name="heavy", inputs=("x",), output="y", weight="a", padding=(4, 4, 4, 4))
    light = Conv2d(name="light", inputs=("y",), output="z", weight="b", stride=(8, 8), padding=(1, 1, 1, 1))
    weights = {"a": coded((16, 9, 9, 16), subvector=8, largest=7), "b": coded((channels, 3, 3, 16), subvector=2, largest=100)}
    return graph([heavy, light], {"x": (16, 16, 16)}, weights)


@pytest.mark.parametrize(("channels", "saved"), [(128, "ram"), (64, "flash")])
def test_a_program_a_little_slower_is_taken_where_that_saves_memory(channels: int, saved: str):
    source, target = heavy_and_light(channels), target_by_name("cortex-m4")
    fast, taken = lower(source, target, choose=fastest), lower(source, target)
    assert getattr(footprint(taken), saved) < 0.85 * getattr(footprint(fast), saved)
    assert program_cycles(fast) < program_cycles(taken) <= 1.02 * program_cycles(fast)
    needed = footprint(fast), footprint(taken)
    room = Limits(ram=max(part.ram for part in needed), flash=max(part.flash for part in needed))
    assert lower(source, target, room).calls == taken.calls
    tight = lower(source, target, Limits(ram=footprint(fast).ram, flash=footprint(fast).flash))
    assert footprint(tight).ram <= footprint(fast).ram
    assert footprint(tight).flash <= footprint(fast).flash
    assert program_cycles(tight) <= 1.02 * program_cycles(fast)


def test_a_limit_of_flash_leaves_the_ram_low():
    source, target = heavy_and_light(128), target_by_name("cortex-m55")
    tight = lower(source, target, Limits(flash=footprint(lower(source, target)).flash - 1))
    linked = {call.kernel for call in tight.calls}

    def fastest_of_these(candidates: Sequence[Candidate]) -> Candidate:
        return fastest([candidate for candidate in candidates if candidate.kernel in linked])

    assert footprint(tight).ram < 0.8 * footprint(lower(source, target, choose=fastest_of_these)).ram


@pytest.mark.parametrize("part", [0.9, 0.8, 0.7])
def test_a_limit_takes_scratch_memory_from_the_layers_at_the_peak(part: float):
    free = chain(8, 40, 40, 4)
    limit = int(part * footprint(free).ram)
    tight = chain(8, 40, 40, 4, ram=limit)
    assert footprint(tight).ram <= limit
    peaks = [call for call in range(3) if alive(free, call) + footprint(free).stack > limit]
    changed = [i for i, (a, b) in enumerate(zip(free.calls, tight.calls, strict=True)) if (a.kernel, a.fields) != (b.kernel, b.fields)]
    assert changed == peaks


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m4", "cortex-m55"])
def test_a_limit_is_kept_by_kernels_that_write_over_their_input_though_they_need_more_scratch_memory(target: str):
    ops = [Conv2d(name=f"c{i}", inputs=(f"v{i}",), output=f"v{i + 1}", weight=f"w{i}", padding=(1, 1, 1, 1)) for i in range(3)]
    source = graph(ops, {"v0": (16, 16, 32)}, {f"w{i}": coded((32, 3, 3, 32), subvector=8, largest=7) for i in range(3)})

    def smallest_of_tables(candidates: Sequence[Candidate]) -> Candidate:
        return min((c for c in candidates if c.kernel == "lutra_conv2d_lut"), key=lambda candidate: candidate.scratch_bytes)

    reachable = footprint(lower(source, target_by_name(target), choose=smallest_of_tables)).ram
    assert footprint(lower(source, target_by_name(target), Limits(ram=reachable))).ram <= reachable


@pytest.mark.parametrize("seed", [8, 64, 107, 144, 300, 372])
def test_a_limit_that_some_kernels_keep_is_not_refused(seed: int):
    source = RandomBuilder(np.random.default_rng([seed, 0]), np.random.default_rng([seed, 0, 2])).graph()
    programs = []
    for tried in range(12):
        rng = np.random.default_rng(tried)

        def some(candidates: Sequence[Candidate], rng: np.random.Generator = rng) -> Candidate:
            welcome = [candidate for candidate in candidates if not candidate.objection]
            return welcome[rng.integers(len(welcome))]

        programs.append(lower(source, target_by_name("cortex-m0"), choose=some))
    reachable = min(footprint(program).ram for program in programs)
    assert footprint(lower(source, target_by_name("cortex-m0"), Limits(ram=reachable))).ram <= reachable


def alive(program: Program, call: int) -> int:
    """Bytes between the beginnings and ends of all buffers in use, of which convolutions by tables share some."""
    places = {byte for b in program.buffers if b.first <= call <= b.last for byte in range(b.offset, b.offset + b.size_bytes)}
    return len(places)


def test_a_limit_counts_coded_indices_with_the_layer_they_are_for():
    op = Conv2d(name="c", inputs=("x",), output="y", weight="w", padding=(1, 1, 1, 1))
    source = graph([op], {"x": (8, 8, 40)}, {"w": replace(coded((40, 3, 3, 40), subvector=2, largest=20), coded=True)})
    free = lower(source, target_by_name("cortex-m4"))
    tight = lower(source, target_by_name("cortex-m4"), Limits(ram=free.arena_bytes - 100))
    assert tight.arena_bytes <= free.arena_bytes - 100
    assert [call.kernel for call in tight.calls] == ["lutra_unpack_indices", tight.calls[1].kernel]
    with pytest.raises(LoweringError, match=r"layer 'c' needs .* and its decoded indices, the limit is"):
        lower(source, target_by_name("cortex-m4"), Limits(ram=40 * 9 * 20 // 2))


def test_a_limit_that_cannot_be_kept_names_the_layer_and_what_it_needs():
    with pytest.raises(LoweringError, match=r"layer 'c1' needs \d+ bytes of RAM with .*, the limit is 3000; allow more"):
        chain(8, 40, 40, 4, ram=3000)


def test_a_limit_of_flash_takes_the_fastest_kernels_whose_code_fits():
    free = chain(32, 40, 16, subvector=8)
    limits = range(footprint(free).flash, smallest_flash(), -100)
    found = [chain(32, 40, 16, flash=limit, subvector=8) for limit in limits]
    assert len({tuple(call.kernel for call in program.calls) for program in found}) > 1
    assert all(footprint(program).flash <= limit for program, limit in zip(found, limits, strict=True))
    taken = [sum(cycles(call.kernel, call.fields, "cortex-m4") for call in program.calls) for program in found]
    assert taken == sorted(taken)
    assert {program.model_bytes for program in found} == {free.model_bytes}


def smallest_flash() -> int:
    """What the error says that the network needs at least."""
    with pytest.raises(BudgetError, match=r"the limit is 100; allow more") as caught:
        chain(32, 40, 16, flash=100, subvector=8)
    needed = int(re.search(r"needs (\d+) bytes of flash with the smallest kernels", str(caught.value))[1])
    assert footprint(chain(32, 40, 16, flash=needed, subvector=8)).flash == needed
    return needed


def test_a_limit_below_the_values_alone_is_refused():
    with pytest.raises(LoweringError, match="the limit is 10"):
        chain(8, 40, ram=10)
