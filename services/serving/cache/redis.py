"""A cache in Redis, or anything that speaks its protocol, which several replicas share.

Redis is asked by one task over one connection: all look-ups that came meanwhile make one round trip, and what is to be
kept goes with them. A request waits `timeout_seconds` for its look-up and goes on without it then; when the round trip
under way is older than that already, it does not wait at all. Three slow round trips in a row, one that takes a second,
or any error, and Redis is left alone for `rest_seconds`; connecting again happens beside the requests, too. There are
no retries: redis-py's own turn a time-out of 50 ms into seconds.

What is read is believed only when it is whole and was kept under this very key (`coding.py`), and no more of a value
is read than one may have.

A key is a digest of what was asked. With a secret nobody who reads Redis can test guesses of it, which matters where
the prediction log shows all of an input but the features that are redacted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from services.kernel.telemetry import get_logger
from services.serving.cache import CacheCounts
from services.serving.cache.coding import decode_outputs, encode_outputs
from services.serving.cache.key import KEY_BYTES
from services.serving.runtime import Array

log = get_logger(__name__)

_PREFIX = "trimtab:prediction:"
_ROUND_TRIP_KEYS = 256
_MOST_WAITING = 4096
_MOST_UNWRITTEN_BYTES = 4 << 20
_SLOW_IN_A_ROW = 3
_HARD_SECONDS = 1.0
"""Longest round trip and longest connecting; nobody waits for either."""

_Lookup = tuple[bytes, "asyncio.Future[bytes | None]"]


class RedisCache:
    """See `PredictionCache`. `counts.entries` stays 0: only Redis knows. `value_bytes`: largest value; `secret`: what
    makes the keys in Redis untestable, the same on all replicas."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 0.01,
        rest_seconds: float = 5.0,
        value_bytes: int = 64 << 10,
        secret: bytes | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts = CacheCounts(limit_bytes=_MOST_UNWRITTEN_BYTES)
        self.usable = False
        """Whether look-ups go to Redis at the moment."""
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._rest_seconds = rest_seconds
        self._value_bytes = value_bytes
        self._secret = None if secret is None else blake2b(secret, digest_size=64).digest()
        self._wall_clock = wall_clock
        self._lookups: deque[_Lookup] = deque()
        self._unwritten: deque[tuple[bytes, bytes, int]] = deque()
        self._begun_at: float | None = None
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, beside everything else: nobody waits for it."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="prediction-cache")

    async def stop(self) -> None:
        """Give the connection back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def get(self, key: bytes, ttl_seconds: float) -> list[Array] | None:
        """See `PredictionCache`."""
        key = self._hidden(key)
        value = None
        loop = asyncio.get_running_loop()
        stuck = self._begun_at is not None and loop.time() - self._begun_at > self._timeout_seconds
        if self.usable and not stuck and len(self._lookups) < _MOST_WAITING:
            future: asyncio.Future[bytes | None] = loop.create_future()
            self._lookups.append((key, future))
            self._work.set()
            timer = loop.call_later(self._timeout_seconds, self._give_up, future)
            try:
                value = await future
            finally:
                timer.cancel()
        outputs = None
        if value:
            outputs = decode_outputs(value, key, ttl_seconds, self._wall_clock())
            self.counts.errors += outputs is None
        if outputs is None:
            self.counts.misses += 1
        else:
            self.counts.hits += 1
        return outputs

    def put(self, key: bytes, outputs: list[Array], ttl_seconds: float) -> None:
        """See `PredictionCache`."""
        if not self.usable:
            return
        key = self._hidden(key)
        value = encode_outputs(key, outputs, self._wall_clock())
        if len(value) > self._value_bytes:
            return
        if self.counts.bytes + len(value) > _MOST_UNWRITTEN_BYTES:
            self.counts.errors += 1
            return
        self.counts.bytes += len(value)
        self._unwritten.append((key, value, max(1, int(ttl_seconds * 1000))))
        self._work.set()

    def _hidden(self, key: bytes) -> bytes:
        return key if self._secret is None else blake2b(key, key=self._secret, digest_size=KEY_BYTES).digest()

    def _give_up(self, future: "asyncio.Future[bytes | None]") -> None:
        if not future.done():
            self.counts.errors += 1
            future.set_result(None)

    async def _run(self) -> None:
        host = urlsplit(self._url).hostname  # the URL may hold a password
        complained = False
        while True:
            client = Redis.from_url(
                self._url,
                socket_timeout=_HARD_SECONDS,
                socket_connect_timeout=_HARD_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            try:
                async with asyncio.timeout(_HARD_SECONDS):
                    ping = client.ping()
                    assert not isinstance(ping, bool)  # the stubs are those of the synchronous client as well
                    await ping
                log.info("prediction_cache_connected", host=host)
                complained = False
                self.usable = True
                await self._serve(client)
            except Exception as error:  # noqa: BLE001 - no answer of a cache may end the process
                self.counts.errors += 1
                if not complained:
                    log.warning("prediction_cache_left_alone", host=host, error=repr(error))
                complained = True
            finally:
                self.usable = False
                self._forget_all()
                await _close(client)
            await asyncio.sleep(self._rest_seconds)

    async def _serve(self, client: "Redis") -> None:
        """Round trips, until one fails or several are slow. Raises `RedisError`, `OSError`, `TimeoutError`."""
        loop = asyncio.get_running_loop()
        slow = 0
        while slow < _SLOW_IN_A_ROW:
            if not self._lookups and not self._unwritten:
                self._work.clear()
                await self._work.wait()
            self._begun_at = loop.time()
            async with asyncio.timeout(_HARD_SECONDS):
                await self._round_trip(client)
            taken = loop.time() - self._begun_at
            self._begun_at = None
            slow = slow + 1 if taken > self._timeout_seconds else 0
        raise TimeoutError(f"{slow} round trips in a row took over {self._timeout_seconds:g} s")

    async def _round_trip(self, client: "Redis") -> None:
        lookups = [self._lookups.popleft() for _ in range(min(len(self._lookups), _ROUND_TRIP_KEYS))]
        lookups = [lookup for lookup in lookups if not lookup[1].done()]
        writes = [self._unwritten.popleft() for _ in range(min(len(self._unwritten), _ROUND_TRIP_KEYS))]
        self.counts.bytes -= sum(len(value) for _, value, _ in writes)
        if not lookups and not writes:
            return
        try:
            async with client.pipeline(transaction=False) as pipe:
                for key, _ in lookups:
                    pipe.getrange(_PREFIX + key.hex(), 0, self._value_bytes)  # at most one byte more than a value has
                for key, value, milliseconds in writes:
                    pipe.set(_PREFIX + key.hex(), value, px=milliseconds)
                answers = await pipe.execute(raise_on_error=False)
            self.counts.errors += sum(isinstance(answer, RedisError) for answer in answers)
            for (_, future), answer in zip(lookups, answers, strict=False):
                if not future.done():
                    future.set_result(answer if isinstance(answer, bytes) else None)
        finally:
            for _, future in lookups:
                if not future.done():
                    future.set_result(None)

    def _forget_all(self) -> None:
        self._begun_at = None
        self._unwritten.clear()
        self.counts.bytes = 0
        while self._lookups:
            _, future = self._lookups.popleft()
            if not future.done():
                future.set_result(None)


async def _close(client: "Redis") -> None:
    try:
        async with asyncio.timeout(_HARD_SECONDS):
            await client.aclose()
    except (RedisError, OSError, TimeoutError) as error:
        log.debug("prediction_cache_not_closed", error=repr(error))
