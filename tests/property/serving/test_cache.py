"""The prediction cache: one key for one question, nothing believed that was not kept, bounded whatever comes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.serving.cache.coding import decode_outputs, encode_outputs
from services.serving.cache.key import key_of
from services.serving.cache.memory import ENTRY_OVERHEAD_BYTES, MemoryCache
from services.serving.columns import Layout
from services.serving.runtime import Array

KEY = b"k" * 32
LAYOUT = Layout(
    Signature(
        inputs=(
            Feature(name="a", dtype=DType.FLOAT32),
            Feature(name="s", dtype=DType.STRING),
            Feature(name="t", dtype=DType.STRING),
            Feature(name="n", dtype=DType.INT64),
            Feature(name="v", dtype=DType.FLOAT64, shape=(2,)),
        ),
        outputs=(Output(name="y", dtype=DType.FLOAT32, shape=(1,), role=OutputRole.VALUE),),
    )
)
numbers = st.integers(-(2**20), 2**20).map(float)
row = st.tuples(
    numbers,
    st.text(max_size=4),
    st.text(max_size=4),
    st.integers(-(2**63), 2**63 - 1),
    st.tuples(numbers, numbers).map(np.array),
)
rows = st.lists(row, min_size=1, max_size=4)


def plain(some: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [tuple(v.tolist() if isinstance(v, np.ndarray) else v for v in one) for one in some]


@given(rows, rows, st.sampled_from("ab"), st.sampled_from("ab"))
def test_keys_are_equal_for_the_same_version_and_input_and_only_then(
    one: list[tuple[object, ...]], other: list[tuple[object, ...]], version: str, second: str
) -> None:
    same = version == second and plain(one) == plain(other)
    assert (key_of(version, LAYOUT.from_rows(one)) == key_of(second, LAYOUT.from_rows(other))) is same


@given(rows)
def test_the_way_that_the_rows_came_in_makes_no_difference(some: list[tuple[object, ...]]) -> None:
    columns = LAYOUT.from_rows(some)
    joined = Layout.join([LAYOUT.from_rows([one]) for one in some])
    cut = Layout.take(Layout.join([columns, columns]), slice(len(some), 2 * len(some)))
    assert key_of("v", columns) == key_of("v", joined) == key_of("v", cut)


def test_texts_do_not_run_into_each_other() -> None:
    one = LAYOUT.from_rows([(1.0, "ab", "c", 1, np.zeros(2))])
    other = LAYOUT.from_rows([(1.0, "a", "bc", 1, np.zeros(2))])
    assert key_of("v", one) != key_of("v", other)


arrays = st.one_of(
    st.lists(st.floats(width=32), min_size=1, max_size=6).map(lambda v: np.array(v, dtype=np.float32)),
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=3).map(np.array),
    st.lists(st.text(max_size=5), min_size=1, max_size=4).map(lambda v: np.array(v, dtype=object)),
)


@given(st.lists(arrays, min_size=1, max_size=3))
def test_outputs_come_back_as_they_were_kept(outputs: list[Array]) -> None:
    back = decode_outputs(encode_outputs(KEY, outputs, 1000.0), KEY, 60, 1001.0)
    assert back is not None
    for kept, got in zip(outputs, back, strict=True):
        assert (kept.dtype, kept.shape) == (got.dtype, got.shape)
        np.testing.assert_array_equal(kept, got)
        assert not got.flags.writeable


@given(st.binary(max_size=300))
def test_bytes_of_any_origin_are_no_answer(value: bytes) -> None:
    assert decode_outputs(value, KEY, 60, 1000.0) is None


@settings(max_examples=300)
@given(st.data())
def test_a_changed_value_is_no_answer(data: st.DataObject) -> None:
    value = bytearray(encode_outputs(KEY, [np.array([[0.25, 0.75]], dtype=np.float32)], 1000.0))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] ^= data.draw(st.integers(1, 255))
    assert decode_outputs(bytes(value), KEY, 60, 1001.0) is None
    cut = data.draw(st.integers(0, len(value) - 1))
    assert decode_outputs(bytes(value[:cut]), KEY, 60, 1001.0) is None


def test_a_value_of_another_key_or_another_time_is_no_answer() -> None:
    value = encode_outputs(KEY, [np.ones(1)], 1000.0)
    assert decode_outputs(value, KEY, 60, 1059.9) is not None
    assert decode_outputs(value, b"x" * 32, 60, 1001.0) is None
    assert decode_outputs(value, KEY, 60, 1060.0) is None
    assert decode_outputs(value, KEY, 60, 900.0) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 200), st.booleans()), max_size=60))
async def test_memory_is_bounded_and_counted_whatever_is_asked(steps: list[tuple[int, int, bool]]) -> None:
    limit = 8 * (ENTRY_OVERHEAD_BYTES + 400)
    cache = MemoryCache(limit, lambda: 0.0)
    last: dict[bytes, int] = {}
    for number, length, read in steps:
        key = number.to_bytes(2, "little")
        if read:
            found = await cache.get(key, 60)
            if found is not None:
                assert found[0].tolist() == [number] * last[key]
        else:
            cache.put(key, [np.full(length, number, dtype=np.float32)], 60)
            if ENTRY_OVERHEAD_BYTES + 4 * length <= limit / 8:
                last[key] = length
        assert cache.counts.bytes <= limit
        assert cache.counts.entries == len(cache._entries)
        assert cache.counts.bytes == sum(entry.size for entry in cache._entries.values())


async def test_the_least_recently_used_goes_first_and_old_entries_are_gone() -> None:
    now = 0.0
    size = ENTRY_OVERHEAD_BYTES + 4
    cache = MemoryCache(8 * size, lambda: now)
    for number in range(8):
        cache.put(bytes([number]), [np.array([number], dtype=np.float32)], 60)
    assert await cache.get(b"\0", 60) is not None
    cache.put(b"new", [np.array([9], dtype=np.float32)], 60)
    assert await cache.get(b"\1", 60) is None
    assert await cache.get(b"\0", 60) is not None
    assert cache.counts.evicted == 1
    now = 60.0
    assert await cache.get(b"\0", 60) is None
    assert await cache.get(b"new", 61) is not None
    assert (cache.counts.hits, cache.counts.misses) == (3, 2)


async def test_a_batch_is_not_kept_alive_by_one_of_its_rows() -> None:
    cache = MemoryCache(1 << 20)
    batch = np.zeros((1000, 3), dtype=np.float32)
    cache.put(b"k", [batch[5:6]], 60)
    found = await cache.get(b"k", 60)
    assert found is not None
    assert found[0].base is None
    batch[5] = 7
    assert found[0].tolist() == [[0, 0, 0]]
