"""Connection strings, as providers and their consoles show them → one URL, every part of it checked.

The forms are those of libpq (PostgreSQL manual, «Connection Strings»): a URI, or `name=value` pairs. For
people who paste, more is accepted: the scheme of a driver, quotes around it, a newline at its end, `psql` or
`NAME=` before it, and a password with unescaped `@`, `/` or `?`. No message shows more of it than the name of
a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from sqlalchemy.engine import URL

_DRIVER = "postgresql+asyncpg"
_PAIR = re.compile(r"\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)", re.DOTALL)
_PLAIN_HOSTS = re.compile(
    r"(?:\[[^\]]*\]|[^:/?@,]*)(?::[0-9]+)?(?:,(?:\[[^\]]*\]|[^:/?@,]*)(?::[0-9]+)?)*(?:/.*)?"
)
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:;\[\]]*))(?::([0-9]*))?")
_SCHEMES = ("postgresql", "postgres", "pgsql", "psql", "postgis")
# Consoles show this before it, for pasting into a shell or a settings file.
_LED_BY = re.compile(r"\A(?:psql[ \t]+(?=['\"]|postgres)|(?:export[ \t]+)?[A-Z][A-Z0-9_]*=[ \t]*)")
_TRUE = {
    "true": True,
    "1": True,
    "on": True,
    "yes": True,
    "false": False,
    "0": False,
    "off": False,
    "no": False,
}

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

Check = Callable[[str], str | None]
"""Returns what is wrong with a value, to follow the name of its parameter; None if it is valid."""


def _one_of(*allowed: str) -> Check:
    def check(value: str) -> str | None:
        return None if value in allowed else f"must be one of {', '.join(allowed)}"

    return check


def _number(least: int, most: int) -> Check:
    def check(value: str) -> str | None:
        fits = re.fullmatch(r"-?[0-9]{1,9}", value) and least <= int(value) <= most
        return None if fits else f"must be a whole number from {least} to {most}"

    return check


def _only(*allowed: str, instead: str) -> Check:
    return lambda value: None if value in allowed else f"cannot be {value!r}: {instead}"


def _flag(value: str) -> str | None:
    return None if value.lower() in _TRUE else "must be true or false"


def _given(value: str) -> str | None:
    return None if value else "is empty"


def _anything(_: str) -> str | None:
    return None


_TO_WRITE = "Mosic needs a server that accepts writes: read-write, primary or any"
_PARAMETERS: dict[str, Check] = {
    "application_name": _anything,
    "channel_binding": _only(
        "disable",
        "prefer",
        instead="the driver does not support channel binding; leave it out, and let "
        "sslmode=verify-full&sslrootcert=system prove who the server is",
    ),
    "client_encoding": _only("utf8", "UTF8", "utf-8", "UTF-8", "auto", instead="Mosic uses UTF8"),
    "connect_timeout": _number(-1, 3600),
    "fallback_application_name": _anything,
    "gssencmode": _only("disable", "prefer", instead="the driver encrypts with TLS only (sslmode)"),
    "keepalives": _number(0, 1),
    "keepalives_count": _number(0, 1000),
    "keepalives_idle": _number(0, 86400),
    "keepalives_interval": _number(0, 86400),
    "krbsrvname": _given,
    "load_balance_hosts": _one_of("disable", "random"),
    "options": _anything,
    "passfile": _given,
    "pgbouncer": _flag,
    "sslcert": _given,
    "sslcompression": _only("0", instead="TLS no longer compresses"),
    "sslcrl": _given,
    "sslkey": _given,
    "sslmode": _one_of(*SSL_MODES),
    "sslnegotiation": _one_of("postgres", "direct"),
    "sslpassword": _anything,
    "sslrootcert": _given,
    "sslsni": _only("1", instead="the driver always names the host"),
    "ssl_max_protocol_version": _one_of(*_TLS_VERSIONS),
    "ssl_min_protocol_version": _one_of(*_TLS_VERSIONS),
    "statement_cache_size": _number(0, 100_000),
    "target_session_attrs": lambda value: (
        None
        if value in ("any", "read-write", "primary")
        else f"cannot be {value!r}: {_TO_WRITE}"
        if value in ("read-only", "standby", "prefer-standby")
        else "must be read-write, primary or any"
    ),
    "tcp_user_timeout": _number(0, 3_600_000),
}
# Parameters of other programs that have another name here.
_INSTEAD = {
    "connection_limit": "MOSIC_DB_POOL_SIZE is the number of connections",
    "pool_timeout": "there is no such limit here",
    "schema": "write options=-csearch_path%3DNAME",
    "currentSchema": "write options=-csearch_path%3DNAME",
    "search_path": "write options=-csearch_path%3DNAME",
    "service": "write out the settings of the service file",
}


def parse_database_url(text: str) -> URL:
    """The URL with checked parameters under libpq's names; several hosts are in `host` and `port`,
    separated by commas.

    Raises `ValueError` with one sentence that names the problem and shows no secret.
    """
    text = _LED_BY.sub("", text.strip().removeprefix("\ufeff")).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    scheme, separator, rest = text.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z0-9+.:-]+", scheme):
        pairs = _pairs(text)
        if pairs is None:
            raise ValueError("is not a database URL such as 'postgresql://user:password@host/name'")
        return _url("", "", "", "", pairs)
    if (backend := scheme.lower().removeprefix("jdbc:").partition("+")[0]) not in _SCHEMES:
        raise ValueError(f"only PostgreSQL is supported, not {backend!r}")
    return _url(*_parts(rest))


def _pairs(text: str) -> dict[str, str] | None:
    """`host=… dbname=…`, as libpq reads it; None if the text has another form."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            return None
        quoted, plain = pair[2], pair[3]
        found[pair[1]] = re.sub(r"\\(.)", r"\1", quoted if quoted is not None else plain, flags=re.DOTALL)
        at = pair.end()
    return found or None


