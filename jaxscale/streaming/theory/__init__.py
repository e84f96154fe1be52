"""Theory of streaming regression, derived here for the model of arXiv 2405.15074."""
