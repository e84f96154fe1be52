"""What every page shares: template, styles, widgets, and its state in the address."""

import base64
import contextlib
import functools
import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import jinja2
from bokeh.core.templates import get_env
from bokeh.models import (
    Button,
    Column,
    CustomJS,
    CustomJSTickFormatter,
    Div,
    InlineStyleSheet,
    Select,
    Slider,
    TextInput,
)

from jaxscale.explorer._knobs import Knob, integer_of, number_of
from jaxscale.explorer._themes import THEMES, Theme
from jaxscale.explorer._typed_slider import TypedSlider

BAR = ":host { display: flex !important; flex-flow: row wrap !important; gap: 6px; }"
GRID = """:host {
  display: grid !important; gap: 0.8rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr));
}"""
LOGS = {
    "auto": "automatic", "linear": "linear", "x": "x logarithmic", "y": "y logarithmic",
    "xy": "both logarithmic",
}  # fmt: skip
PATCH = "history.replaceState(null, '', '?' + cb_obj.text)"
COPY = """
const text = text_of.text;
const copied = navigator.clipboard?.writeText(text) ?? Promise.reject();
copied.then(() => {
  const label = button.name;
  button.label = 'copied';
  setTimeout(() => { button.label = label }, 2000);
}, () => { text_of.visible = true });  // a browser that forbids it: the lines are shown
"""
DOWNLOAD = """
if (!cb_obj.text) return;
const [name, kind, body] = JSON.parse(cb_obj.text);
const bytes = Uint8Array.from(atob(body), c => c.charCodeAt(0));
const link = document.createElement('a');
link.href = URL.createObjectURL(new Blob([bytes], {type: kind}));
link.download = name;
link.click();
URL.revokeObjectURL(link.href);
"""


