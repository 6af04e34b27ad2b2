"""The browser's way back from a broker's login page: a one-shot web server on localhost that catches what the redirect carries."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from core.errors import ConfigError

_ANSWERS = ("request_token", "code", "auth_token", "apisession", "api_session", "status", "error")
"""What the redirects of the brokers carry: the answer to be exchanged, or why there is none."""
_LONGEST_FORM = 65_536


class RedirectCatcher:
    """A one-shot web server on localhost that a broker's login redirects to; use as a context manager, then `wait`.

    The app's registered redirect URL must be `http://127.0.0.1:PORT/` (any path). Only a request with a query that no browser makes by
    itself ends the wait: an answer, or the login's refusal. What a page posts (a form) counts as its query.
    """

    def __init__(self, port: int = 5000) -> None:
        catcher = self
        self._caught = threading.Event()
        self._answer = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(self.path)

            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length") or 0), _LONGEST_FORM)
                form = self.rfile.read(length).decode("ascii", "replace")
                self._answer(f"{self.path}{'&' if '?' in self.path else '?'}{form}" if form else self.path)

            def _answer(self, path: str) -> None:
                carried = any(f"{name}=" in path.lower() for name in _ANSWERS)
                page = (
                    b"<p>Thank you. The login has been caught; you may close this page.</p>"
                    if carried
                    else b"<p>Waiting for the login.</p>"
                )
                self.send_response(200 if carried else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)
                if carried and not catcher._caught.is_set():
                    catcher._answer = path
                    catcher._caught.set()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the request line holds the token."""

        try:
            self._server = HTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise ConfigError(f"cannot listen on 127.0.0.1:{port} for the login's redirect ({error}); choose another port") from error
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="redirect", daemon=True)

    def __enter__(self) -> "RedirectCatcher":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, seconds: float) -> str | None:
        """The caught path and query (for `Session.accept`), or None when nobody came within `seconds` of wall time."""
        return self._answer if self._caught.wait(seconds) else None