def _parts(rest: str) -> tuple[str, str, str, str, dict[str, str]]:
    """User, password, hosts, database and parameters of what follows `://`."""
    head = rest.partition("?")[0]
    if "@" in head:
        split = head.rindex("@")
    elif "@" in rest and not _PLAIN_HOSTS.fullmatch(head):
        split = rest.rindex("@")  # the question mark belongs to the password
    else:
        split = -1
    who, rest = rest[: max(split, 0)], rest[split + 1 :]
    user, _, password = who.partition(":")
    head, _, query = rest.partition("?")
    hosts, _, database = head.partition("/")
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"the parameter {name[:40]!r} has no value")
        if name == "options" and value.startswith(("-c+", "--")):
            value = value.replace("+", " ")  # some programs write a space as in form data
        parameters[unquote(name)] = unquote(value)
    return unquote(user), unquote(password), hosts, unquote(database), parameters


def _url(user: str, password: str, hosts: str, database: str, given: dict[str, str]) -> URL:
    parameters = dict(given)
    user = parameters.pop("user", "") or user
    password = parameters.pop("password", "") or password
    database = parameters.pop("dbname", "") or parameters.pop("database", "") or database
    places = list(_hosts(hosts)) if hosts else []
    if named := parameters.pop("hostaddr", "") or parameters.get("host", ""):
        if ";" in named:
            raise ValueError("separates its parts by ';': write 'host=… dbname=…' with blanks, or a URL")
        places = [(host, "") for host in named.split(",")] if "[" not in named else list(_hosts(named))
    parameters.pop("host", None)
    if ports := parameters.pop("port", ""):
        given_ports = ports.split(",")
        if len(given_ports) not in (1, max(len(places), 1)):
            raise ValueError("the parameter 'port' does not have as many values as there are hosts")
        places = places or [("", "")]
        given_ports *= len(places) if len(given_ports) == 1 else 1
        places = [(host, port or said) for (host, said), port in zip(places, given_ports, strict=True)]
    checked = [(host or "localhost", _port(port)) for host, port in places]
    query = _checked(parameters)
    if len(checked) > 1 or (checked and checked[0][0].startswith("/")):
        query["host"] = ",".join(host for host, _ in checked)
        query["port"] = ",".join(str(port) for _, port in checked)
        checked = []
    host, port = checked[0] if checked else (None, None)
    return URL.create(_DRIVER, user or None, password or None, host, port, database or None, query)


def _hosts(text: str) -> Iterator[tuple[str, str]]:
    for place in text.split(","):
        found = _HOST.fullmatch(place)
        if found is None:
            raise ValueError(
                "has no readable host: is it 'user:password@host:port/name', with '%', '/' and '?' "
                "of the password written as %25, %2F and %3F?"
            )
        yield unquote(found[1] or found[2] or ""), found[3] or ""


def _port(text: str) -> int:
    if not text:
        return 5432
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    return int(text)


def _checked(parameters: dict[str, str]) -> dict[str, str]:
    if (given := parameters.pop("ssl", None)) is not None:
        # As JDBC and Node write it; libpq accepts the first of these too.
        wanted = _TRUE.get(given.lower())
        mode = given if wanted is None else "require" if wanted else "disable"
        parameters.setdefault("sslmode", mode)
    for name, value in parameters.items():
        check = _PARAMETERS.get(name)
        if check is None:
            instead = _INSTEAD.get(name, "leave it out")
            raise ValueError(f"the parameter {name[:40]!r} is not supported: {instead}")
        if trouble := check(value):
            raise ValueError(f"the parameter {name!r} {trouble}")
    required = parameters.get("sslmode")
    if parameters.get("sslrootcert") == "system":
        if required not in (None, "verify-full"):
            raise ValueError("the parameter 'sslmode' must be verify-full with sslrootcert=system")
        parameters["sslmode"] = required = "verify-full"
    if parameters.get("sslnegotiation") == "direct" and required in (None, "disable", "allow", "prefer"):
        raise ValueError("the parameter 'sslnegotiation' can be direct only with sslmode=require or stricter")
    return parameters
