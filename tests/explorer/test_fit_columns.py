"""Columns are guessed by their usual names."""

import pytest

from jaxscale.explorer._fit_columns import guessed

SIZES = ("loss", "n_parameters", "n_tokens", "compute")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["params", "tokens", "loss"], ("loss", "params", "tokens", None)),
        (["N", "D", "L"], ("L", "N", "D", None)),
        (["Model Size", "FLOPs", "val-loss"], ("val-loss", "Model Size", None, "FLOPs")),
        (["nParams", "trainTokens", "evalLoss"], ("evalLoss", "nParams", "trainTokens", None)),
        (["train_loss", "val_loss", "params"], ("val_loss", "params", None, None)),
        (["total_params", "loss_final", "seed"], ("loss_final", "total_params", None, None)),
        (["loss_std", "loss"], ("loss", None, None, None)),
        (["width", "accuracy"], (None, None, None, None)),
        ([], (None, None, None, None)),
    ],
)
def test_usual_names(columns, expected):
    chosen = guessed(SIZES, columns)
    assert tuple(chosen.get(role) for role in SIZES) == expected


@pytest.mark.parametrize(
    ("columns", "x"),
    [
        (["size_of_vocabulary", "x", "loss"], "x"),
        (["depth", "params", "loss"], "params"),
        (["depth", "loss"], "depth"),
        (["loss"], None),
    ],
)
def test_the_one_variable_is_x_else_a_size_else_the_first_other_column(columns, x):
    assert guessed(("loss", "x"), columns).get("x") == x


def test_no_column_has_two_roles():
    chosen = guessed(("steps", "batch_size", "sparsity"), ["s", "b"])
    assert chosen == {"steps": "s", "batch_size": "b"}
