"""Pages that are made from the code: the API reference, theory, claims, notebooks, changelog.

Docstrings are Markdown and are parsed as the pages are. They are written to `docs/_made`, which git
ignores; `tests/public_names.txt` says what is public.
"""

import ast
import dataclasses
import enum
import functools
import importlib
import inspect
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from docutils import nodes
from sphinx import addnodes
from sphinx.addnodes import desc_signature, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MADE = HERE / "_made"
LITERAL = re.compile(r"(?:js|jaxscale)?\.?((?:\w+\.)*\w+)(?:\(.*)?", re.S)

TITLES = {  # page to title; its order is that of the navigation
    "jaxscale": "Everyday names",
    "jaxscale.emergence": "Emergence: systems and parts",
    "jaxscale.emergence.theory": "Emergence: theory",
    "jaxscale.sparse": "Sparse regression: systems and parts",
    "jaxscale.sparse.theory": "Sparse regression: theory",
    "jaxscale.superposition": "Superposition: systems and parts",
    "jaxscale.superposition.theory": "Superposition: theory",
    "jaxscale.streaming": "Streaming regression: systems and parts",
    "jaxscale.streaming.theory": "Streaming regression: theory",
    "jaxscale.analysis": "Analysis",
    "jaxscale.analysis.forms": "Forms of scaling laws",
    "jaxscale.analysis.bounds": "Bounds of fitted parameters",
    "jaxscale.analysis.residuals": "Residuals and losses of fits",
    "jaxscale.spectra": "Spectra and power laws",
    "jaxscale.fields": "Fields of a system",
    "jaxscale.keys": "Random draws",
    "jaxscale.paths": "Paths to fields",
    "jaxscale.training": "Training",
}
GROUPS = {  # of the page `jaxscale`, by the module that defines a name
    "jaxscale.sweep": "Sweeps",
    "jaxscale.report": "Sweeps",
    "jaxscale.analysis": "Comparison, fits and claims",
    "jaxscale._optimizers": "Optimizers and schedules",
    "jaxscale._schedules": "Optimizers and schedules",
    "jaxscale._system": "Systems of your own",
    "jaxscale.training": "Systems of your own",
    "jaxscale._status": "Systems of your own",
}
ALIASES = {  # of types, whose text is longer than what they say
    "jaxscale.fields.Real": "Type of a field that holds a number: a float array of JAX or NumPy "
    'without axes, `Float[Array, ""]`.',
    "jaxscale.fields.Integer": "Type of a field that holds a size: an array of whole numbers "
    'without axes, `Int[Array, ""]`.',
    "jaxscale.fields.Steps": "Type of `record`: step numbers, `tuple[int, ...]`.",
}
GRADIENT_FLOW = ("learning_rate * S * P_1 -> 0", r"`learning_rate` $\cdot\, S P_1 \to 0$")
OTHER = "The process, replacing fields, citing"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A public name and what it stands for."""

    module: str
    name: str
    value: Any
    others: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The full name."""
        return f"{self.module}.{self.name}"


@functools.cache  # every page asks twice
def public_entries() -> list[Entry]:
    """Return every public name once, at its shortest path, with the others it has."""
    paths: dict[Any, list[Entry]] = defaultdict(list)
    for path in (ROOT / "tests" / "public_names.txt").read_text().split():
        module, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        if not inspect.ismodule(value):
            shared = inspect.isclass(value) or inspect.isfunction(value)
            paths[id(value) if shared else path].append(Entry(module, name, value))
    entries = []
    for same in paths.values():
        first, *others = sorted(same, key=lambda e: (e.path.count("."), e.path))
        entries.append(dataclasses.replace(first, others=tuple(e.path for e in others)))
    return sorted(entries, key=lambda e: e.path)


