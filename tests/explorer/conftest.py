"""Pages in a real browser, which must say nothing on its console and ask nobody else."""

import contextlib
import shutil
import time

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60_000  # milliseconds that a page may take, compilation included
POLL = 50  # milliseconds; by default conditions are asked at every frame, which has to be drawn
SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-software-rasterizer")  # no GPU in software
NEWEST = """window.newest = name => [
  ...(window.Bokeh?.documents?.[0]?._all_models?.values() ?? [])
].filter(m => m.name == name).at(-1)"""  # the client forgets replaced models half a minute late
READY = "name => newest(name) != null"
TEXT = "([name, text]) => newest(name)?.text?.includes(text)"


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("needs a headless Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*SWITCHES])
        yield browser
        browser.close()


class Visit:
    """A page in a browser window of its own.

    What changes together comes as one message for each attribute: what one model shows says nothing
    of another.
    """

    def __init__(self, browser, url, *, width=1280, dark=False, offline=False):
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=offline,
            accept_downloads=True,
        )  # fmt: skip
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.context.add_init_script(NEWEST)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.faults = []
        self.origin = url.split("/", 3)[:3]
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.goto(url)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _request(self, request):
        if request.url.split("/", 3)[:3] != self.origin and not request.url.startswith(
            ("data:", "blob:")
        ):
            self.faults.append(f"request to {request.url}")

    def wait_for(self, name):
        """Wait until the document has a model of this name."""
        self.page.wait_for_function(READY, arg=name, timeout=SECONDS, polling=POLL)
        return self

    def model(self, name, read):
        """A value of the model of this name: `read` is JavaScript of `m`."""
        script = f"name => {{ const m = newest(name); return {read} }}"
        return self.page.evaluate(script, name)

    def column(self, name, column, row=0):
        """Numbers of a row of a column of a data source, once there is one of this name."""
        self.wait_for(name)
        read = f"Array.from(m.data[{column!r}][{row}], v => Number.isFinite(v) ? v : null)"
        return self.model(name, read)

    def set(self, name, value, attribute="value"):
        """Set an attribute of a widget, as its user would."""
        self.wait_for(name)
        script = "([name, attribute, value]) => { newest(name)[attribute] = value }"
        self.page.evaluate(script, [name, attribute, value])

    def until(self, script, arg=None):
        """Wait for a condition in JavaScript."""
        self.page.wait_for_function(script, arg=arg, timeout=SECONDS, polling=POLL)

    def wait_for_text(self, name, text):
        """Wait until the model of this name shows a text."""
        self.until(TEXT, [name, text])

    def eventually(self, check):
        """What `check()` returns, once it raises no AssertionError: messages take a while."""
        end = time.monotonic() + SECONDS / 1000
        while True:
            try:
                return check()
            except AssertionError:
                if time.monotonic() > end:
                    raise
            self.page.wait_for_timeout(30)

    def width(self):
        """Width that the page needs."""
        return self.page.evaluate("document.documentElement.scrollWidth")


@pytest.fixture
def explored():
    """Servers that end with the test."""
    pytest.importorskip("bokeh")
    from jaxscale.explorer import explore

    with contextlib.ExitStack() as stack:
        yield lambda thing: stack.enter_context(explore(thing, show=False))


@pytest.fixture
def visit(explored, chromium):
    """Open addresses; at the end, no console may have said anything."""
    visits = []

    def open_page(url, **options):
        visits.append(Visit(chromium, url, **options))
        return visits[-1]

    yield open_page
    faults = [fault for one in visits for fault in one.faults]
    for one in visits:
        with contextlib.suppress(Exception):
            one.context.close()
    assert faults == []
