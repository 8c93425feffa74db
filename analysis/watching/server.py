"""The page of a sweep served on loopback, made anew when its files have changed."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from analysis.report.page import environment
from analysis.table.files import BadTable
from analysis.watching.page import Sight, exponent_of, sight_of, watch_html
from analysis.watching.progress import read_progress

LOOPBACK = "127.0.0.1"
MISSING = "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=5><p>{{ why }}</p>"
MORE = 1.1   # times the runs of the last fit: fewer new ones change nothing that is worth a core


class Watch:
    """Looks at one sweep, and remembers its last look and its fits."""

    def __init__(self, path: Path, *, every: float | None):
        self.path, self.every = path, every
        self._sight: Sight | None = None
        self._history: list[tuple[int, str]] = []
        self._page, self._made = "", -1e9
        self._lock = threading.Lock()

    def look(self) -> str:
        """The page now. Raises BadTable where there is nothing to see."""
        progress = read_progress(self.path)
        runs = len(progress.rows)
        over = progress.wanted == runs or not progress.sweeper
        last = self._sight.runs if self._sight else -1
        if last < 0 or runs < last or runs > last * MORE or (over and runs != last):
            self._sight = sight_of(progress)
            self._history.append((runs, exponent_of(self._sight)))
        return watch_html(progress, self._sight, self._history, name=self.path.name, every=self.every)

    def page(self) -> str:
        """The last look, or a new one where that is old; what is wrong, where something is."""
        with self._lock:
            if time.monotonic() - self._made >= (self.every or 0.0):
                try:
                    self._page = self.look()
                except BadTable as why:
                    self._page = environment().from_string(MISSING).render(why=str(why))
                self._made = time.monotonic()
            return self._page


def served(watch: Watch, *, port: int, tell: Callable[[str], None]) -> None:
    """Until it is interrupted. Raises OSError where the port is taken."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
            # a name that somebody pointed at this machine is no loopback
            if self.path != "/" or host not in (LOOPBACK, "localhost"):
                self.send_error(404)
                return
            content = watch.page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer((LOOPBACK, port), Handler) as server:
        server.daemon_threads = True
        tell(f"http://{LOOPBACK}:{server.server_port}/")
        server.serve_forever(poll_interval=0.2)
