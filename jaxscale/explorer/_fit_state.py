"""What a fit view puts into its address, and what it takes from there."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxscale.explorer._fit_request import HUBERS, FitRequest, first_request
from jaxscale.report._fit_file import RESIDUALS

COLUMN = "column."  # begins the columns in an address
DEFAULT = "chinchilla"
TEXTS = ("weights", "fix", "bound")


def restored(given: Mapping[str, str], forms: Sequence[str], columns: Sequence[str]) -> FitRequest:
    """What an address says, where it says anything, else what names of columns suggest."""
    usual = DEFAULT if DEFAULT in forms else forms[0]
    if first_request(usual, columns).missing:
        usual = forms[0]
    form = given.get("form", usual)
    request = first_request(form if form in forms else usual, columns)
    chosen = {n.removeprefix(COLUMN): c for n, c in given.items() if n.startswith(COLUMN)}
    none = _none(columns)
    used = {n: c for n, c in {**request.columns, **chosen}.items() if c != none}
    refits, residual, huber = (given.get(n, "") for n in ("refits", "residual", "huber"))
    return dataclasses.replace(
        request, columns=used, where=given.get("where", ""), resample=given.get("resample", ""),
        residual=residual if residual in RESIDUALS else "",
        bootstrap=refits if refits.isdecimal() else "", huber=huber if huber in HUBERS else "",
        **{name: given.get(name, "") for name in TEXTS},
    ).weighted(columns)  # fmt: skip


def state_of(request: FitRequest, columns: Sequence[str]) -> dict[str, str]:
    """What `restored` makes a request of: its form, options, and columns that are not guessed."""
    usual = first_request(request.form, columns).columns
    names = dict.fromkeys([*request.columns, *usual])
    none = _none(columns)
    used = {n: request.columns.get(n, none) for n in names}
    state = {"form": request.form, "where": request.where, "residual": request.residual}
    state |= {"resample": request.resample, "refits": request.bootstrap, "huber": request.huber}
    state |= {name: getattr(request, name) for name in TEXTS}
    return state | {COLUMN + n: c for n, c in used.items() if c != usual.get(n)}


def _none(columns: Sequence[str]) -> str:
    """What stands for a column that was guessed and is not used: the name of none."""
    text = "none"
    while text in columns:
        text = f"({text})"
    return text
