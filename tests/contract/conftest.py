"""The backends that every contract holds on."""

from pathlib import Path

import pytest

from services.kernel.settings import Settings
from services.kernel.storage import ArtifactStore, open_store
from tests.contract.stores import s3_settings


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """An empty store: a local folder, then a bucket of a real S3 server."""
    if request.param == "local":
        return open_store(Settings(storage_dir=tmp_path / "artifacts"))
    return open_store(s3_settings(request.getfixturevalue("s3_server"), request.getfixturevalue("s3_bucket")))
