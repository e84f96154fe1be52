"""Tables in a terminal: at any width no word and no number is cut, and nothing is lost."""

import collections
import dataclasses
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import jaxscale as js
from jaxscale._table import Cell, Column, Table
from jaxscale._text import duration, plain_equation
from jaxscale.analysis._claim import Claim, claims_table

WORST = "an-identifier-of-a-claim-that-somebody-made-longer-than-half-of-a-terminal"


def lines(table, width=80):
    console = Console(width=width, color_system=None)
    with console.capture() as text:
        console.print(table)
    return [line.rstrip() for line in text.get().splitlines()]


def words(table, stacked=False):
    """Words of a table that a terminal shows, with the number of times."""
    shown = [i for i, column in enumerate(table.columns) if not column.page_only]
    names = [table.columns[i].name for i in shown]
    texts = [table.title, table.note, *([] if stacked else names)]
    for row in table.cells:
        for i, name in zip(shown, names, strict=True):
            texts.append(f"{name}: {row[i].text}" if stacked and name else row[i].text)
    return collections.Counter(word for text in texts for word in text.split())


def printed(table, width=80):
    """Words of what is printed, without the rules below the head."""
    counts = collections.Counter(word for line in lines(table, width) for word in line.split())
    return collections.Counter({w: n for w, n in counts.items() if set(w) != {"─"}})


def is_stacked(table, width=80):
    return not any(line and set(line) <= {"─", " "} for line in lines(table, width))


def claim(name, predicted=-1 / 3, margin=0.005, spread=1e-3, n_seeds: int | None = 8, **more):
    return Claim(
        id=name, statement="s " * 99, source="a paper", predicted=predicted, measured=predicted,
        interval=(predicted - spread, predicted + spread), margin=margin, reason="r " * 99,
        n_seeds=n_seeds, **more,
    )  # fmt: skip


EMERGENCE = [
    *(claim(f"emergence-{axis}-order", 1.6, 0.16) for axis in ("time", "data", "width")),
    *(claim(f"law-{law}-{a}", -a / (a + 1), 0.01, n_seeds=None)
      for law in "TDNC" for a in (0.3, 0.6, 0.9)),
    claim("law-best-N-prefactor", 1.0, 0.1, n_seeds=None),
]  # fmt: skip
SPARSE = [
    *(claim(f"data-{a}-{g}", -a / g, 0.05) for a in (0.5, 1) for g in (2, 3)),
    *(claim(f"frontier-data-first-1-{g}", (g - 1) / (g + 1), 0.12) for g in (2, 3)),
    claim("peak-dense", 1.0, 0.15, spread=0.0),
    claim("instability-samples", -0.491, 0.15, out_of_range=True),
]
SUPERPOSITION = [
    *(claim(f"sequential-limit-{a}-{b}", 0.99, 0.15) for a in (1.1, 2) for b in (0, 0.5)),
    claim("bottleneck-exact", 0.0, 1e-10, spread=1.603e-15),
    claim("universal-1.1-0.25", 1.0, 0.25, spread=0.4),
    claim("small-start-spread-32", 0.0, 0.3, spread=np.inf),
    claim("small-start-spread-64", -0.3367, 0.3, spread=2.0, n_seeds=3),
    *(claim(f"tail-power-law-index-{i}", 1 - 2 / i, n_seeds=None) for i in (3, 4, 6, 10)),
]
TABLES = {
    "emergence": claims_table(EMERGENCE),
    "sparse": claims_table(SPARSE),
    "superposition": claims_table(SUPERPOSITION),
    "longer": claims_table([claim(f"{WORST[:34]}-{i}", out_of_range=True) for i in range(3)]),
    "worst": claims_table([claim(WORST, -1.2345e-10, 1e-10, 1e-10), claim("short")]),
    "scores": Table(
        "Emergence of the later skills, predicted from the first",
        "every skill emerged in every seed: yes",
        ("", *(f"skill {k}" for k in range(1, 6))),
        (
            ("δ = ln(measured / predicted half point)", *["+0.081"] * 5),
            ("max |ΔR/S| of the mean curve", *["–"] * 5),
        ),
    ),
    "interference": Table(
        "Where interference dominates",
        "Exponents on steps 10 to 100, without superposition at the same rate. " * 5,
        ("data", "exponent", "without", "predicted window", "ratio", "sooner", "same start"),
        [(f"a = {a}, b = 0.25", "1.23", "0.32", "1.25 (5 to 100)", "3.8", "0.0043", "5.6e+02")
         for a in (1.1, 1.5, 2)],
    ),
    "order": Table(
        "Learning order", "",
        ("data", "superposition", *(str(2**i) for i in range(16))),
        [(f"a = {a}", "without", *(f"{3 ** min(i, 10)}" for i in range(16))) for a in (1.1, 2)],
    ),
    "brackets": Table("[bold]Title[/]", "[1]", ("[x]", "y"), [("[red]law[/] [1]", ":smile:")]),
}  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("name", TABLES)
def test_no_word_and_no_number_is_cut(name, width):
    table = TABLES[name]
    width = max(width, max(map(len, words(table))) + 2)  # a wider word is broken by any terminal
    assert printed(table, width) == words(table, is_stacked(table, width))
    assert max(map(cell_len, lines(table, width))) <= width


