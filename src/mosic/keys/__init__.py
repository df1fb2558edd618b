"""API keys: which are valid, read again without a restart, and who failed of late."""
