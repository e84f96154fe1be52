"""Data of one's own as a table: a Dataset, a DataFrame or a file, with a map of its columns."""

import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jaxscale._files import require_file
from jaxscale._status import STATUS, Status
from jaxscale._text import choices, unknown
from jaxscale.analysis._table_file import of_file, place_of, read_table

if TYPE_CHECKING:
    import pandas
    import xarray

Data: TypeAlias = Any  # xarray.Dataset or DataArray, pandas.DataFrame, or the path of a table

OPEN = "js.open_store(path)"
USED = (Status.ok, Status.not_converged, Status.ill_conditioned)  # whose numbers are used


def as_table(
    data: Data, columns: Mapping[str, str] | None = None, needed: Sequence[str] | None = None
) -> "pandas.DataFrame":
    """`data` as a DataFrame of one row per point, the columns of `columns` also under our names.

    `columns` maps our names to those in `data`. `needed` are our names of what is used, so that
    other variables of a Dataset, on dimensions of their own, repeat no rows.

    **Raises** `ValueError` for what is no table, and for a column that is not there.
    """
    import pandas

    check_columns(columns)
    renamed = dict(columns or {})
    data = read_data(data)
    if not isinstance(data, pandas.DataFrame):
        import xarray  # a second of its own, for Datasets alone

        if isinstance(data, xarray.DataArray):
            data = data.to_dataset(name=data.name or "loss")
        if isinstance(data, xarray.Dataset):
            wanted = [renamed.get(name, name) for name in needed or ()]
            wanted = [name for name in wanted if name in data.data_vars] or [*data.data_vars]
            good = xarray.Dataset({n: without_failed(data, str(n)) for n in wanted})
            data = good.to_dataframe().reset_index()
    if not isinstance(data, pandas.DataFrame):
        raise ValueError(
            f"`data` must be a Dataset, a DataFrame or the path of a table (CSV, JSON lines), "
            f"got {type(data).__name__}."
        )
    twice = data.columns[data.columns.duplicated()].tolist()
    if twice:
        raise ValueError(f"`data` must name each column once, got {twice[0]!r} twice.")
    require_columns(data, renamed.values())
    if len(set(renamed.values())) < len(renamed):
        raise ValueError(f"`columns` must name each column once, got {renamed!r}.")
    return data.assign(**{ours: data[theirs] for ours, theirs in renamed.items()})


def check_names(**arguments: Any) -> None:
    """Refuse what cannot be the name of a column, such as an array: a `ValueError`."""
    for argument, name in arguments.items():
        if not isinstance(name, str | int | np.integer) or isinstance(name, bool):
            raise ValueError(
                f"`{argument}` must be the name of a column, got {reprlib.repr(name)}: values of "
                f"your own become one by data.assign(name=values)."
            )


def check_columns(columns: Any) -> None:
    """Refuse a map of columns that is none, or that maps to anything but names."""
    if columns is not None and not isinstance(columns, Mapping):
        raise ValueError(
            f"`columns` must map our names to yours, {{'loss': 'final_loss'}}, got {columns!r}."
        )
    check_names(**{f"columns[{ours!r}]": theirs for ours, theirs in (columns or {}).items()})


def of_failed(runs: "xarray.Dataset", name: str) -> "xarray.DataArray":
    """Return which values of `runs[name]` are of runs that ended badly or never ran."""
    if STATUS not in runs or name == STATUS:
        return runs[name].isnull() & False
    # a run that diverged is masked along its steps; what it records once comes before them
    codes = USED if "step" in runs[name].dims else (*USED, Status.diverged)
    good = runs[STATUS].isin(codes)
    lacking = [dim for dim in good.dims if dim not in runs[name].dims]
    return (~good.all(lacking)).broadcast_like(runs[name])


def without_failed(runs: "xarray.Dataset", name: str) -> "xarray.DataArray":
    """Return `runs[name]` with NaN for runs that ended badly or never ran."""
    failed = of_failed(runs, name)
    return runs[name].where(~failed) if failed.any() else runs[name]


def require_dataset(name: str, value: Any, takes: str = "a Dataset") -> None:
    """Refuse what is no Dataset, with a `ValueError` that says how to open a store."""
    if not hasattr(value, "data_vars"):
        what = f"{value!r}; open a store with {OPEN}" if isinstance(value, str | Path) else ""
        raise ValueError(f"`{name}` must be {takes}, got {what or type(value).__name__}.")


def require_array(name: str, value: Any, otherwise: str = "") -> None:
    """Refuse what is no DataArray, with a `ValueError` that says which one of a Dataset to give."""
    if hasattr(value, "data_vars"):
        real = [str(n) for n in value.data_vars if value[n].dtype.kind == "f"]
        one = f": give runs.{'loss' if 'loss' in real or not real else real[0]}"
        raise ValueError(f"`{name}` must be a DataArray, got a Dataset{one}.")
    if not (hasattr(value, "dims") and hasattr(value, "dtype")):
        raise ValueError(
            f"`{name}` must be a DataArray, got {type(value).__name__}{otherwise or '.'}"
        )