def test_the_claims_of_the_studies_are_tables_at_80_columns():
    stacked = [name for name in TABLES if is_stacked(TABLES[name])]
    assert stacked == ["worst", "order"]
    assert lines(TABLES["worst"])[:4] == [
        "claim:",
        f"  {WORST}",
        "predicted: -1.234e-10 ± 1e-10",
        "measured: -1.234e-10",
    ]


def test_cells_continue_where_it_costs_the_fewest_lines():
    shown = lines(TABLES["superposition"])
    (row,) = [i for i, line in enumerate(shown) if line.startswith("bottleneck-exact")]
    assert shown[row].split() == ["bottleneck-exact", "0", "±", "1e-10", "0", "-1.603e-15", "to",
                                  "agrees"]  # fmt: skip
    assert shown[row + 1].split() == ["1.603e-15"]
    ends = shown[row].index(" to  ") + len(" to")
    assert len(shown[row + 1]) == ends  # numbers end at the right
    wide = lines(TABLES["superposition"], 100)
    assert len(wide) == 2 + len(SUPERPOSITION) + 1
    assert not lines(TABLES["superposition"], 100)[-1]


def test_title_and_note_come_first():
    shown = lines(TABLES["brackets"])
    assert shown[:3] == ["[bold]Title[/]", "[1]", f"[x]{' ' * 20}y"]
    assert shown[4] == "[red]law[/] [1]  :smile:"
    assert str(TABLES["brackets"]).splitlines() == [line for line in shown if line]


def test_verdicts_have_colours():
    console = Console(width=80, force_terminal=True, color_system="standard")
    with console.capture() as text:
        console.print(claims_table([claim("a"), claim("b", spread=0.1), claim("c", n_seeds=2)]))
    output = text.get()
    assert "\x1b[32magrees\x1b[0m" in output
    assert "\x1b[33minconclusive\x1b[0m" in output
    assert "\x1b[33mno verdict" in output


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"`rows` must have 2 cells each.*got \('a',\)"):
        Table("", "", ("x", "y"), [("a",)])


def test_columns_and_cells_are_made_of_texts():
    row = ("a", "1", Cell("2", "open"))
    table = Table("", "as $k^-2$", ("x", "y", Column("z", page_only=True)), [row])
    assert table.columns == [Column("x"), Column("y", number=True), Column("z", page_only=True)]
    assert table.cells == [[Cell("a"), Cell("1"), Cell("2", style="open")]]
    assert lines(table) == ["as k^-2", "x  y", "─  ─", "a  1", ""]