def written_arguments(function: Any) -> str:
    """Return the arguments of a function as its source writes them."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        node = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError):
        return str(inspect.signature(function))
    if not isinstance(node, ast.FunctionDef):
        return str(inspect.signature(function))
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args]
    if every and every[0].arg in ("self", "cls"):
        (arguments.posonlyargs or arguments.args).pop(0)
    returns = node.returns  # a name in quotes is written without them
    if isinstance(returns, ast.Constant) and isinstance(returns.value, str):
        returns = ast.parse(returns.value, mode="eval").body
    result = f" -> {ast.unparse(returns)}" if returns else ""
    return f"({ast.unparse(arguments)}){result}"


def constructor(kind: type) -> str:
    """Return the arguments of a class with the defaults that its fields have."""
    if issubclass(kind, enum.Enum) or inspect.isabstract(kind):
        return ""
    fields = {f.name: f for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    parts, keywords = [], False
    for name, parameter in inspect.signature(kind).parameters.items():
        if name == "lengths":  # the planner's
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            parts.append("*")
            keywords = True
        default = parameter.default
        field = fields.get(name)
        if field is not None and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        shown = "" if default is parameter.empty else f"={default!r}"
        parts.append(f"{'**' * (parameter.kind is parameter.VAR_KEYWORD)}{name}{shown}")
    return f"({', '.join(parts)})" if parts != ["*"] else "()"


def markdown(docstring: str | None) -> str:
    """Return a docstring as Markdown: examples at a prompt are fenced."""
    lines, fenced, prompt = [], False, False
    for line in inspect.cleandoc(docstring or "").splitlines():
        if line.startswith("```"):
            fenced = not fenced
            line = line.replace("```python", "```pycon") if ">>>" in (docstring or "") else line
        if not fenced and line.startswith(">>> ") and not prompt:
            prompt = True
            lines.append("```pycon")
        if prompt and not line.strip():
            prompt = False
            lines.append("```")
        lines.append(line)
    return "\n".join([*lines, "```"] if prompt else lines)


def members(kind: type) -> Iterator[tuple[str, Any, str]]:
    """Yield the public methods and properties that jaxscale defines and documents."""
    names: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("jaxscale"):
            names.update({n: v for n, v in vars(base).items() if not n.startswith("_")})
    for name, value in names.items():
        if isinstance(value, property):
            text, shape = inspect.getdoc(getattr(kind, name)) or inspect.getdoc(value), "property"
        elif isinstance(value, (classmethod, staticmethod)) or callable(value):
            text, shape = inspect.getdoc(getattr(kind, name, None)), "method"
        else:
            continue
        if text and not text.startswith("Deprecated"):
            yield name, value, shape


def first_line(entry: Entry) -> str:
    """Return the summary of a name."""
    text = inspect.getdoc(entry.value) if callable(entry.value) else None
    if isinstance(entry.value, (str, int, float, dict)) or not text:
        return ""
    return " ".join(text.split("\n\n")[0].split())


def described(entry: Entry) -> str:
    """Return the block of one public name."""
    value, module = entry.value, f":module: {entry.module}"
    also = f"\nAlso `{'`, `'.join(entry.others)}`.\n" if entry.others else ""
    if inspect.isclass(value):
        inner = []
        if issubclass(value, enum.Enum):
            rows = (f"- `{entry.name}.{m.name}` = `{m.value!r}`" for m in value)
            inner.append("\n".join(rows))
        for name, member, shape in members(value):
            function = (
                member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
            )
            arguments = "" if shape == "property" else written_arguments(function)
            static = "\n:classmethod:" if isinstance(member, classmethod) else ""
            text = markdown(inspect.getdoc(getattr(value, name)))
            inner.append(f"::::{{py:{shape}}} {name}{arguments}{static}\n\n{text}\n::::")
        body = "\n\n".join([markdown(inspect.getdoc(value)), also, *inner])
        return f":::::{{py:class}} {entry.name}{constructor(value)}\n{module}\n\n{body}\n:::::"
    if inspect.isfunction(value):
        head = f"{entry.name}{written_arguments(value)}\n{module}"
        body = f"{markdown(inspect.getdoc(value))}\n{also}"
        return f":::::{{py:function}} {head}\n\n{body}\n:::::"
    text = " ".join(repr(value).split())
    hidden = "object at 0x" in text or entry.path in ALIASES
    shown = "" if hidden else f"\n:value: {text}"
    body = f"{ALIASES.get(entry.path, '')}\n{also}"
    return f":::::{{py:data}} {entry.name}\n{module}{shown}\n\n{body}\n:::::"


def group_of(entry: Entry) -> str:
    """Return the heading of a name on its page."""
    if entry.module != "jaxscale":
        return ""
    origin = getattr(entry.value, "__module__", "")
    return next((g for m, g in GROUPS.items() if origin.startswith(m)), OTHER)


def write_api() -> None:
    """Write one page per public module, and the list of all names."""
    pages: dict[str, list[Entry]] = defaultdict(list)
    for entry in public_entries():
        pages[entry.module].append(entry)
    missing = set(pages) - set(TITLES) - {"jaxscale.sweep", "jaxscale.report"}
    if missing:
        raise ValueError(f"public modules without a title in docs/site_pages.py: {missing}")
    index = ["# API reference\n", "Every public name, with its docstring.\n"]
    names = [m for m in [*TITLES, "jaxscale.sweep", "jaxscale.report"] if m in pages]
    toc = "\n".join(names)
    index.append(f"```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{toc}\n```\n")
    for module in names:
        text = [f"# {TITLES.get(module, module)}\n", f"```{{py:currentmodule}} {module}\n```\n"]
        about = inspect.getdoc(importlib.import_module(module)) or ""
        text.append(f"{markdown(about)}\n" if module not in ("jaxscale",) else "")
        groups: dict[str, list[Entry]] = defaultdict(list)
        for entry in pages[module]:
            groups[group_of(entry)].append(entry)
        index.append(f"## [{TITLES.get(module, module)}]({module}.md)\n")
        for heading in sorted(groups, key=lambda g: [*GROUPS.values(), OTHER, ""].index(g)):
            if heading:
                text.append(f"## {heading}\n")
            for entry in groups[heading]:
                text.append(described(entry) + "\n")
                index.append(f"- `{entry.path}`: {first_line(entry)}".rstrip(": "))
        index.append("")
        write(f"api/{module}.md", "\n".join(text))
    write("api/index.md", "\n".join(index))


def write_theory() -> None:
    """Write what `js.theory_of` says of typical systems, part by part."""
    systems = importlib.import_module("site_systems").systems()
    theory_of = importlib.import_module("jaxscale").theory_of
    text = ["# Which observable has a theory\n", (HERE / "_theory.md").read_text()]
    for heading, cases in systems.items():
        text += [f"\n## {heading}\n"]
        for label, system in cases:
            table = theory_of(system)
            text += [
                f"**{label}**\n",
                *([f"{cell(table.note)}\n"] if table.note else []),
                "| observable | theory | limits, or what has none | functions |",
            ]
            text += ["|---|---|---|---|"]
            for name, kind, limits, functions in table.rows:
                names = ", ".join(f"`js.{f}`" for f in functions.split(", ") if f)
                shown = cell(limits).replace(*GRADIENT_FLOW)
                text.append(f"| `{name}` | {kind} | {shown} | {names} |")
            text.append("")
    write("theory.md", "\n".join(text))


def write_forms() -> None:
    """Write the table of `js.forms`; the result is named where it is not the loss."""
    forms = importlib.import_module("jaxscale").forms
    by_name = importlib.import_module("jaxscale.analysis._form").FORMS
    text = ["| form | equation | inputs | parameters | source |", "|---|---|---|---|---|"]
    for name, _, inputs, result, parameters, source in forms.table().rows:
        equation = f"${' '.join(by_name[name].equation.split())}$"
        given = inputs if result == "loss" else f"{inputs}; result {result}"
        parts = (f"`js.forms.{name}`", equation, given, parameters, source)
        text.append(f"| {' | '.join(cell(part) for part in parts)} |")
    write("_forms.md", "\n".join([*text, ""]))


def write_command_line() -> None:
    """Write the commands, their arguments and options, from the command line's own help."""
    program: Any = typer.main.get_command(importlib.import_module("jaxscale.cli").app)
    text = ["# Command line\n", f"{program.help}\n", "`jaxscale COMMAND --help` prints the same.\n"]
    for name, command in program.commands.items():
        shown = [p for p in command.params if not getattr(p, "hidden", False)]
        arguments = [p.name.upper() for p in shown if p.param_type_name == "argument"]
        text += [f"## jaxscale {' '.join([name, *arguments])}\n", f"{command.help}\n"]
        text += ["| | |", "|---|---|"]
        for p in shown:
            label = p.name.upper() if p.param_type_name == "argument" else ", ".join(p.opts)
            default = "" if p.default in (None, False, ()) or callable(p.default) else p.default
            help_ = f"{p.help or ''}{f' Default: `{default}`.' if default != '' else ''}"
            text.append(f"| `{label}` | {cell(help_)} |")
        text.append("")
    config = importlib.import_module("jaxscale.sweep._config")
    text += ["## Presets\n", "Sweeps that `jaxscale plan` and `jaxscale run` take by name; where a"]
    text += ["preset has a larger version, it is the name with `_paper`.\n", "| | |", "|---|---|"]
    for name in config.preset_names():
        text.append(f"| `{name}` | {cell(config.read_toml(name).get('description', ''))} |")
    write("command_line.md", "\n".join([*text, ""]))


