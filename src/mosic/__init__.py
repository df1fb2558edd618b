"""Mosic: upload, understand, store and stream audio."""

__version__ = "0.1.0"
