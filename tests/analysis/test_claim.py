"""Verdicts follow from the numbers, and from nothing else."""

import dataclasses
import json

import numpy as np
import pytest
from rich.console import Console

from jaxscale.analysis import Claim, claims_table, claims_to_json

TEXTS = {"id": "loss-time", "statement": "the loss falls as $T^-0.5$", "source": "[1], eq. 4"}
CLAIM = Claim(
    **TEXTS, predicted=-0.5, measured=-0.49, interval=(-0.51, -0.47), margin=0.05,
    reason="a tenth of the exponent", n_seeds=8,
)  # fmt: skip


def judge(values, predicted=-0.5, **kwargs):
    arguments = {"margin": 0.05, "reason": "a tenth of the exponent"} | kwargs
    return Claim.from_seeds(*TEXTS.values(), predicted=predicted, values=values, **arguments)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((-0.51, -0.47), "agrees"),
        ((0.0, 1.0), "disagrees"),
        ((-2.0, -1.0), "disagrees"),
        ((-0.60, -0.50), "inconclusive"),
        ((-0.50, -0.40), "inconclusive"),
        ((-0.90, -0.10), "inconclusive"),
        ((-np.inf, np.inf), "inconclusive"),
        ((np.nan, np.nan), "inconclusive"),
    ],
)
def test_verdict_by_interval(interval, verdict):
    assert dataclasses.replace(CLAIM, interval=interval).verdict == verdict


def test_the_ends_of_the_margin_belong_to_it():
    claim = dataclasses.replace(CLAIM, predicted=1.0, margin=0.5, interval=(0.5, 1.5))
    assert claim.verdict == "agrees"
    assert dataclasses.replace(claim, interval=(1.5, 1.75)).verdict == "inconclusive"


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_wrong_prediction_disagrees(seed):
    values = np.random.default_rng(seed).normal(-0.5, 0.02, size=8)
    assert judge(values).verdict == "agrees"
    assert judge(values, predicted=-0.7).verdict == "disagrees"


@pytest.mark.parametrize(
    ("n_seeds", "verdict"),
    [(1, "no verdict"), (3, "no verdict"), (7, "no verdict"), (8, "agrees"), (None, "agrees"),
     (0, "agrees")],
)  # fmt: skip
def test_a_random_quantity_needs_eight_seeds(n_seeds, verdict):
    assert dataclasses.replace(CLAIM, n_seeds=n_seeds).verdict == verdict


def test_three_seeds_give_no_verdict_even_of_a_wrong_prediction():
    claim = judge([-0.5, -0.51, -0.49], predicted=3.0)
    assert (claim.n_seeds, claim.verdict) == (3, "no verdict")


def test_missing_seeds_do_not_count():
    values = np.full(8, -0.5)
    assert judge(values).verdict == "agrees"
    values[0] = np.nan
    assert (judge(values).n_seeds, judge(values).verdict) == (7, "no verdict")
    assert judge(np.full(8, np.nan)).verdict == "inconclusive"


def test_the_number_of_missing_seeds_is_told():
    values = np.append(np.full(8, -0.5), [np.nan, np.nan])
    some, none, one = judge(values), judge(values[8:]), judge(np.nan)
    assert (some.n_omitted, none.n_omitted, one.n_omitted) == (2, 2, 0)
    assert some.to_dict()["n_omitted"] == 2
    seeds = [[cell.text for cell in row][3:5] for row in claims_table([some, none, one]).cells]
    assert seeds == [["-0.5 to -0.5", "8 of 10"], ["nan to nan", "0 of 2"], ["deterministic", "–"]]


@pytest.mark.parametrize("infinite", [[np.inf], [-np.inf], [-np.inf, np.inf]])
@pytest.mark.parametrize("n", [8, 40])
def test_an_infinite_value_is_not_dropped(infinite, n):
    values = np.random.default_rng(0).normal(-0.5, 0.01, n)
    assert judge(values).verdict == "agrees"
    claim = judge([*values, *infinite])
    assert not np.isfinite(claim.measured)
    assert (claim.n_seeds, claim.verdict) == (n + len(infinite), "inconclusive")
    low, high = claim.interval
    assert np.isneginf(low) == (-np.inf in infinite)
    assert np.isposinf(high) == (np.inf in infinite)
    assert judge(infinite[0]).verdict == "inconclusive"


def test_a_deterministic_number_is_its_own_interval():
    claim = judge(-0.48)
    assert (claim.measured, claim.interval, claim.n_seeds) == (-0.48, (-0.48, -0.48), None)
    assert claim.verdict == "agrees"
    assert judge(-0.4).verdict == "disagrees"
    assert judge(np.nan).verdict == "inconclusive"


