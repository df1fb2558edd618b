"""Signed URLs, which open one resource of one clip for a while: `?expires=<Unix time>&signature=<HMAC>`.

The signature is HMAC-SHA256 (RFC 2104) of the resource, the clip and the expiry, in base64url without padding
(RFC 4648 §5). It is compared as text, in constant time, so that each URL has only one spelling.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl
from uuid import UUID

from mosic.errors import ExpiredUrl, InvalidSignature

Opened = Literal["stream", "cover"]
"""The resource; a signature for one does not open the other."""

# Up to the year 33658.
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
# As `query` makes them: a quick way to the same result.
_PLAIN = re.compile(rb"expires=([1-9][0-9]{0,11})&signature=([A-Za-z0-9_-]+)")
_EXPIRES_FIELD, _SIGNATURE_FIELD = "expires", "signature"
_MOST_FIELDS = 32
_MOST_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class UrlSigner:
    """Signs and checks with one secret. `ttl` is in seconds."""

    secret: bytes = field(repr=False)
    ttl: int

    def expiry(self, now: float) -> int:
        """When a URL made at `now` expires, in Unix time: after `ttl`, or up to an eighth later.

        During that eighth the URL stays the same, so that browsers find it in their caches.
        """
        step = max(1, self.ttl // 8)
        return -int(-(now + self.ttl) // step) * step

    def query(self, opened: Opened, clip_id: UUID, expires: int) -> str:
        """What follows the `?`."""
        signature = self._sign(opened, clip_id, str(expires)).decode("ascii")
        return f"{_EXPIRES_FIELD}={expires}&{_SIGNATURE_FIELD}={signature}"

    def check(self, opened: Opened, clip_id: UUID, query: bytes, now: float) -> None:
        """Raises `InvalidSignature`, or `ExpiredUrl` when the signature is right but expired.

        Other parameters of the query are ignored.
        """
        expires, signature = _fields_of(query)
        known = self._sign(opened, clip_id, expires)
        if not hmac.compare_digest(known, signature.encode("utf-8", "surrogatepass")):
            raise InvalidSignature
        if now >= int(expires):
            raise ExpiredUrl

    def _sign(self, opened: Opened, clip_id: UUID, expires: str) -> bytes:
        message = f"mosic-url-1\n{opened}\n{clip_id}\n{expires}".encode("ascii")
        return urlsafe_b64encode(hmac.digest(self.secret, message, "sha256")).rstrip(b"=")


def is_signed(query: bytes) -> bool:
    """Whether the query has a signature, right or wrong."""
    return b"signature=" in query


def _fields_of(query: bytes) -> tuple[str, str]:
    """Expiry and signature; raises `InvalidSignature` when one is missing, given twice, or no expiry."""
    if plain := _PLAIN.fullmatch(query):
        return plain[1].decode("ascii"), plain[2].decode("ascii")
    if len(query) > _MOST_LENGTH:
        raise InvalidSignature
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidSignature from None
    expires = [value for name, value in pairs if name == _EXPIRES_FIELD]
    signatures = [value for name, value in pairs if name == _SIGNATURE_FIELD]
    if len(expires) != 1 or len(signatures) != 1 or not _EXPIRES.fullmatch(expires[0]):
        raise InvalidSignature
    return expires[0], signatures[0]
