import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutra_compiler.codegen.identifiers import check_prefix
from lutra_compiler.errors import ConfigurationError


@pytest.mark.parametrize("prefix", ["a", "lenet5", "keyword_net", "a" * 32, "integer", "mainly", "int8", "luther"])
def test_a_plain_name_is_accepted(prefix: str):
    check_prefix(prefix)


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        ("", "1 to 32 characters"),
        ("a" * 33, "1 to 32 characters"),
        ("Lenet", "lower-case"),
        ("5net", "lower-case"),
        ("_net", "lower-case"),
        ("net-a", "lower-case"),
        ("net\n", "lower-case"),
        ("nét", "lower-case"),
        ("../net", "lower-case"),
        ("lutra", "runtime keeps for itself"),
        ("lutra_net", "runtime keeps for itself"),
        ("net__a", "double underscores"),
        ("net_", "double underscores"),
        ("net_data", "as the bundle 'net' names its tables"),
        ("int", "keyword"),
        ("class", "keyword"),
        ("restrict", "keyword"),
        ("main", "name of the C or C"),
        ("int8_t", "name of the C or C"),
        ("uint_fast16_t", "name of the C or C"),
        ("size_t", "name of the C or C"),
        ("string", "<string.h>"),
        ("stdint", "<stdint.h>"),
        ("bundle", "programs that Lutra links"),
        ("network", "programs that Lutra links"),
        ("simulator", "programs that Lutra links"),
    ],
)
def test_any_other_name_is_refused_with_the_reason_and_a_remedy(prefix: str, reason: str):
    with pytest.raises(ConfigurationError, match="choose another name") as caught:
        check_prefix(prefix)
    assert reason in str(caught.value)


@given(st.text())
def test_no_text_gets_through_that_c_could_misread(prefix: str):
    try:
        check_prefix(prefix)
    except ConfigurationError:
        return
    assert prefix.isascii()
    assert prefix.isidentifier()


@given(st.text())
def test_a_refusal_is_safe_to_print(prefix: str):
    with pytest.raises(ConfigurationError, match=r"^[ -~]*$"):
        check_prefix(f"{prefix}-")
