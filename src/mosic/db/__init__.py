"""SQL: functions that take a connection and never commit; the use cases own the transactions."""
