"""Resumable uploads: claim, watchdog, append, and what becomes of those that are not finished."""
