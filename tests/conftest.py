"""What tests of several folders share. This file also makes tests/ importable: pytest puts its folder on the path."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("lutra", deadline=None)  # a busy machine is no failure
settings.load_profile("lutra")


@pytest.fixture(scope="module")
def host_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled bundles go to a folder of this test session instead of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTRA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield
