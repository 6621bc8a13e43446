"""In which order outbox rows are sent."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.kernel.bus.outbox import _rounds


def row(seq: int, key: str, revised: bool) -> Any:
    headers = '[["ce_revision", "1"]]' if revised else "[]"
    return SimpleNamespace(seq=seq, topic="model-events", key=key, headers=headers)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40))
def test_every_row_is_sent_once_and_revisions_of_an_entity_one_after_the_other(items: list[tuple[str, bool]]) -> None:
    rows = [row(seq, key, revised) for seq, (key, revised) in enumerate(items)]
    rounds = _rounds(rows)
    assert sorted(r.seq for together in rounds for r in together) == list(range(len(rows)))
    for key in "abc":
        sent = [[r.seq for r in together if r.key == key and "revision" in r.headers] for together in rounds]
        assert all(len(together) <= 1 for together in sent)
        order = [seq for together in sent for seq in together]
        assert order == sorted(order)


def test_rows_without_a_revision_share_the_first_round() -> None:
    assert [len(together) for together in _rounds([row(seq, "a", False) for seq in range(500)])] == [500]
