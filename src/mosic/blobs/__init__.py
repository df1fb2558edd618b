"""Stores of immutable bytes; `base` is the contract, `open` picks one by URL."""
