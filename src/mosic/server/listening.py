"""The sockets that a service listens on, the same for one process and for several."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from mosic.errors import StartupError
from mosic.settings import Settings

_EVERYWHERE = (socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")  # noqa: S104
_NOT_HERE = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_ATTEMPTS = 20

_Address = tuple[socket.AddressFamily, str]


def bind(settings: Settings) -> list[socket.socket]:
    """Bound to the host and port of the settings, and not listening yet: until the service is ready, whoever
    connects is refused.

    `::` is every address of both IP versions, and a name all of its addresses, each version on a socket of
    its own. So a client's address always has the form of its own version. Raises `StartupError`, which names
    the setting.
    """
    addresses = _addresses(settings.host)
    for _ in range(_ATTEMPTS):
        try:
            return _bind_all(addresses, settings)
        except _TakenMeanwhile:
            continue
    raise StartupError("MOSIC_APP_PORT=0: no port is free for both IPv4 and IPv6")


def why_not(error: OSError, host: str, port: int) -> str:
    """What is wrong with the settings when the address cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"MOSIC_APP_PORT: port {port} of {host} is in use by another program, perhaps another Mosic: "
            "end it, or set another port"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"MOSIC_APP_PORT: this account may not listen on port {port}: set one from 1024 on, and put a "
            "proxy in front"
        )
    if error.errno in _NOT_HERE:
        return f"MOSIC_HOST: {host} is not an address of this machine"
    return f"MOSIC_HOST, MOSIC_APP_PORT: Mosic cannot listen on port {port} of {host}: {error.strerror}"


class _TakenMeanwhile(Exception):
    """The port that one version of IP was given is in use in the other."""


def _addresses(host: str) -> list[_Address]:
    if host == "::":
        return list(_EVERYWHERE)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartupError(
            f"MOSIC_HOST: the host name {host!r} cannot be resolved: {error.strerror}"
        ) from error
    # Once each: a name may be there several times in /etc/hosts.
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bind_all(addresses: list[_Address], settings: Settings) -> list[socket.socket]:
    port, missing = settings.app_port, None
    with ExitStack() as stack:
        bound: list[socket.socket] = []
        for family, address in addresses:
            try:
                made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.bind((address, port))
            except OSError as error:
                # A machine without IPv6 often has names with an address in it.
                if error.errno in _NOT_HERE:
                    missing = error
                    continue
                if error.errno == errno.EADDRINUSE and settings.app_port == 0:
                    raise _TakenMeanwhile from error
                raise StartupError(why_not(error, settings.host, port)) from error
            port = made.getsockname()[1]
            bound.append(made)
        if missing is not None and not bound:
            raise StartupError(why_not(missing, settings.host, port)) from missing
        stack.pop_all()
    return bound
