"""What is on its way into the store: the blobs that come in pieces, by either way, and the end of those left behind."""

import asyncio

from services.kernel.errors import TrimtabError
from services.kernel.storage import ArtifactStore
from services.kernel.telemetry import get_logger
from services.registry.arrivals.blobs import Blobs
from services.registry.arrivals.direct import DirectBlobs
from services.registry.arrivals.partials import Partials
from services.registry.settings import RegistrySettings

log = get_logger(__name__)

SWEEP_SECONDS = 600.0


class Uploads:
    """The unfinished uploads below `settings.uploads_dir`. `run` is the task that removes the forgotten ones."""

    def __init__(self, settings: RegistrySettings, store: ArtifactStore) -> None:
        max_bytes = settings.registry_uploads_bytes
        keep_seconds = settings.registry_upload_hours * 3600
        self._partials = Partials(settings.uploads_dir / "pieces", max_bytes, keep_seconds)
        self.blobs = Blobs(store, self._partials)
        self.direct = DirectBlobs(store, self._partials, settings.uploads_dir / "direct", max_bytes, keep_seconds)

    async def run(self) -> None:
        """For ever: sweep, wait."""
        while True:
            try:
                swept = await asyncio.to_thread(lambda: self._partials.sweep() + self.direct.sweep())
            except (OSError, TrimtabError) as error:
                log.warning("uploads_not_swept", error=str(error))
            else:
                if swept:
                    log.info("uploads_swept", uploads=swept)
            await asyncio.sleep(SWEEP_SECONDS)
