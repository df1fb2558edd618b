"""HTTP: from ASGI messages to use cases and back."""
