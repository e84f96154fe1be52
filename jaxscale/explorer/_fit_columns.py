"""Which columns of a table are what a form takes, by the names that are usual for them."""

import re
from collections.abc import Iterable, Mapping, Sequence

COMPUTE = "compute"
INPUT = "x"  # of forms of one variable
USUAL: Mapping[str, tuple[str, ...]] = {
    "n_parameters": (
        "n_parameters", "parameters", "params", "n_params", "num_params", "num_parameters",
        "nparams", "model_params", "param_count", "model_size", "n",
    ),
    "n_tokens": (
        "n_tokens", "tokens", "num_tokens", "ntokens", "train_tokens", "training_tokens",
        "token_count", "dataset_size", "data_size", "d",
    ),
    COMPUTE: (
        "compute", "flop", "flops", "train_flops", "training_flops", "training_flop",
        "training_compute", "train_compute", "c",
    ),
    "loss": (
        "loss", "val_loss", "validation_loss", "valid_loss", "eval_loss", "test_loss",
        "final_loss", "lm_loss", "train_loss", "training_loss", "l",
    ),
    "steps": ("steps", "n_steps", "num_steps", "step", "s"),
    "batch_size": ("batch_size", "batchsize", "batch", "global_batch_size", "b"),
    "sparsity": ("sparsity", "s"),
    "bits": ("bits", "n_bits", "precision"),
    "n_unique_tokens": ("n_unique_tokens", "unique_tokens", "u"),
    "forward_area": ("forward_area",),
    "annealing_area": ("annealing_area",),
    INPUT: ("x", "size", "step", "steps"),
}  # fmt: skip
INSTEAD = ("n_parameters", "n_tokens", COMPUTE)  # of an x, where no column has its name


def guessed(roles: Iterable[str], columns: Sequence[str]) -> dict[str, str]:
    """Columns of a table by what they are for a form; roles without a column are left out.

    A column that is called as usual goes before one whose name holds the word, such as
    `loss_final`. No column has two roles.

    **Arguments:** `roles`: names of inputs and of the result, the first to choose first, or
    `compute`; `columns`: names of the columns that hold numbers.
    """
    plain = {column: _plain(column) for column in columns}
    chosen: dict[str, str] = {}
    roles = tuple(roles)
    for matches in (_is_usual, _holds_usual):
        for role in (role for role in roles if role not in chosen):
            named = [c for u in _usual(role) for c in columns if matches(plain[c], u)]
            free = [c for c in named if c not in chosen.values()]
            chosen |= {role: free[0]} if free else {}
    if INPUT in roles and INPUT not in chosen:
        others = guessed(INSTEAD, [c for c in columns if c not in chosen.values()])
        rest = [c for c in columns if c not in chosen.values()]
        first = [*(others[n] for n in INSTEAD if n in others), *rest]
        chosen |= {INPUT: first[0]} if first else {}
    return chosen


def _usual(role: str) -> tuple[str, ...]:
    return USUAL.get(role, (role,))


def _plain(name: str) -> str:
    """A name in lower case, with one `_` for what stands between words."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name))
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


def _is_usual(name: str, usual: str) -> bool:
    return name == usual


def _holds_usual(name: str, usual: str) -> bool:
    return len(usual) > 1 and f"_{usual}_" in f"_{name}_"
