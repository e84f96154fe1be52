"""Options of the benchmarks, and what every result says about the machine."""

from typing import Any

import pytest

from benchmarks import machine


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rounds` and `--tiny`."""
    parser.addoption("--rounds", type=int, default=5, help="interleaved rounds of every case")
    parser.addoption(
        "--tiny", action="store_true", help="cut every case to what shows that it works"
    )


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """Number of interleaved rounds."""
    return request.config.getoption("--rounds")


@pytest.fixture
def tiny(request: pytest.FixtureRequest) -> bool:
    """Whether to show only that a case works."""
    return request.config.getoption("--tiny")


@pytest.fixture
def extra_info(benchmark: Any, tiny: bool):
    """`extra_info` of a benchmark, with the machine and its load before and after."""
    benchmark.extra_info |= {"machine": machine.about(), "tiny": tiny}
    yield benchmark.extra_info
    benchmark.extra_info["machine"]["load_after"] = machine.load_average()
