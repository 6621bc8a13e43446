"""The event stream: bounded, ordered, resumable."""

import asyncio
from pathlib import Path

import pytest

from services.kernel.errors import Overloaded
from trimtab.ui.feed import Feed, FeedEvent, Subscription, events_of
from trimtab.ui.settings import UiSettings


def _event(number: int, model_id: str = "m", topic: str = "loop-events") -> FeedEvent:
    return FeedEvent(f"{topic}/0/{number}", topic, "a.v1", model_id, {"number": number})


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(UiSettings(data_dir=tmp_path, ui_event_buffer=4, ui_event_history=10, ui_event_clients=2))


async def _take(
    feed: Feed, subscription: Subscription, count: int, topics: tuple[str, ...] = (), model_id: str | None = None
) -> list[int | None]:
    found: list[int | None] = []
    stream = events_of(feed, subscription, frozenset(topics), model_id, 0.01, lambda: False)
    async for event in stream:
        found.append(None if event is None else event.document["number"])
        if len(found) == count:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return found


async def test_every_reader_gets_every_event_in_order(feed: Feed) -> None:
    first, second = feed.subscribe(), feed.subscribe()
    for number in range(3):
        feed.publish(_event(number))
    assert await _take(feed, first, 3) == [0, 1, 2]
    assert await _take(feed, second, 3) == [0, 1, 2]


async def test_a_reader_chooses_topics_and_a_model(feed: Feed) -> None:
    reader = feed.subscribe()
    feed.publish(_event(0, model_id="other"))
    feed.publish(_event(1, topic="model-events"))
    feed.publish(_event(2))
    assert await _take(feed, reader, 1, ("loop-events",), "m") == [2]


async def test_silence_is_a_heartbeat(feed: Feed) -> None:
    assert await _take(feed, feed.subscribe(), 2) == [None, None]


async def test_a_slow_reader_gets_what_its_buffer_held_and_is_sent_away(feed: Feed) -> None:
    reader = feed.subscribe()
    for number in range(6):
        feed.publish(_event(number))
    stream = events_of(feed, reader, frozenset(), None, 1.0, lambda: False)
    assert [event.document["number"] async for event in stream if event] == [0, 1, 2, 3]
    assert [event.document["number"] for event in feed.recent()] == [0, 1, 2, 3, 4, 5]


async def test_a_reader_goes_on_where_it_broke_off(feed: Feed) -> None:
    for number in range(5):
        feed.publish(_event(number))
    assert await _take(feed, feed.subscribe("loop-events/0/2"), 2) == [3, 4]
    assert feed.subscribe("loop-events/0/99").queue.empty()


async def test_too_many_readers_are_refused_until_one_leaves(feed: Feed) -> None:
    first, _ = feed.subscribe(), feed.subscribe()
    with pytest.raises(Overloaded):
        feed.subscribe()
    feed.unsubscribe(first)
    feed.subscribe()


async def test_a_stream_ends_when_the_process_stops(feed: Feed) -> None:
    stopping = asyncio.Event()
    stream = events_of(feed, feed.subscribe(), frozenset(), None, 60.0, stopping.is_set)
    stopping.set()
    assert [event async for event in stream] == []
