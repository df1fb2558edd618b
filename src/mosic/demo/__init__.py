"""Six clips that Mosic synthesises, so that a new installation has something to play."""
