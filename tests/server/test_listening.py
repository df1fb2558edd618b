"""What is listened on, and the sentence when it cannot be: it names the setting."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mosic.errors import StartupError
from mosic.server.listening import bind
from mosic.settings import Settings

needs_ipv6 = pytest.mark.skipif(not Path("/proc/net/if_inet6").read_text(), reason="needs IPv6")


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = bind(Settings(host=host, app_port=port))
    try:
        for one in sockets:
            one.listen()
        yield sockets
    finally:
        for one in sockets:
            one.close()


def reached(family: socket.AddressFamily, host: str, port: int) -> bool:
    with closing(socket.socket(family, socket.SOCK_STREAM)) as client:
        client.settimeout(10)
        return client.connect_ex((host, port)) == 0


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "four", "six"),
    [("::", True, True), ("0.0.0.0", True, False), ("::1", False, True)],  # noqa: S104
)
def test_ip_versions(host: str, four: bool, six: bool) -> None:
    with listening(host) as sockets:
        ports = {one.getsockname()[1] for one in sockets}
        assert len(ports) == 1, "a client of either version is given the same port"
        (port,) = ports
        assert reached(socket.AF_INET, "127.0.0.1", port) is four
        assert reached(socket.AF_INET6, "::1", port) is six


@needs_ipv6
def test_a_client_has_the_address_of_its_own_version() -> None:
    """Proxies that are trusted by address, limits and logs see 127.0.0.1, not ::ffff:127.0.0.1."""
    with listening("::") as sockets:
        port = sockets[0].getsockname()[1]
        (four,) = [one for one in sockets if one.family == socket.AF_INET]
        with closing(socket.create_connection(("127.0.0.1", port), timeout=60)):
            connection, peer = four.accept()
            connection.close()
            assert peer[0] == "127.0.0.1"


def test_a_name_is_all_of_its_addresses() -> None:
    known = {address[4][0] for address in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
    with listening("localhost") as sockets:
        bound = {one.getsockname()[0] for one in sockets}
        assert bound
        assert bound <= known


def test_until_it_serves_nobody_is_kept_waiting() -> None:
    (one,) = bind(Settings(host="127.0.0.1", app_port=0))
    with closing(one):
        assert not reached(socket.AF_INET, "127.0.0.1", one.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "localhost"])
def test_a_port_that_is_in_use(host: str) -> None:
    with listening("127.0.0.1") as (other,):
        port = other.getsockname()[1]
        with pytest.raises(StartupError, match=f"^MOSIC_APP_PORT: port {port} of {host} is in use"):
            bind(Settings(host=host, app_port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "nowhere.invalid"])
def test_a_host_that_is_not_here(host: str) -> None:
    with pytest.raises(StartupError, match=r"^MOSIC_HOST: ") as raised:
        bind(Settings(host=host, app_port=0))
    assert host in str(raised.value)


@pytest.mark.parametrize("host", ["http://localhost", "0.0.0.0:8000", "two words", "*", "[::1", "a/b"])
def test_a_host_that_is_none(host: str) -> None:
    with pytest.raises(ValueError, match="nor a host name; the port is MOSIC_APP_PORT"):
        Settings(host=host)


def test_brackets_are_no_part_of_an_address() -> None:
    assert Settings(host="[::1]").host == "::1"


def test_a_port_that_is_for_root() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first < 2:
        pytest.skip("here every account may listen on every port")
    program = (
        "import os, encodings.idna\nfrom mosic.server.listening import bind\n"
        "from mosic.settings import Settings\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        f"bind(Settings(host='127.0.0.1', app_port={first - 1}))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"MOSIC_APP_PORT: this account may not listen on port {first - 1}" in run.stderr
