"""Compressed bodies: requests are read within the size limit, answers compressed for those who ask. Pure.

A request may be `gzip` (one member) or `deflate` (zlib's format; the bare format that some senders mistake for it is
read as well). The limit holds while decompressing, so a bomb costs no more memory than the largest plain body.

An answer is compressed when `Accept-Encoding` names one coding alone. A list (`gzip, deflate, br`) is what HTTP
libraries send unasked, so it is no wish: at level 1 a JSON answer costs 8 us a KiB and shrinks to half, which pays on
links below about 500 Mbit/s; raw tensors shrink by a tenth at best. Sources: RFC 1950 to 1952, RFC 9110 section 8.4.
"""

import zlib

from services.kernel.errors import TooLarge, Undecodable, UnsupportedMedia

INLINE_BYTES = 256 << 10
"""So much is decompressed or compressed on the event loop (half a millisecond, two milliseconds); more in a thread."""

LEVEL = 1

_ZLIB = 15
_GZIP = 31
_BARE = -15
_REQUEST_CODINGS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": _ZLIB}
_ANSWER_CODINGS = {b"gzip": _GZIP, b"deflate": _ZLIB}


class UnsupportedCoding(UnsupportedMedia):
    """A Content-Encoding that is not read."""


class BadCompression(Undecodable):
    """The body is not what its Content-Encoding says."""

    code = "bad-compression"


def coding_of(content_encoding: bytes) -> bytes | None:
    """The coding that a `Content-Encoding` header names, None for `identity`. Raises `UnsupportedCoding`."""
    coding = content_encoding.strip().lower()
    if coding in (b"", b"identity"):
        return None
    if coding not in _REQUEST_CODINGS:
        raise UnsupportedCoding(
            f"the content coding {coding[:50].decode('latin-1')!r} is not read: send gzip or deflate"
        )
    return coding


class Decompressor:
    """Decompresses one body of at most `limit` bytes. Raises `BadCompression` and `TooLarge`."""

    def __init__(self, body: bytes, coding: bytes, limit: int) -> None:
        window = _REQUEST_CODINGS[coding]
        if window == _ZLIB and not _has_zlib_head(body):
            window = _BARE
        self._stream = zlib.decompressobj(window)
        self._body = body
        self._limit = limit
        self._plain = b""

    def first(self) -> bytes | None:
        """The whole plain body if it is small, else None: then `rest` has it."""
        self._plain = self._more(self._body, min(INLINE_BYTES, self._limit + 1))
        return self._finished() if self._stream.eof else None

    def rest(self) -> bytes:
        """The whole plain body; takes up to 3 ms a MiB."""
        if not self._stream.eof and len(self._plain) <= self._limit:
            tail = self._stream.unconsumed_tail
            self._plain += self._more(tail, self._limit + 1 - len(self._plain))
        return self._finished()

    def _more(self, data: bytes, most: int) -> bytes:
        try:
            return self._stream.decompress(data, most)
        except zlib.error as error:
            raise BadCompression(f"the body can't be decompressed: {error}") from error

    def _finished(self) -> bytes:
        if len(self._plain) > self._limit:
            raise TooLarge(f"the body is over {self._limit} bytes when decompressed: see TRIMTAB_MAX_BODY_BYTES")
        if not self._stream.eof:
            raise BadCompression("the compressed body is cut off")
        if self._stream.unused_data:
            raise BadCompression("bytes follow the compressed body: send it as one stream (one gzip member)")
        return self._plain


def wished_coding(accept_encoding: bytes, *, listed: bool) -> bytes | None:
    """The coding for the answer to a request with this `Accept-Encoding`; None: as it is.

    `listed`: a list of codings counts as a wish too.
    """
    wish = accept_encoding.strip().lower()
    if wish in _ANSWER_CODINGS:
        return wish
    if not listed:
        return None
    for item in wish.split(b",")[:20]:
        coding, _, quality = item.partition(b";")
        if coding.strip() in _ANSWER_CODINGS and quality.strip().replace(b" ", b"") not in (
            b"q=0",
            b"q=0.0",
            b"q=0.00",
        ):
            return coding.strip()
    return None


def compressed(body: bytes, coding: bytes) -> bytes:
    """`body` in `coding`."""
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, _ANSWER_CODINGS[coding])
    return stream.compress(body) + stream.flush()


def _has_zlib_head(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
