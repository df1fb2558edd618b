"""Ways to write one path, of which a proxy may see another than the service behind it."""

from __future__ import annotations

_ENDS = (
    *("/", "//", "/.", "/./", "/..", "?x=1", "/?x=1", "?", "#x", ";", ";x=1", "/;x", "\\", ".", "/x/.."),
    *("%2f", "%2F", "%2f%2f", "%0a", "%0A/", "%0d%0a", "%00", "%20", "%09", "%3f", "%3fx=1", "%23", "%3b"),
    *("%5c", "%2e", "/%2e", "/%2e/", "/%2e%2e", "%c0%af", "%252f", "%250a", "%ff"),
)
_STARTS = (
    *("/", "/./", "/x/../", "/../", "/%2e/", "/%2e%2e/", "/x/%2e%2e/", "/%2f", "%2f", "/\\", "/%5c", "/;/"),
)


def spellings(path: str) -> list[str]:
    """Request targets that a proxy or a service may take for `path`."""
    first, rest = path[1], path[2:]
    return [
        path,
        *(path + end for end in _ENDS),
        *(f"{start}{path}" for start in _STARTS),
        *(f"{start}{path[1:]}" for start in _STARTS),
        f"/%{ord(first):02x}{rest}",
        f"/%{ord(first):02X}{rest}/",
        f"/%25{ord(first):02x}{rest}",
        "/" + "".join(f"%{ord(letter):02x}" for letter in path[1:]),
        "/" + "".join(f"%{ord(letter):02X}" for letter in path[1:]) + "%2F",
        f"/%u00{ord(first):02x}{rest}",
        path.upper(),
        path.title(),
        path.upper() + "/",
        f"http://mosic.test{path}",
        f"http://mosic.test{path}/",
        f"http://mosic.test/{path}",
        f"http://mosic.test{path}%2f",
        f"HTTP://MOSIC.TEST{path}",
    ]