WORD = st.text("abc-.±5δ漢", min_size=1, max_size=30)
TEXT = st.lists(WORD, max_size=6).map(" ".join)


@hypothesis.given(
    st.integers(1, 5).flatmap(
        lambda n: st.tuples(
            st.lists(TEXT, min_size=n, max_size=n),
            st.lists(st.lists(TEXT, min_size=n, max_size=n), min_size=1, max_size=4),
        )
    ),
    st.integers(62, 140),  # two columns wide for the characters that are
)
@hypothesis.settings(deadline=None, max_examples=100)
def test_any_table_is_printed_in_full(table, width):
    header, rows = table
    table = Table("", "", header, rows)
    assert all(cell_len(line) <= width for line in lines(table, width))
    assert printed(table, width) == words(table, is_stacked(table, width))


@pytest.mark.parametrize(
    ("tex", "plain"),
    [
        (r"E + A N^{-\alpha}", "E + A N^-alpha"),
        (r"S_{\min} \left(1 + \frac{B_{\text{crit}}}{B}\right)", "S_min (1 + B_crit / B)"),
        (r"\frac{A + B}{C x}", r"\frac{A + B}{C x}"),  # not a simple one
        (r"\left[\frac{D_c}{D}\right]^{\alpha / \beta}, \quad x", "[D_c / D]^(alpha / beta), x"),
    ],
)
def test_equations_are_plain_in_a_terminal(tex, plain):
    assert plain_equation(tex) == plain


def test_columns_of_which_nothing_is_given_are_left_out():
    table = Table("", "", ["a", "b", "c"], [("x", "–", "–"), ("y", "–", "1")])
    assert table.filled.rows == [("x", "–"), ("y", "1")]
    assert [column.name for column in table.filled.columns] == ["a", "c"]
    assert [column.number for column in table.filled.columns] == [False, True]
    assert len(Table("", "", ["a", "b"], []).filled.header) == 2


def test_sentences_in_a_narrow_column_are_stacked():
    """A column of sentences beside a long name has room for words, but is no reading."""
    sentence = "mean over features: within 2 / n_features, late in training; runs differ by W"
    name = "streaming.theory.mean_max_learning_rate"
    narrow = Table(
        "", "", [Column(n) for n in "abcd"], [("step_size", "asymptotic", sentence, name)]
    )
    assert printed(narrow, 78) == words(narrow, True)
    assert is_stacked(narrow, 78)
    assert not is_stacked(narrow, 90)
    short = dataclasses.replace(narrow, rows=[("step_size", "asymptotic", "mean of runs", name)])
    assert not is_stacked(short, 78)


@pytest.mark.parametrize(
    "system",
    [
        js.streaming.StreamingRegression(),
        js.emergence.ParityNetwork(),
        js.emergence.MultilinearSkills(n_skills=3, n_steps=20),
    ],
    ids=lambda system: type(system).__name__,
)
def test_what_theory_says_is_read_at_80_columns(system):
    table = js.theory_of(system)
    assert max(map(cell_len, lines(table))) <= 80
    assert printed(table) == words(table, is_stacked(table))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"), (2e-4, "0.2 ms"), (0.04, "40.0 ms"), (0.556, "0.56 s"), (5.98, "6.0 s"),
        (119, "119.0 s"), (150, "2.5 min"), (2.32e3, "39 min"), (9e3, "2.5 h"), (3e5, "3.5 days"),
        (6.9e7, "2.2 years"), (1e12, "31,688 years"),
    ],
)  # fmt: skip
def test_durations_are_written_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_a_plan_says_its_time_in_words_and_that_compilation_comes_on_top():
    system = js.emergence.MultilinearSkills(n_skills=100_000, n_steps=10_000_000)
    text = " ".join(str(js.plan(js.Grid(system, seeds=100_000))).split())
    assert re.search(r", about [\d.,]+ (days|years)( .*)?, on top of which comes compilation", text)
