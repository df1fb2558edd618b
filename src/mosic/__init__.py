"""Mosic: upload, understand, store and stream audio."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    __version__: str
    """That of `pyproject.toml`, as it was installed."""
else:

    def __getattr__(name):
        # Only where it is asked for: the processes that read files and the health check of the image do not.
        if name == "__version__":
            from importlib.metadata import version

            return version("mosic")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