@functools.cache
def shipped(name: str) -> str:
    """A file of the folder of templates."""
    return (files("jaxscale.explorer") / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def template() -> jinja2.Template:
    """The page around the models of a document."""
    return get_env().from_string(shipped("page.html"))


class Page:
    """One open page: its document, its widgets, its state in the address.

    **Arguments**

    - `document`: of Bokeh.
    - `given`: what the address says, by name.
    - `heading`: title of the page.
    - `links`: texts and addresses of other views.
    """

    def __init__(
        self,
        document: Any,
        given: Mapping[str, str],
        heading: str,
        links: Sequence[tuple[str, str]] = (),
    ):
        self.document, self.given = document, dict(given)
        self.theme: Theme = THEMES.get(self.given.get("theme", ""), THEMES["light"])
        self.styles = InlineStyleSheet(css=shipped("widgets.css"))
        self._address = self.hidden("address")
        self._address.js_on_change("text", CustomJS(code=PATCH))
        self._download = self.hidden("download")
        self._download.js_on_change("text", CustomJS(code=DOWNLOAD))
        self.status = self.text("", name="status")
        self.controls = Column(name="controls", sizing_mode="stretch_width", spacing=6)
        self.main = Column(name="main", sizing_mode="stretch_width", spacing=6)
        document.template = template()
        document.template_variables.update(
            heading=heading, css=shipped("page.css"), theme=self.theme.name, links=list(links)
        )
        document.title = f"{heading} · jaxscale"
        document.add_root(self.controls)
        document.add_root(self.main)

    def show(self, controls: Iterable[Any], main: Iterable[Any]) -> None:
        """Replace what the page shows."""
        self.controls.children = list(controls)
        self.main.children = [self.status, *main, self._address, self._download]

    def text(self, content: str, **more: Any) -> Div:
        """A piece of HTML as wide as its place."""
        return Div(
            text=content, disable_math=True, sizing_mode="stretch_width",
            stylesheets=[self.styles], **more,
        )  # fmt: skip

    @staticmethod
    def hidden(name: str, content: str = "") -> Div:
        """A text that scripts of the page read; it may hold anything, and is no HTML."""
        return Div(
            text=content, name=name, visible=False, render_as_text=True, disable_math=True,
            styles={"white-space": "pre-wrap"},
        )  # fmt: skip

    def grid(self, children: Sequence[Any], **more: Any) -> Column:
        """Children side by side, as many as there is room for."""
        return Column(
            children=list(children), sizing_mode="stretch_width",
            stylesheets=[InlineStyleSheet(css=GRID)], **more,
        )  # fmt: skip

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Send what changes in the block when it ends: every attribute once, a message each."""
        self.document.hold("combine")
        try:
            yield
        finally:
            self.document.unhold()

    @contextlib.contextmanager
    def rebuilt(self) -> Iterator[None]:
        """The same for a block that makes models: they are counted once, which takes a while."""
        with self.held(), self.document.models.freeze():
            yield

    def say(self, text: str, is_warning: bool = False) -> None:
        """Show one line above the figures."""
        self.status.text = f'<p class="warn" role="alert">{escaped(text)}</p>' if is_warning else (
            f"<p>{escaped(text)}</p>" if text else "")  # fmt: skip

    def say_error(self, error: Exception) -> None:
        """Show what went wrong, as the command line would."""
        text = " ".join(str(error).split()) or type(error).__name__
        self.say(text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}", True)

    def remember(self, state: Mapping[str, str]) -> None:
        """Put the state of the page into its address, so that it can be shared and reloaded."""
        fixed = {name: self.given[name] for name in ("source", "theme") if name in self.given}
        self._address.text = urlencode({**fixed, **{k: v for k, v in state.items() if v != ""}})

    def download(self, name: str, kind: str, body: bytes) -> None:
        """Hand a file to the browser."""
        self._download.text = ""
        self._download.text = json.dumps([name, kind, base64.b64encode(body).decode()])

    def select(
        self, title: str, options: Sequence[str | tuple[str, str]], value: str,
        changed: Callable[[str], bool | None],
    ) -> Select:  # fmt: skip
        """A list of which one option is chosen; if `changed` returns False, the last one again."""
        widget = Select(
            title=title, options=list(options), value=value, name=title,
            sizing_mode="stretch_width", stylesheets=[self.styles],
        )  # fmt: skip
        _follow(widget, changed)
        return widget

    def typed(self, title: str, value: str, changed: Callable[[str], bool | None]) -> TextInput:
        """A field for text; if `changed` returns False, it shows the last text again."""
        widget = TextInput(
            title=title, value=value, name=title,
            sizing_mode="stretch_width", stylesheets=[self.styles],
        )  # fmt: skip
        _follow(widget, changed)
        return widget

    def index_slider(
        self, name: str, labels: Sequence[str], index: int, moved: Callable[[str, int], None]
    ) -> Column:
        """A slider over the values of a dimension, whose title is the value."""
        title = self.text("")
        bar = Slider(
            start=0, end=len(labels) - 1, step=1, value=index, name=name, show_value=False,
            title=None, sizing_mode="stretch_width", stylesheets=[self.styles],
            tooltips=False,  # a bubble would take a label as HTML; screen readers get text
            format=CustomJSTickFormatter(
                code="return labels[Math.round(tick)]", args={"labels": list(labels)}
            ),
        )  # fmt: skip

        def write(place: int) -> None:
            title.text = f"{escaped(name)} = {escaped(labels[place])}"

        def dragged(_: str, old: float, new: float) -> None:
            write(int(new))
            moved(name, int(new))

        write(index)
        bar.on_change("value", dragged)
        return Column(children=[title, bar], sizing_mode="stretch_width", spacing=0)

    def column(self) -> Column:
        """Children below each other, as wide as their place."""
        return Column(sizing_mode="stretch_width", spacing=6)

    def button(self, label: str, **more: Any) -> Button:
        """A button as wide as its label."""
        return Button(label=label, name=label, stylesheets=[self.styles], **more)

    def bar(self, children: Sequence[Any]) -> Column:
        """Buttons in a row, which breaks where the page is narrow."""
        return Column(
            children=list(children), sizing_mode="stretch_width",
            stylesheets=[InlineStyleSheet(css=BAR)],
        )  # fmt: skip

    def slider(
        self,
        knob: Knob,
        value: float,
        moved: Callable[[float], bool | None],
        *,
        title: str = "",
        check: Callable[[float], float] = float,
    ) -> Column:
        """A slider of a number, and a field to type it; `check` may refuse what was typed.

        What is refused, also by `moved`, gives way to the last number that was not.
        """
        read = integer_of if knob.is_integer else number_of

        def entered(text: str) -> None:
            if slider.is_following:
                return
            try:
                number = float(check(read(knob.path, text)))
            except ValueError as error:
                self.say_error(error)
                return slider.put_back()
            slider.entered(number)

        def shown(number: float) -> str:
            return str(int(number)) if knob.is_integer else f"{number:.12g}"

        typed = self.typed(title or knob.path, shown(value), entered)
        typed.name = f"{knob.path} ="
        slider = TypedSlider(knob, value, typed, shown, moved, self.styles)
        return slider.layout


def _follow(widget: Any, changed: Callable[[str], bool | None]) -> None:
    """Call `changed` with every new value, and put the last one back where it returns False."""
    is_put_back = False

    def follow(_: str, old: str, new: str) -> None:
        nonlocal is_put_back
        if not is_put_back and changed(new) is False:
            is_put_back = True
            widget.value = old
            is_put_back = False

    widget.on_change("value", follow)


def escaped(text: str) -> str:
    """Text as HTML shows it."""
    return html.escape(text)


def html_table(title: str, rows: Sequence[str], head: Sequence[str] = ()) -> str:
    """A heading, and a table that scrolls by itself where the page is narrow."""
    names = "".join(f"<th>{escaped(name)}</th>" for name in head)
    top = f"<tr>{names}</tr>" if head else ""
    table = f"<div class=scroll><table>{top}{''.join(rows)}</table></div>"
    return f"<h2>{escaped(title)}</h2>{table}"


def asked_log(given: Mapping[str, str]) -> str:
    """Which axes an address wants logarithmic, one of `LOGS`."""
    log = given.get("log", "auto")
    return log if log in LOGS else "auto"


def log_option(log: str) -> str | None:
    """The option `log` of `js.plot` for a choice of `LOGS`."""
    return {"auto": None, "linear": ""}.get(log, log)
