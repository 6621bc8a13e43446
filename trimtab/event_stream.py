"""Server-sent events, read line by line.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ServerEvent:
    """One event: its id (where to go on after a break), its CloudEvents type and the JSON document."""

    id: str
    type: str
    data: dict[str, Any]


class EventReader:
    """Feed it lines without their line ends; it returns an event when a blank line completes one.

    >>> reader = EventReader()
    >>> [reader.feed(line) for line in ("id: 7", "event: a.b.v1", 'data: {"x": 1}', "")][-1]
    ServerEvent(id='7', type='a.b.v1', data={'x': 1})
    """

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._data: list[str] = []

    def feed(self, line: str) -> ServerEvent | None:
        """The event that `line` completes, or None. Comments (heartbeats) are passed over."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name:
                self._fields[name] = value
            return None
        fields, data = self._fields, self._data
        self._fields, self._data = {}, []
        if not data:
            return None
        return ServerEvent(fields.get("id", ""), fields.get("event", "message"), json.loads("\n".join(data)))
