"""`python -m jaxscale`: the command line."""

from jaxscale.cli import main

main()
