"""Benchmarks of jaxscale against the loops that one would write without it."""
