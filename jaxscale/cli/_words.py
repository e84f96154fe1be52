"""Messages in the words of the shell: options of the command where Python has arguments.

A message of the package names arguments as `` `resample` ``, and may give the way out twice, as
`loss=Huber(delta=0.1) (in a shell, --huber 0.1)`: here only the second is printed.
"""

import dataclasses
import functools
import inspect
import re
import shlex
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from typer.models import OptionInfo

from jaxscale._table import Table
from jaxscale._text import nearest

_command: ContextVar[tuple[Callable[..., None], dict[str, Any]] | None] = ContextVar(
    "command", default=None
)  # that runs, and what it was given

SAME = {  # arguments of Python that have another name, by command
    "n_devices": "--devices", "bounds": "--bound", "delta": "--huber", "flop": "--at",
    "columns": "--x", "observables": "--y", "fields": "--set", "axes": "--axis",
}  # fmt: skip
OF_FIT = ("each",)  # which `run --calibrate` has not
OF_RUN = {"free": "--calibrate", "observables": "--observable"}
ONLY_IN_PYTHON = re.compile(
    r",? or (?:fit runs\.mean\('seed'\)|pass pandas\.read_csv\(.*?\)(?=\.$))"
    r"|; read it with js\.open_store and Dataset\.sel|,? or read this one with js\.open_store"
    r"|: open that with xarray\.open_zarr|, see `max_lost`"
    r"|residual=Scaled\(\)(?:, loss=Squared\(\))? and (?=boot)|, whose bias `isoflop_bias` gives"
)
IN_SHELL = re.compile(r"(\S*[=`(]\S* )?\((?:[^()]*; )?in a shell, ([^()]*)\)")
DROPPED = "\0"  # in place of a way out that the command has not
TWICE = re.compile(r"`(\w+)`(?:, (--[\w-]+)| \((--[\w-]+)\))")  # `store`, --store
OF_FIELD = re.compile(r"`(fields|axes|set|axis)`( [\w.]+)?: ")
NAME = re.compile(r"(?<!did you mean )`(\w+)(=\w+)?`(?! is | has )")
VALUE = re.compile(r"\b(\w+)=(?:\"([^\"]*)\"|'([^']*)')")


def in_shell(text: str) -> str:
    """A message with the options of the command that runs, outside of one as it is."""
    if (current := _command.get()) is None:
        return text
    first = text.split("`")[0]
    of_file = ".toml" in first or first.startswith(f"{current[1].get('file')}: ")
    options = _options(*current, of_file=of_file or bool(OF_FIELD.match(text)))

    y = (current[1].get("y") or "").rpartition("=")[2]
    if y and "columns" in options and re.search(rf"no column {re.escape(repr(y))}", text):
        options["columns"] = "--y"

    def named(match: re.Match[str]) -> str:
        option, value = options.get(match[1]), match[2] or ""
        return f"`{option}{value.replace('=', ' ')}`" if option else match[0]

    def given(match: re.Match[str]) -> str:
        option = options.get(match[1])
        return f"{option} {match[2] or match[3]}" if option else match[0]

    def way_out(match: re.Match[str]) -> str:
        option = match[2].split()[0]
        lacks = option.startswith("--") and option not in _options(*current, of_file=False).values()
        if match[1]:
            return f"{_fit_command(current[1])} {match[2]}" if lacks else match[2]
        return DROPPED if lacks else f"({match[2]})"

    data = str(current[1].get("data", ""))
    if data and Path(data).name not in text:
        text = text.replace("`data`", f"`data` {data}", 1)
    text = ONLY_IN_PYTHON.sub("", text)
    text = re.sub(f" ?{DROPPED}", "", IN_SHELL.sub(way_out, text))
    text = TWICE.sub(lambda match: match[2] or match[3], text)
    return VALUE.sub(given, NAME.sub(named, text))


def table_in_shell(table: Table) -> Table:
    """A table whose note is in the words of the shell."""
    return dataclasses.replace(table, note=in_shell(table.note))


def with_options_named(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose messages name options."""

    @functools.wraps(command)
    def run(**values: Any) -> None:
        before = _command.set((command, values))
        try:
            command(**values)
        except ValueError as error:
            raise ValueError(in_shell(str(error))) from error
        finally:
            _command.reset(before)

    return run


def _options(command: Callable[..., None], values: dict[str, Any], of_file: bool) -> dict[str, str]:
    """Options by the names of arguments; of a message about a sweep file only those given."""
    names: dict[str, str] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        for info in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(info, OptionInfo) and (
                not of_file or values.get(name) != parameter.default
            ):
                declared = (info.default, *(info.param_decls or ()), "--" + name.replace("_", "-"))
                option = next(d for d in map(str, declared) if d.startswith("--"))
                names |= {name: option, option[2:].replace("-", "_"): option}
    same = SAME | (OF_RUN if "calibrate" in names else {})
    own = {name: o for name, o in same.items() if o.split("`")[0] in names.values()}
    of_fit = OF_FIT if "calibrate" in names else ()
    return own | names | {name: f"{_fit_command(values)} --{name}" for name in of_fit}


def _fit_command(values: dict[str, Any]) -> str:
    """The command that fits the store of `run --calibrate`, to which an option can be added."""
    file, free, words = values.get("file"), values.get("calibrate"), ["jaxscale", "fit"]
    if file and free:
        from jaxscale.sweep._config import default_store, read_toml

        with warnings.catch_warnings(action="ignore"):  # the command has printed them
            words.append(values.get("store") or default_store(file, read_toml(file)))
        for option, given in (("--free", free), ("--where", values.get("where") or ())):
            words += [word for value in given for word in (option, value)]
    return shlex.join(words)


def usage_error(error: Any, command: str) -> str:
    """What is wrong with the options and arguments of `command`, in one line with the way out."""
    context, name = error.ctx, getattr(error, "option_name", None)
    text = error.format_message().rstrip(".?").replace(". Did you", "; did you")
    text = text[:1].lower() + text[1:]
    parameters = [] if context is None else context.command.params
    own = getattr(error, "param", None) or next((p for p in parameters if name in p.opts), None)
    if own is not None:
        text += f" ({own.help.rstrip('.')})" if getattr(own, "help", None) else ""
    elif name is not None and context is not None:
        names = ["--help", *(o for p in parameters for o in p.opts if o.startswith("--"))]
        commands = getattr(context.parent and context.parent.command, "commands", {})
        others = [n for n, c in commands.items() if any(name in p.opts for p in c.params)]
        of_others = f"; it is one of jaxscale {', '.join(others)}" if others else ""
        text = f"no such option: {name}{of_others or nearest(name, names).rstrip('?')}"
    return f"{text}; see {command if context is None else context.command_path} --help"
