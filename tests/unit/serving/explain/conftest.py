"""Settings and an explainer with a real child."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kernel.storage import open_store
from services.serving.explain.explainer import Explainer
from services.serving.settings import ServingSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServingSettings:
    """A data folder of the test's own, and time enough for a child to start on a busy machine."""
    return ServingSettings(
        data_dir=tmp_path / "data", serving_explain_importance_rows=40, serving_explain_timeout_seconds=100
    )


@pytest.fixture
async def explainer(settings: ServingSettings) -> AsyncIterator[Explainer]:
    """An explainer whose child is started by the first question."""
    made = Explainer(settings, open_store(settings))
    yield made
    await made.stop()
