"""Answers that are sent while they are made, and may break off in the middle."""

from fastapi.responses import StreamingResponse
from starlette.types import Send

from services.kernel.errors import TrimtabError
from services.kernel.telemetry import get_logger

log = get_logger(__name__)


class Stream(StreamingResponse):
    """An answer in pieces. One of our errors on the way is one line in the log, and the connection ends before the
    answer does: whoever reads it can tell, by its length or its last chunk, that there is more."""

    async def stream_response(self, send: Send) -> None:
        """Send head and pieces; on an error nothing more."""
        try:
            await super().stream_response(send)
        except TrimtabError as error:
            log.error("answer_broke_off", code=error.code, error=error.detail)
