"""The settings about how clients reach the service."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from mosic.wire.addresses import ascii_url

# A name, all names below one, or an IPv6 address.
_HOST = re.compile(r"(\*\.)?[a-z0-9_~-]+(\.[a-z0-9_~-]+)*|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*")


class NetworkSettings(BaseSettings):
    """How clients reach it."""

    host: str = Field("127.0.0.1", description="IP address or host name to listen on.")
    app_port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: any free port.")
    workers: int = Field(1, ge=1, le=64, description="Number of worker processes.")
    public_url: str | None = Field(
        None,
        description="URL at which clients reach the service (`https://music.example`); "
        "default: taken from each request.",
    )
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Comma-separated proxies (IP addresses, networks or `*`) whose `X-Forwarded-*` and "
        "`Forwarded` headers are trusted. `*`: every peer is a proxy, and only the values that it added "
        "itself are trusted, not those that it received.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated hosts (`music.example`, `*.music.example`; `*`: every host) that "
        "requests may name, besides that of `MOSIC_PUBLIC_URL` and loopback; others get 421. Default: the "
        "names of this machine when `MOSIC_HOST` is loopback, else every host.",
    )
    alias_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        ("/clips", "/api/v1/clips"),
        description="Comma-separated further prefixes at which the routes of `/play` are served. The URLs in "
        "a response are below the prefix of its request.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated origins (`https://app.example`) whose web pages may use the service "
        "from a browser; `*`: every origin.",
    )
    accel_redirect: str | None = Field(
        None,
        description="Let nginx send the files of the media root: the nginx location for them "
        "(`/_media/`, see docs/nginx.md). Use it only when every request comes through nginx.",
    )
    keep_alive_seconds: float = Field(
        75,
        gt=0,
        le=3600,
        description="How long an idle connection stays open. Use more than the idle timeout of a load "
        "balancer in front (often 60).",
    )
    shutdown_seconds: float = Field(
        10,
        gt=0,
        le=3600,
        description="How long open requests may continue after the first Ctrl-C or SIGTERM.",
    )
    shutdown_delay_seconds: float = Field(
        0,
        ge=0,
        le=600,
        description="How long new requests are still accepted after SIGTERM, with `/ready` at 503, so that "
        "load balancers can stop sending them.",
    )

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        host = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        try:
            ip_address(host)
        except ValueError:
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", host):
                raise ValueError(
                    f"{value!r} is neither an address such as 0.0.0.0 or :: nor a host name; the port is "
                    "MOSIC_APP_PORT"
                ) from None
        return host

    @field_validator("allowed_hosts", "alias_prefixes", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("alias_prefixes")
    @classmethod
    def _check_prefixes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        value = tuple(prefix.rstrip("/") for prefix in value)
        for prefix in value:
            if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", prefix):
                raise ValueError(f"{prefix!r} is not a path such as '/clips'")
            if len(prefix) > 64:
                raise ValueError(f"{prefix!r} has more than 64 characters")
            if prefix == "/play" or prefix.startswith("/play/"):
                raise ValueError("'/play' is the router itself and cannot be an alias")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        value = tuple(host.lower().strip("[]").rstrip(".") for host in value)
        for host in value:
            if host != "*" and not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is not a host such as 'music.example' (no scheme, no port)")
        return value

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        for part in filter(None, map(str.strip, value.split(","))):
            try:
                ip_network("0.0.0.0/0" if part == "*" else part, strict=False)
            except ValueError:
                raise ValueError(f"{part!r} is neither an address nor a network such as 10.0.0.0/8") from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#\s@]+", origin):
                raise ValueError(f"{origin!r} is not an origin such as 'https://app.example' (no path)")
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", value):
            raise ValueError(
                "must be an http:// or https:// URL without a query, such as 'https://music.example'"
            )
        # It goes into header fields, which are ASCII, and a port that cannot be would fail there only.
        url = ascii_url(value)
        if url is None:
            raise ValueError(f"{value!r} has no valid host and port, or has credentials in it")
        if len(url) > 256:
            raise ValueError("must have at most 256 characters")
        return url.rstrip("/")

    @field_validator("accel_redirect")
    @classmethod
    def _check_accel_redirect(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?", value):
            raise ValueError(f"{value!r} is not a location such as '/_media/'")
        return value and value.rstrip("/") + "/"
