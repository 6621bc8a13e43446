"""The end of what came into the store half-way and was forgotten: no process knows of it any more."""

import re
import time
from datetime import UTC, datetime

from services.kernel.artifacts import BLOBS
from services.kernel.storage import ArtifactStore
from services.registry.arrivals.direct import INCOMING
from services.registry.keeping.garbage import VERSIONS
from services.registry.keeping.report import Graces

_ARRIVED = re.compile(rf"{INCOMING}/[0-9a-f]{{32}}")


def end_writes(store: ArtifactStore, graces: Graces) -> int:
    """End the writes under `blobs/` and `models/` that began a grace ago, and the uploads straight to the store whose
    time was over a grace ago: their parts, or the objects made of them. How many that were. Blocking."""
    now = time.time()
    before = datetime.fromtimestamp(now - graces.seconds, UTC)
    ended = sum(store.end_writes(folder, before) for folder in (BLOBS, VERSIONS))
    if store.direct is None:
        return ended
    over = datetime.fromtimestamp(now - graces.seconds - graces.upload_seconds, UTC)
    ended += store.end_writes(INCOMING, over)
    for item in store.list(INCOMING):
        if _ARRIVED.fullmatch(item.key) and item.modified < over:
            store.delete(item.key)
            ended += 1
    return ended
