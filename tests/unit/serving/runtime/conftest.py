"""SavedModels, made once for all tests of the runtimes."""

from pathlib import Path

import pytest

from tests.saved_models import save_all


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `tests.saved_models`."""
    return save_all(tmp_path_factory.mktemp("saved-models"))
