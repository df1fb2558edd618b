"""Takes secrets out of text that others will read: what stands where secrets do, and long secrets anywhere.

A short secret is hidden only in the places of secrets. It may be a part of ordinary words, and the holes in
these would show it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

HIDDEN = "…"

SHORTEST = 16
"""Characters of a secret that is hidden anywhere."""

# RFC 3986 §3.2.1. Up to the last at sign: a password may have one that was not encoded.
_USER_INFO = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")
# Whatever separates a name from its value: in a header, in JSON, in the text of a Python dictionary or list.
_BETWEEN = r"\\?[\"']?\s{0,4}[:=,]\s{0,4}(?:b?\\?[\"'])?"
# `$` begins the name of a variable of a shell, which is no secret.
_VALUE = r"(?![\s$])[^\s\"',;&#\\]+"
_HEADER = re.compile(
    rf"\b(x-api-key|(?:proxy-)?authorization|(?:set-)?cookie)({_BETWEEN})"
    rf"((?:bearer|basic|digest|token)\s{{1,4}})?{_VALUE}",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"((?<![a-z0-9])(?:api_?key|access_token|token|signature|sig|password|passwd|sslpassword|secret)=)"
    rf"(\\?[\"'])?{_VALUE}",
    re.IGNORECASE,
)


class Redaction:
    """Takes out of texts the secrets that it is given, and what stands where secrets do. In linear time."""

    def __init__(self, secrets: Iterable[str]) -> None:
        long = [secret for secret in secrets if len(secret) >= SHORTEST]
        # Also in the form that they have inside JSON. The longest first: one may be the beginning of another.
        forms = {form for secret in long for form in (secret, json.dumps(secret)[1:-1])}
        self._secrets = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return redacted(text)


def redacted(text: str) -> str:
    """Without the user information of URLs, the values of headers that carry secrets, and those of parameters
    named for them."""
    if "://" in text:
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
    text = _HEADER.sub(rf"\1\2\3{HIDDEN}", text)
    if "=" in text:
        text = _PARAMETER.sub(rf"\1\2{HIDDEN}", text)
    return text
