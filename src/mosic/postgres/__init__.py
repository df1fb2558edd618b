"""The embedded PostgreSQL: started by the first process that needs it, shared, stopped by the last.

`account` decides who runs it, where and with which programs; `cluster` makes, starts and stops it;
`listening` is its socket; `running` waits until it is ready; `sharing` is the entry point.
"""

from mosic.postgres.account import has_cluster
from mosic.postgres.sharing import EmbeddedPostgres, open_embedded

__all__ = ["EmbeddedPostgres", "has_cluster", "open_embedded"]
