"""Use cases: they own the transactions, raise `MosicError` and know no web framework."""
