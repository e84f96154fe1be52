"""The superposition atlas: exponents of training over setups, data and crowding."""
