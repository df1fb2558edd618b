"""Protocol text only: bytes and strings in, values or errors out; no await, no framework, no clock."""
