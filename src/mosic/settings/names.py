"""The names of settings outside the code, and variables that only look like settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

PREFIX = "MOSIC_"

OTHER_SPELLINGS = {"MOSIC_PORT": "app_port", "MOSIC_DATABASE_URL": "database_url_override"}
"""Accepted beside `MOSIC_` and the name of the field."""

# Variables of the test suite and of CI.
_OF_THE_TESTS = "MOSIC_TEST_"
# The kubelet, like old Docker links, sets these for each Service in the namespace: for `mosic-db`
# MOSIC_DB_SERVICE_HOST, MOSIC_DB_SERVICE_PORT_SQL, MOSIC_DB_PORT=tcp://…, MOSIC_DB_PORT_5432_TCP_ADDR.
_OF_A_SERVICE = re.compile(
    r"MOSIC(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_PORT_OF_A_SERVICE = re.compile(r"(tcp|udp|sctp)://[^\s/]+:[0-9]+")
_ALIKE = 0.7


@dataclass(frozen=True, slots=True)
class Name:
    """The meaning of a variable: its field, whether it is secret, and whether it names a file."""

    field: str
    secret: bool
    from_file: bool = False


def is_secret(field: FieldInfo) -> bool:
    """Whether the value is never shown and can come from a file."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def names_of(fields: Mapping[str, FieldInfo]) -> dict[str, Name]:
    """Every accepted name. Each secret `MOSIC_X` also has `MOSIC_X_FILE`, unless that is another setting."""
    spelled = {f"{PREFIX}{field.upper()}": field for field in fields} | OTHER_SPELLINGS
    names = {name: Name(field, is_secret(fields[field])) for name, field in spelled.items()}
    for name, field in spelled.items():
        if names[name].secret:
            names.setdefault(f"{name}_FILE", Name(field, secret=True, from_file=True))
    return names


def is_of_others(name: str, value: str) -> bool:
    """Whether a `MOSIC_*` variable comes from Kubernetes or is for the tests, so it is not a setting."""
    if name.startswith(_OF_THE_TESTS) or _OF_A_SERVICE.fullmatch(name):
        return True
    return name.endswith("_PORT") and _PORT_OF_A_SERVICE.fullmatch(value) is not None


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that the operator may have meant; words in another order count as similar."""

    def likeness(other: str) -> float:
        mine, theirs = name.removeprefix(PREFIX), other.removeprefix(PREFIX)
        return max(_ratio(mine, theirs), _ratio(_ordered(mine), _ordered(theirs)))

    best = max(known, key=likeness)
    return best if likeness(best) >= _ALIKE else None


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _ordered(name: str) -> str:
    return "_".join(sorted(name.split("_")))
