"""The benchmark of coverage: its cases, and how they are chosen and counted."""

import math

import pytest

from benchmarks import coverage


def test_cases_are_chosen_by_name_or_a_part_of_it():
    assert coverage.chosen([]) == list(coverage.CASES)
    seeds = [f"superposition, {n} seeds" for n in (5, 8, 20)]
    assert coverage.chosen(["superposition"]) == seeds
    broken = "broken power law, 40 points"
    assert coverage.chosen([broken, "40 points"]).count(broken) == 1
    assert coverage.chosen(["chinchilla, 40 runs"]) == ["chinchilla, 40 runs"]
    with pytest.raises(ValueError, match=r"`case` must be part of one of .* got 'kaplan'"):
        coverage.chosen(["kaplan"])


def test_an_interval_holds_the_truth_or_not_or_there_is_none():
    ends = {"a": (1.0, 2.0), "b": (1.0, 2.0), "c": (math.nan, math.nan)}
    held = coverage.holds(ends, {"a": 1.5, "b": 2.5, "c": 1.0})
    assert held == {"a": True, "b": False, "c": None}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["broken power law, 40 points", "superposition, 5 seeds"])
def test_a_case_is_measured(name):
    measured = coverage.measure(coverage.CASES[name], 2)
    assert measured["sets"] == 2
    for own in measured["intervals"].values():
        assert own["given"] == 2
        assert own["covered"] in (0.0, 0.5, 1.0)
