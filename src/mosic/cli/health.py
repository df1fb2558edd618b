"""Whether the service of this container lives: `python -m mosic.cli.health`, for Docker's HEALTHCHECK.

Docker calls it every few seconds, so it imports the standard library only, and reads by itself the settings
that it needs. A test compares what it makes of them with what the service does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

_PATIENCE_SECONDS = 4
_EVERYWHERE = {"": ("127.0.0.1",), "0.0.0.0": ("127.0.0.1",), "::": ("127.0.0.1", "::1")}  # noqa: S104


def addresses(environment: Mapping[str, str]) -> list[tuple[str, int]]:
    """The addresses at which it listens, by MOSIC_HOST and MOSIC_APP_PORT or MOSIC_PORT."""
    values = {name.upper(): value.strip() for name, value in environment.items()}
    ports = [values.get(name, "") for name in ("MOSIC_APP_PORT", "MOSIC_PORT")]
    # Kubernetes sets such names to tcp://….
    port = next((int(text) for text in ports if text.isascii() and text.isdecimal()), 8000)
    host = values.get("MOSIC_HOST", "").removeprefix("[").removesuffix("]")
    return [(one, port) for one in hosts_to_ask(host)]


def hosts_to_ask(host: str) -> tuple[str, ...]:
    """The IP addresses at which this machine reaches a service that listens on `host`."""
    return _EVERYWHERE.get(host, (host,))


def is_alive(host: str, port: int) -> bool:
    """Whether it responds in time, and not with a server error."""
    # Directly, without the proxies of the environment.
    connection = HTTPConnection(host, port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not any(is_alive(host, port) for host, port in addresses(os.environ)))
