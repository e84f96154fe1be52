"""The same tasks written with other packages."""
