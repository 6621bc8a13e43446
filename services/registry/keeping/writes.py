"""The end of writes into the store that never ended themselves."""

import time
from datetime import UTC, datetime

from services.kernel.artifacts import BLOBS
from services.kernel.storage import ArtifactStore
from services.registry.keeping.garbage import VERSIONS
from services.registry.keeping.report import Graces


def end_writes(store: ArtifactStore, graces: Graces) -> int:
    """End what began a grace ago under `blobs/` and `models/`; how many that were. Blocking."""
    before = datetime.fromtimestamp(time.time() - graces.seconds, UTC)
    return sum(store.end_writes(folder, before) for folder in (BLOBS, VERSIONS))