def require_columns(table: "pandas.DataFrame", names: Any, argument: str = "columns") -> None:
    """Refuse a table that lacks one of the columns `names` of an argument: a `ValueError`."""
    for name in names:
        if name not in table:
            hint = choices(name, map(str, table.columns))
            file = of_file(table, " in ")
            raise ValueError(f"`{argument}`: there is no column {name!r}{file}{hint}")


def require_numbers(
    table: "pandas.DataFrame", names: Sequence[str], argument: str | None = None
) -> None:
    """Refuse columns, named by an `argument`, that hold anything but numbers: a `ValueError`."""
    import pandas

    require_columns(table, names)
    for name in names:
        given: Any = table[name]
        dated = pandas.api.types.is_datetime64_any_dtype(given) or given.dtype.kind == "m"
        numbers: Any = pandas.to_numeric(given, errors="coerce")
        what = f"{argument}={name}" if argument else name
        refuse(what, "a column of numbers", given, given.notna() & (numbers.isna() | dated))


def with_named(table: "pandas.DataFrame", **arguments: str | None) -> "pandas.DataFrame":
    """Return the table with the column of `weights`, if that is named, as float64.

    **Raises** `ValueError` for arguments that name no column, and for weights that are not positive
    and finite; they may be blank.
    """
    for argument, name in arguments.items():
        if name is not None and name not in table:
            columns = f"{of_file(table, 'the columns of ')}: ".removeprefix(": ")
            raise unknown(f"`{argument}`", name, map(str, table.columns), of=columns)
    if (weights := arguments["weights"]) is not None:
        require_numbers(table, [weights], "weights")
        table = as_numbers(table, [weights])
        given: Any = table[weights]
        bad = given.notna() & ~(np.isfinite(given) & (given > 0))
        refuse(f"weights={weights}", "positive and finite", given, bad)
    return table


def as_numbers(table: "pandas.DataFrame", names: Sequence[str]) -> "pandas.DataFrame":
    """Return the table with the columns `names` as float64, NaN where they are blank.

    **Raises** `ValueError` for columns that hold anything but numbers.
    """
    import pandas

    require_numbers(table, names)
    numbers: Any = {name: pandas.to_numeric(table[name]) for name in names}
    return table.assign(**{n: v.to_numpy(float, na_value=np.nan) for n, v in numbers.items()})


def require_coordinates(argument: str, curve: Any, dim: str, named: str = "dim") -> None:
    """Raise `ValueError` unless a DataArray has a dimension of that name, with coordinates."""
    if dim not in curve.dims:
        raise unknown(f"`{named}`", dim, [str(d) for d in curve.dims])
    if dim not in curve.coords:
        raise ValueError(
            f"`{named}` {dim!r} of `{argument}` must have coordinates: "
            f"{argument}.assign_coords({dim}=x) gives them."
        )


def refuse(name: str, what: str, values: Any, bad: Any) -> None:
    """Raise `ValueError` with the first of `values` that is `bad`, and its place, if there is one.

    That is the line of the file that `values` were read from, else the row.
    """
    rows = np.flatnonzero(np.asarray(bad))
    if len(rows):
        value = np.asarray(values)[rows[0]]
        shown = value.item() if isinstance(value, np.generic) else value
        place = place_of(values, int(rows[0]))
        raise ValueError(f"`{name}` must be {what}, got {shown!r} in {place}.")


def as_dataset(
    table: "pandas.DataFrame", dims: Sequence[str], observables: Sequence[str]
) -> "xarray.Dataset":
    """Observables of a table on the dimensions `dims`; points that it lacks are NaN.

    **Raises** `ValueError` if several rows lie at one place.
    """
    table = as_numbers(table, observables)
    indexed = table.dropna(subset=list(observables), how="all").set_index(list(dims))
    twice = indexed.index[indexed.index.duplicated()]
    if len(twice):
        raise ValueError(
            f"`data` must have one row for each ({', '.join(dims)}), got several at {twice[0]}: "
            "name what distinguishes them, such as columns={'seed': 'run'}."
        )
    return indexed[list(observables)].to_xarray()


def read_data(data: Data) -> Data:
    """The table of a file; other data as they are."""
    if not isinstance(data, str | Path):
        return data
    path = Path(data)
    if path.is_dir():
        raise ValueError(
            f"`data` {str(path)!r} is a folder: if it is a store, use {OPEN} (in a shell, "
            "no --theory)."
        )
    require_file("data", path)
    return read_table(path)
