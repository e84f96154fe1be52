"""One run of multitask sparse parity, as every peer is told it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Config:
    """The names and defaults are those of `ParityNetwork`; `random_skills` is `RandomSkills()`."""

    n_skills: int = 5
    n_bits: int = 16
    skill_size: int = 3
    skill_exponent: float = 0.6
    target_scale: float = 5.0
    width: int = 256
    init_scale: float = 0.01
    batch_size: int = 512
    n_steps: int = 12000
    learning_rate: float = 0.1
    optimizer: str = "sgd"
    random_skills: bool = False

    def __post_init__(self):
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"`optimizer` must be 'sgd' or 'adam', got {self.optimizer!r}.")
