"""A page on this machine alone: loopback, one origin, and a token in the address."""

import asyncio
import atexit
import logging
import secrets
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.core.validation import silence
from bokeh.core.validation.warnings import EMPTY_LAYOUT
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

silence(EMPTY_LAYOUT)  # a page is filled once its first data are there
HOST = "127.0.0.1"
TOKEN_BYTES = 16
LAST_PORT = 65535
STARTS = 20.0  # seconds within which a server listens


def _is_failure(record: logging.LogRecord) -> bool:
    """Whether a message is of more than a page that was open when its server was closed."""
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


logging.getLogger("tornado.application").addFilter(_is_failure)


class _SendsAtOnce(HTTPServer):
    """A server whose connections send small messages at once.

    Bokeh sends several for a move of a slider, and Nagle's algorithm holds all but the first back
    until the browser acknowledges it, for 40 ms. Tornado turns that on again after every request.
    """

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection."""
        stream.set_nodelay(True)
        stream.set_nodelay = lambda value: None
        super().handle_stream(stream, address)


class Explorer:
    """A server of pages in a thread of this process, until `close`.

    - `url`: address with its token; whoever has it sees the pages, nobody else on this machine.

    In a notebook it shows the page itself.
    """

    def __init__(self, make_page: Callable[[Any], None], port: int = 0):
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= LAST_PORT:
            raise ValueError(
                f"`port` must be a whole number of at most {LAST_PORT}, or 0 for a free one, "
                f"got {port!r}."
            )
        self._make_page, self._port = make_page, port
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._ready = threading.Event()
        self._files: list[Path] = []
        self._error: Exception | None = None
        self._loop: Any = None
        self._server: Any = None
        self._thread = threading.Thread(target=self._serve, name="jaxscale-explore", daemon=True)
        self._thread.start()
        self._ready.wait(STARTS)
        if self._error is not None:
            raise ValueError(
                f"`port` {port} cannot be used: {str(self._error).rstrip('.')}; 0 takes a free one."
            ) from self._error

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            listening = _listening(self._port)
            port = listening.getsockname()[1]
            application = BokehTornado(
                {"/": Application(FunctionHandler(self._make_page))},
                prefix=self.token,
                use_index=False,
                extra_websocket_origins=[f"{HOST}:{port}"],
            )
            http = _SendsAtOnce(application)
            http.add_sockets([listening])
            self._server = BaseServer(IOLoop.current(), application, http)
            self._server.start()
            self.url = f"http://{HOST}:{port}/{self.token}/"
            self._loop = self._server.io_loop
        except Exception as error:
            self._error = error
            loop.close()
            return
        finally:
            self._ready.set()
        self._loop.start()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:  # of open pages
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close(all_fds=True)

    def close(self) -> None:
        """Stop serving; open pages say that they lost their connection."""

        def stop() -> None:
            self._server.stop()
            self._loop.stop()

        if self._loop is not None and self._thread.is_alive():
            self._loop.add_callback(stop)
            self._thread.join(STARTS)
        for file in self._files:
            file.unlink(missing_ok=True)
        self._files.clear()

    def show(self) -> None:
        """Open the page in the browser, by a file that others on this machine cannot read.

        Command lines, which they can read, hold no token.
        """
        handle, path = tempfile.mkstemp(suffix=".html")
        with open(handle, "w", encoding="utf-8") as file:
            file.write(f'<meta http-equiv="refresh" content="0; url={self.url}">')
        self._files.append(Path(path))
        atexit.register(Path(path).unlink, missing_ok=True)
        webbrowser.open(Path(path).as_uri())

    def wait(self) -> None:
        """Serve until Ctrl-C."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.close()

    def __repr__(self) -> str:
        return f"Explorer({self.url})"

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{self.url}" title="jaxscale" width="100%" height="900" '
            f'style="border:0"></iframe>'
        )

    def __enter__(self) -> "Explorer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _listening(port: int) -> socket.socket:
    """A socket of loopback at this port, 0 for any; `OSError` if it is taken."""
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening
