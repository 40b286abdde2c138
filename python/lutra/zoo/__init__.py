"""Networks, data sets and released artefacts.

`NETWORK` names the default point of a network, `NETWORK/POINT` another; `NETWORK/float` is the float network that all come from.
"""

from pathlib import Path

from lutra_compiler.driver import Model, read_model
from lutra_compiler.errors import ConfigurationError, ModelError
from lutra_compiler.records import nearest

PREFIX = "zoo:"
_ARTEFACTS = Path(__file__).parent / "artefacts"
_RECIPES = Path(__file__).parent / "recipes"


def names() -> tuple[str, ...]:
    """All points there are, the default of each network as the network's name alone."""
    return tuple(sorted(map(_name, _ARTEFACTS.glob("*.lutra"))))


def artefact(name: str) -> Path:
    """The `.lutra` file of a point. Raises ModelError."""
    if name not in names():
        raise ModelError(f"the zoo has no '{name}'; {nearest(name, names())}")
    return _ARTEFACTS / f"{name.replace('/', '-', 1)}.lutra"


def load(name: str) -> Model:
    """A point of the zoo."""
    return read_model(artefact(name))


def recipe(name: str) -> Path:
    """The TOML file of settings that a compressed point is made with. Raises ConfigurationError."""
    known = {_name(path): path for path in _RECIPES.glob("*.toml")}
    if name not in known:
        raise ConfigurationError(f"the zoo has no recipe '{name}'; {nearest(name, known)}")
    return known[name]


def float_name(name: str) -> str:
    """The point of the float network that `name` comes from."""
    return f"{name.partition('/')[0]}/float"


def _name(path: Path) -> str:
    return path.stem.replace("-", "/", 1)
