"""Only this machine, one origin and a token."""

import contextlib
import http.client
import socket
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from systems import SYSTEMS

import jaxscale as js

pytest.importorskip("bokeh")


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
    server = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    with contextlib.closing(server) as asked:
        asked.request("GET", f"/{page.token}/ws", headers={
            "Connection": "Upgrade", "Upgrade": "websocket", "Origin": given,
            "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Protocol": "bokeh, x",
        })  # fmt: skip
        assert asked.getresponse().status == (101 if allowed else 403)


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match=r"cannot be used: .*; 0 takes a free one\.$"):
            js.explore(SYSTEMS["multilinear"], show=False, port=taken.getsockname()[1])


def test_a_closed_page_is_served_no_longer():
    page = js.explore(SYSTEMS["multilinear"], show=False)
    assert "iframe" in page._repr_html_()
    page.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(page.url, timeout=5)
    page.close()


@pytest.mark.parametrize("port", [99999, -1, True, "80"])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ValueError, match=r"`port` must be .*65535, or 0 for a free one, got"):
        js.explore(SYSTEMS["multilinear"], show=False, port=port)


def test_an_address_that_is_no_text_is_served(page):
    assert _status(f"{page.url}?x=%ff") == 200


def test_the_file_with_the_token_goes_when_python_ends(monkeypatch):
    ends, files = [], []
    monkeypatch.setattr("atexit.register", lambda call, **options: ends.append((call, options)))
    monkeypatch.setattr("webbrowser.open", files.append)
    with js.explore(SYSTEMS["multilinear"], show=True):
        (path,) = (Path(file.removeprefix("file://")) for file in files)
        assert path.exists()
        for call, options in ends:
            call(**options)
        assert not path.exists()
