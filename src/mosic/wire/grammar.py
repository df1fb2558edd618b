"""Classes of characters that several grammars share."""

from __future__ import annotations

TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
"""One character of a token (RFC 9110 §5.6.2), for regular expressions."""

CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"
"""A control character that no field value may have: all but the tab (RFC 9110 §5.5). For regular
expressions."""

URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=-._~"
"""What a URL has as it is, beside letters and digits (RFC 3986 §2.2, §2.3), and the `%` of what is encoded
already. For `urllib.parse.quote`."""
