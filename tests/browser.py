"""A headless Chromium for tests, spoken to over a pipe (the DevTools protocol), without any driver.

Source: https://chromedevtools.github.io/devtools-protocol, and Chromium's `--remote-debugging-pipe`: JSON messages,
each ended by a NUL byte, on file descriptors 3 (to it) and 4 (from it).
"""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Page:
    """One tab. `complaints` are what the page's console said: refused by policy, scripts that failed."""

    def __init__(self, to_browser: BinaryIO, from_browser: BinaryIO) -> None:
        self._to, self._from = to_browser, from_browser
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Begin to load `url`."""
        self._ask("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression in the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The text of every element that fits `selector`."""
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent.trim())"
        )
        return found

    def screenshot(self, path: Path) -> None:
        """Save what the page looks like, as PNG."""
        import base64

        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer}"
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.complaints.append(answer["params"]["entry"]["text"])
            elif answer.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(answer["params"]["exceptionDetails"]))

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            message += byte
        answer: dict[str, Any] = json.loads(message)
        return answer


@contextmanager
def page(profile: Path) -> Iterator[Page]:
    """A tab in a new browser with an empty profile."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert program, "no Chromium: tests/install-browser installs it"
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
    log = os.open(profile / "chromium.log", os.O_WRONLY | os.O_CREAT)
    (its_input, our_output), (our_input, its_output) = os.pipe(), os.pipe()
    theirs = {0: os.open(os.devnull, os.O_RDONLY), 1: log, 2: log, 3: its_input, 4: its_output}
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for number, fd in theirs.items()}
    pid = os.posix_spawn(
        program,
        [program, *flags, "--window-size=1400,1800", f"--user-data-dir={profile}"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in high.items()],
    )
    for fd in {*theirs.values(), *high.values()}:
        os.close(fd)
    try:
        with os.fdopen(our_output, "wb") as to_browser, os.fdopen(our_input, "rb") as from_browser:
            yield Page(to_browser, from_browser)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
