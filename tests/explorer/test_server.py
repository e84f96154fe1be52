"""Only this machine, one origin and a token."""

import asyncio
import socket
import urllib.error
import urllib.request

import psutil
import pytest
from systems import SYSTEMS

import jaxscale as js

pytest.importorskip("bokeh")
tornado_websocket = pytest.importorskip("tornado.websocket")
from tornado.httpclient import HTTPClientError, HTTPRequest  # noqa: E402


@pytest.fixture(scope="module")
def page():
    with js.explore(SYSTEMS["multilinear"], show=False) as explorer:
        yield explorer


def _status(address):
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_address_has_a_token_and_nothing_is_served_without_it(page):
    root, token = page.url.rstrip("/").rsplit("/", 1)
    assert root.startswith("http://127.0.0.1:")
    assert token == page.token
    assert len(token) >= 20
    assert _status(page.url) == 200
    for path in ("", "ws", "static/js/bokeh.min.js", "autoload.js", "metadata", f"x{token}/"):
        assert _status(f"{root}/{path}") == 404, path


def test_it_listens_on_loopback_alone(page):
    port = int(page.url.split(":")[2].split("/")[0])
    listening = [c for c in psutil.Process().net_connections("inet")
                 if c.status == psutil.CONN_LISTEN and c.laddr.port == port]  # fmt: skip
    assert [c.laddr.ip for c in listening] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("own", True), ("http://evil.example", False), ("http://127.0.0.1:1", False),
     ("http://localhost:{port}", False)],
)  # fmt: skip
def test_a_websocket_of_another_origin_is_refused(page, origin, allowed):
    port = page.url.split(":")[2].split("/")[0]
    own = f"http://127.0.0.1:{port}"
    given = own if origin == "own" else origin.format(port=port)
    address = f"ws://127.0.0.1:{port}/{page.token}/ws"

    async def connect():
        request = HTTPRequest(address, headers={"Origin": given})
        connection = await tornado_websocket.websocket_connect(request, subprotocols=["bokeh", "x"])
        connection.close()

    if allowed:
        asyncio.run(connect())  # what it says next is refused: it has no session
        return
    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(connect())


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match=r"`port` .* cannot be used"):
            js.explore(SYSTEMS["multilinear"], show=False, port=taken.getsockname()[1])


def test_a_closed_page_is_served_no_longer():
    page = js.explore(SYSTEMS["multilinear"], show=False)
    assert "iframe" in page._repr_html_()
    page.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(page.url, timeout=5)
    page.close()
