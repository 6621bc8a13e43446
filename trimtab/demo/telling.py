"""How the story is told: live lines on a terminal, JSON lines anywhere else."""

import json
import sys
import time
from typing import Any, Protocol, TextIO


class Telling(Protocol):
    """The teller. Steps do not nest."""

    def begin(self, step: str, title: str) -> None:
        """A step begins."""

    def progress(self, text: str) -> None:
        """Where the step stands."""

    def note(self, text: str) -> None:
        """Something happened that a reader may want to know for good."""

    def done(self, found: str, facts: dict[str, Any]) -> None:
        """The step is done and verified."""

    def failed(self, why: str, facts: dict[str, Any]) -> None:
        """The step failed; nothing comes after it."""

    def result(self, facts: dict[str, Any]) -> None:
        """The end of the story: everything measured."""


class JsonTelling:
    """One JSON object a line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._began = time.monotonic()
        self._step, self._step_began = "", 0.0

    def _line(self, event: str, **facts: Any) -> None:
        line = {"event": event, "step": self._step, "at_seconds": round(time.monotonic() - self._began, 2), **facts}
        print(json.dumps(line, default=str), file=self._stream, flush=True)

    def begin(self, step: str, title: str) -> None:
        """See `Telling`."""
        self._step, self._step_began = step, time.monotonic()
        self._line("begin", title=title)

    def progress(self, text: str) -> None:
        """See `Telling`. Not told here: the notes and the results are."""

    def note(self, text: str) -> None:
        """See `Telling`."""
        self._line("note", text=text)

    def done(self, found: str, facts: dict[str, Any]) -> None:
        """See `Telling`."""
        self._line("done", found=found, seconds=round(time.monotonic() - self._step_began, 2), facts=facts)

    def failed(self, why: str, facts: dict[str, Any]) -> None:
        """See `Telling`."""
        self._line("failed", why=why, facts=facts)

    def result(self, facts: dict[str, Any]) -> None:
        """See `Telling`."""
        self._step = ""
        self._line("result", **facts)


class TerminalTelling:
    """A line a step, with a live one below while it runs, and the table at the end."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._status = self._console.status("")
        self._title, self._step_began, self._began = "", 0.0, time.monotonic()

    def begin(self, step: str, title: str) -> None:
        """See `Telling`."""
        self._title, self._step_began = title, time.monotonic()
        self.progress("")
        self._status.start()

    def progress(self, text: str) -> None:
        """See `Telling`."""
        from rich.markup import escape

        self._status.update(f"{self._title}  [dim]{escape(text)}[/dim]")

    def note(self, text: str) -> None:
        """See `Telling`."""
        from rich.text import Text

        self._console.print(Text(f"    {time.monotonic() - self._began:5.1f} s  {text}", "dim"))

    def done(self, found: str, facts: dict[str, Any]) -> None:
        """See `Telling`."""
        from rich.text import Text

        self._status.stop()
        seconds = time.monotonic() - self._step_began
        head = Text("  ok ", "bold green") + Text(f"{seconds:5.1f} s  ", "dim") + Text(f"{self._title}: ", "bold")
        self._console.print(head + Text(found))

    def failed(self, why: str, facts: dict[str, Any]) -> None:
        """See `Telling`."""
        from rich.text import Text

        self._status.stop()
        self._console.print(Text("FAIL ", "bold red") + Text(f"{self._title}: ", "bold") + Text(why))
        for name, value in facts.items():
            self._console.print(Text(f"     {name}: {value}"), soft_wrap=True)

    def result(self, facts: dict[str, Any]) -> None:
        """See `Telling`."""
        from rich.text import Text

        from trimtab.cli.output import table

        console = self._console
        console.print()
        rows = [(row["traffic"], row["rows"], row["answered_by"], f"{row['accuracy']:.4f}") for row in facts["table"]]
        table(console, ("traffic", "rows", "answered by", "accuracy"), rows)
        for name in ("seconds_to_signal", "seconds_to_healed", "seconds_in_all"):
            console.print(Text(f"{name.replace('_', ' '):<20}{facts[name]:.1f}"))
        console.print()
        numbers = {event["id"]: number for number, event in enumerate(facts["events"], start=1)}
        chain = [
            (
                str(numbers[event["id"]]),
                event["time"][11:23],
                event["type"].removeprefix("trimtab.").removesuffix(".v1"),
                f"because of {numbers[event['causation_id']]}" if event["causation_id"] in numbers else "",
                event["id"][:8],
                str(event.get("step") or event.get("to_stage") or ""),
            )
            for event in facts["events"]
        ]
        console.print(Text(f"The events that led to {facts['challenger']}, read from Kafka:", "bold"))
        table(console, ("#", "time", "event", "cause", "id", ""), chain)
