"""The one name that a user chooses and that reaches C: the bundle's prefix."""

import re

from lutra_compiler.errors import ConfigurationError

_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,31}")

_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await co_return
    co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do double dynamic_cast
    else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return short signed sizeof static
    static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename typeof typeof_unqual
    union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
_NAMES = re.compile(r"main|std|errno|final|override|u?int(_least|_fast)?[0-9]+_t|u?int(max|ptr)_t|(s?size|ptrdiff|max_align|wint)_t")

# PREFIX.h must not be found in place of a system header.
_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbit stdbool
    stdckdint stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar wchar wctype
    alloca fcntl features malloc memory poll pthread sched semaphore syslog unistd utime windows
"""

_OWN = "bundle network simulator"  # files and names of the programs that Lutra links a bundle with: boards/common, host/csrc


def check_prefix(prefix: str) -> None:
    """Raises ConfigurationError unless `prefix` can begin C and C++ names and name the bundle's files."""
    if problem := _problem(prefix):
        raise ConfigurationError(f"the prefix {prefix!a} {problem}; choose another name, such as 'model' or 'keyword_net'")


def _problem(prefix: str) -> str | None:
    if not _PREFIX.fullmatch(prefix):
        return "must be 1 to 32 characters: a lower-case letter, then lower-case letters, digits and underscores"
    if prefix.startswith("lutra"):
        return "begins with 'lutra', which the runtime keeps for itself"
    if "__" in prefix or prefix.endswith("_"):
        return "leads to double underscores, which C++ reserves"
    if prefix.endswith("_data"):
        return f"would name its header as the bundle {prefix.removesuffix('_data')!a} names its tables"
    if prefix in _KEYWORDS.split():
        return "is a keyword of C or C++"
    if _NAMES.fullmatch(prefix):
        return "is a name of the C or C++ language"
    if prefix in _HEADERS.split():
        return f"would hide the system header <{prefix}.h>"
    if prefix in _OWN.split():
        return "is a name in the programs that Lutra links bundles with"
    return None
