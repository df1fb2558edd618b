"""A client of a running service: uploads, downloads and edits over HTTP, with retries."""
