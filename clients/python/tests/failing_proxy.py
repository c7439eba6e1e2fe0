"""A proxy before the real server that loses answers, refuses, or says that it is busy."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

PROBLEM = b'{"type": "about:blank", "title": "Busy", "status": %d, "detail": "try again"}'


class FailingProxy:
    """Passes requests on; before that, one fault of `faults` for each request.

    `lost`: it is passed on, and its answer is lost. `busy`, `limited`: 503, 429, and not passed on.
    """

    def __init__(self, url: str) -> None:
        self.faults: deque[str] = deque()
        self.has_streams = True
        """Else streams of events get a 503."""
        self.requests: list[str] = []
        self.server = urlsplit(url)
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._proxy = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._proxy.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that closes its stream is no error."""


class _Handler(BaseHTTPRequestHandler):
    proxy: FailingProxy

    def handle_any(self) -> None:
        proxy = self.proxy
        proxy.requests.append(f"{self.command} {self.path.partition('?')[0]}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.faults.popleft() if proxy.faults else ""
        if fault == "busy" or ("/v1/events" in self.path and not proxy.has_streams):
            self.refuse(503)
        elif fault == "limited":
            self.refuse(429)
        else:
            self.forward(body, is_lost=fault == "lost")

    def forward(self, body: bytes, *, is_lost: bool) -> None:
        server = self.proxy.server
        found = http.client.HTTPConnection(server.hostname or "", server.port, timeout=70)
        with contextlib.closing(found):
            found.request(self.command, self.path, body or None, dict(self.headers))
            answer = found.getresponse()
            self.close_connection = True
            if is_lost:
                answer.read()
                return
            self.send_response(answer.status)
            for name in {"Content-Type", "Retry-After", "Content-Length"} & {*answer.headers}:
                self.send_header(name, answer.headers[name])
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := answer.read1(65_536):
                self.wfile.write(piece)
                self.wfile.flush()

    def refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(PROBLEM % status)

    do_GET = do_POST = do_DELETE = do_PUT = handle_any  # noqa: N815 - the server's own naming

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args