def cell(text: str) -> str:
    """Return a text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def unlinked(text: str) -> str:
    """Return Markdown without links into the repository, whose files are not pages."""
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)", r"\1", text)


def write(name: str, text: str) -> None:
    """Write a page, unless it says the same already (so that Sphinx need not read it again)."""
    path = MADE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def write_all(app: Sphinx) -> None:
    """Write all pages before Sphinx looks for them."""
    write_api()
    write_theory()
    write_forms()
    write_command_line()
    write("_claims.md", importlib.import_module("site_claims").by_verdict())
    write("_papers.md", importlib.import_module("site_papers").experiments())
    write("_atlas.md", importlib.import_module("site_atlas").part())
    write("_mutation.md", importlib.import_module("site_mutation").table())
    accuracy = importlib.import_module("site_accuracy")
    for group in accuracy.GROUPS:
        write(f"_accuracy_{group}.md", accuracy.table(group))
    for source, name in {
        "CHANGELOG.md": "changelog.md",
        "benchmarks/README.md": "benchmarks.md",
    }.items():
        write(name, unlinked((ROOT / source).read_text()))
    for source in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        write(f"notebooks/{source.name}", source.read_text().replace("](../docs/", "](../../"))


class LinkNames(SphinxTransform):
    """Link what pages and docstrings write as code to its entry in the reference."""

    default_priority = 700

    def apply(self, **kwargs: Any) -> None:
        """Wrap every literal that is a public name in a reference."""
        entries = {e.path: e.path for e in public_entries()}
        for entry in public_entries():
            entries.update({other: entry.path for other in entry.others})
            if entry.module.startswith("jaxscale.analysis."):  # js.forms, js.bounds, js.residuals
                entries[entry.path.replace(".analysis", "", 1)] = entry.path
        page = self.env.docname.removeprefix("_made/api/")
        for node in list(self.document.findall(nodes.literal)):
            match = LITERAL.fullmatch(node.astext())
            parent = node.parent
            if not match or isinstance(parent, (nodes.reference, nodes.title, pending_xref)):
                continue
            item = isinstance(parent.parent, nodes.list_item) and parent.index(node) == 0
            if item and page in TITLES:  # the name of an argument
                continue
            name = match[1]
            full = name if name.startswith("jaxscale.") else f"jaxscale.{name}"
            target = entries.get(full) if re.match(r"(js|jaxscale)\.", node.astext()) else None
            if target is None and page in TITLES and "." not in node.astext():
                target = entries.get(f"{page}.{node.astext()}")
            if target is not None and not self.is_own_entry(node, target):
                reference = pending_xref(
                    "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True,
                    refwarn=True, refdoc=self.env.docname,
                )  # fmt: skip
                parent.replace(node, reference)
                reference += node

    @staticmethod
    def is_own_entry(node: nodes.Node, target: str) -> bool:
        """Whether a name is written in its own entry."""
        while node.parent is not None:
            node = node.parent
            if node.tagname == "desc":
                return any(target in s.get("ids", ()) for s in node.findall(desc_signature))
        return False


class IndexSections(SphinxTransform):
    """Let index entries point at the section after them, whose text a search shows."""

    default_priority = 690

    def apply(self, **kwargs: Any) -> None:
        """Name the section by its own id instead of the one of an `{index}` directive."""
        first = {i: s["ids"][0] for s in self.document.findall(nodes.section) for i in s["ids"]}
        for node in self.document.findall(addnodes.index):
            node["entries"] = [
                (kind, value, first.get(target, target), *rest)
                for kind, value, target, *rest in node["entries"]
            ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before the build and link names after reading."""
    app.add_transform(IndexSections)
    app.connect("builder-inited", write_all)
    app.add_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
