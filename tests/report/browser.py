"""A headless Chromium driven over a pipe in its own protocol; nothing but the program itself is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE: Final = 90.0
PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Return a Chromium on PATH, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """One page in a Chromium of its own, for the time of a ``with``.

    Args:
        program: Where it is.
        profile: A folder for it alone.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._number = 0
        self._data = b""
        self._seen: list[str] = []
        self._session: str | None = None
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The browser reads its orders from descriptor 3 and answers on 4, whatever numbers the pipes have here.
        script = f'exec 5<&{to_read} 6>&{to_write}; exec 3<&5 4>&6 5<&- 6>&-; exec "$0" "$@"'
        argv = ["bash", "-c", script, program, *FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            argv,
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)

    def __enter__(self) -> Self:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # the whole group, which is this browser's alone
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Give an order and return the answer."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": params}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._write, json.dumps(order).encode() + b"\0")
        answer = self._until(lambda message: message.get("id") == self._number)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def open(self, path: Path) -> None:
        """Go to a page and wait until it is shown."""
        self._seen.clear()
        self.call("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Return what an expression comes to in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Give the window a size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def media(self, kind: str = "", **features: str) -> None:
        """Take a medium (``print``) and features, as ``prefers_color_scheme="dark"``."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=kind, features=named)

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def picture(self, selector: str = "html") -> bytes:
        """Return an element of the page as PNG."""
        box = self.run(
            f"(r => ({{x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height, scale: 1}}))"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=box)
        return base64.b64decode(answer["data"])

    def paper(self) -> bytes:
        """Return the page as it is printed, as PDF."""
        return base64.b64decode(self.call("Page.printToPDF")["data"])

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not wanted(message := self._next()):
            pass
        return message

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + DEADLINE
        while b"\0" not in self._data:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "chromium did not answer"
            piece = os.read(self._read, 1 << 20)
            assert piece, "chromium ended"
            self._data += piece
        line, _, self._data = self._data.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method = str(message.get("method"))
        self._seen.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(json.dumps(message["params"]))
