"""The table of all forms."""

from jaxscale._table import Column, Table
from jaxscale._text import plain_equation
from jaxscale.analysis._form import FORMS

NOTE = "js.calibrate(form, data) fits one; data has a column for each input, and the result"


def table() -> Table:
    """List the forms, those of your own too: equation, inputs, result, parameters, source.

    **Returns** a table that `rich.print` fits to the terminal; its `rows` are text.

    >>> [row[0] for row in js.forms.table().rows if "steps" in row[3]]
    ['critical_batch']
    """
    rows = [
        [
            name,
            plain_equation(form.equation),
            ", ".join(form.inputs),
            form.result,
            ", ".join(form.parameters),
            form.reference,
        ]
        for name, form in sorted(FORMS.items())
    ]
    header = ["form", "equation", "inputs", "result", "parameters", "source"]
    return Table("Forms", NOTE, [Column(name) for name in header], rows)