def test_out_of_range_comes_first():
    assert judge(np.full(8, 9.0), out_of_range=True).verdict == "out of range"
    assert judge([9.0], out_of_range=True).verdict == "out of range"


def test_the_verdict_cannot_be_written():
    with pytest.raises(TypeError, match="verdict"):
        Claim(**dataclasses.asdict(CLAIM), verdict="agrees")  # pyright: ignore
    with pytest.raises(AttributeError):
        CLAIM.verdict = "disagrees"  # pyright: ignore


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"margin": 0.0}, "`margin`.*0.0"),
        ({"margin": -1.0}, "`margin`"),
        ({"margin": np.nan}, "`margin`.*nan"),
        ({"margin": np.inf}, "`margin`"),
        ({"reason": " "}, "`reason`"),
        ({"id": ""}, "`id`"),
        ({"source": ""}, "`source`"),
        ({"predicted": np.nan}, "`predicted`.*nan"),
        ({"interval": (1.0, 0.0)}, r"`interval`.*\(1.0, 0.0\)"),
        ({"n_seeds": -1}, "`n_seeds`.*-1"),
        ({"n_omitted": -1}, "`n_omitted`.*-1"),
    ],
)
def test_bad_arguments_are_named(change, name):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(CLAIM, **change)


def test_margin_and_reason_are_mandatory():
    with pytest.raises(TypeError, match="margin"):
        Claim.from_seeds(*TEXTS.values(), predicted=1.0, values=1.0)  # pyright: ignore


def test_the_name_judge_is_deprecated():
    arguments = {"predicted": 1.0, "values": [1.0] * 8, "margin": 0.1, "reason": "equal"}
    with pytest.warns(DeprecationWarning, match=r"use `Claim\.from_seeds`"):
        claim = Claim.judge(*TEXTS.values(), **arguments)
    assert claim == Claim.from_seeds(*TEXTS.values(), **arguments)


def test_json_round_trip(tmp_path):
    missing = dataclasses.replace(CLAIM, id="β", measured=np.nan, interval=(np.nan, np.nan))
    claims_to_json([CLAIM, missing], tmp_path / "claims.json")
    first, second = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert first["verdict"] == "agrees"
    assert first["interval"] == [-0.51, -0.47]
    assert (first["statement"], first["margin_fixed"]) == ("the loss falls as T^-0.5", "")
    assert (second["id"], second["measured"], second["interval"]) == ("β", None, [None, None])
    assert first.pop("verdict") == Claim(**{**first, "interval": tuple(first["interval"])}).verdict
    del first["n_omitted"]  # files that were written before it load, too
    assert Claim(**{**first, "interval": tuple(first["interval"])}).n_omitted == 0
    with pytest.raises(ValueError, match=r"`claims`.*loss-time"):
        claims_to_json([CLAIM, CLAIM], tmp_path / "twice.json")


def test_the_table_holds_the_numbers_and_the_verdict():
    few = dataclasses.replace(CLAIM, id="law [1]", n_seeds=3, margin_fixed="early")
    exact = dataclasses.replace(CLAIM, id="exact", interval=(0.0, 0.0), n_seeds=None)
    table = claims_table([CLAIM, few, exact], "toy")
    texts = [[cell.text for cell in row] for row in table.cells]
    assert texts[0] == ["loss-time", "-0.5 ± 0.05", "-0.49", "-0.51 to -0.47", "8", "agrees",
                        "a tenth of the exponent"]  # fmt: skip
    assert texts[1][6] == "a tenth of the exponent (fixed early)"
    assert texts[1][:2] + texts[1][5:6] == ["law [1]", "-0.5 ± 0.05", "no verdict"]
    assert texts[2][3:6] == ["deterministic", "–", "disagrees"]
    assert [row[5].style for row in table.cells] == ["agrees", "open", "disagrees"]
    name = table.cells[0][0]
    assert (name.anchor, name.statement, name.source) == (
        "toy-loss-time",
        *list(TEXTS.values())[1:],
    )
    console = Console(width=80)
    with console.capture() as text:
        console.print(table)
    head, _, first, second = text.get().splitlines()[:4]
    assert head.split() == ["claim", "predicted", "measured", "95", "%", "interval", "verdict"]
    assert first.split()[-1] == "agrees"
    assert second.startswith("law [1] ")
    assert second.split()[-2:] == ["no", "verdict"]
