"""The rights that a probing process gives up before it reads a file: docs/decisions/0020-probes.md.

Each step stands by itself, and what a system does not offer is reported, not fatal. Landlock:
https://docs.kernel.org/userspace-api/landlock.html; seccomp:
https://docs.kernel.org/userspace-api/seccomp_filter.html.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import struct
import sys

ACCOUNT, LANDLOCK, SECCOMP = "account", "landlock", "seccomp"

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # how many, by version; 16 from the fifth on
_NOBODY = 65534

# What Python and the C library call while a file is read from a descriptor that is open: memory, time, and
# the three descriptors. By architecture: the value of AUDIT_ARCH, and the numbers.
_ALLOWED = {
    "x86_64": (
        0xC000003E,
        *(0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 24, 25, 28, 33, 36, 38, 39, 45, 47, 60),
        *(63, 72, 96, 98, 99, 131, 186, 201, 202, 204, 219, 228, 231, 262, 273, 292, 318, 324, 334),
    ),
    "aarch64": (
        0xC00000B7,
        *(24, 25, 29, 57, 62, 63, 64, 65, 66, 67, 79, 80, 93, 94, 98, 99, 102, 103, 113, 123, 124, 128, 132),
        *(134, 135, 139, 160, 165, 169, 172, 178, 179, 207, 212, 214, 215, 216, 222, 226, 233, 278, 283, 293),
    ),
}
_X32 = 0x40000000  # another numbering for the same calls, on x86_64 only


def confine(memory: int) -> list[str]:
    """Give up rights for good; returns which of the means above this system does not offer.

    To be called when all that will be needed is imported and open: afterwards no file can be opened, no
    connection made and no process started, and of memory there are `memory` bytes. Ctrl-C in the terminal,
    and a SIGTERM to the whole service, are for the parent to act on.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 32,
    }
    missing = [] if _leave_root() else [ACCOUNT]
    for kind, limit in limits.items():
        # Not every system has every limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))
    if sys.platform != "linux":
        return [*missing, LANDLOCK, SECCOMP]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    missing += [] if _close_files_and_network(libc) else [LANDLOCK]
    missing += [] if _filter_calls(libc) else [SECCOMP]
    return missing


def _leave_root() -> bool:
    """Become an account that owns nothing; True also when not root."""
    if os.geteuid() != 0:
        return True
    try:
        entry = pwd.getpwnam("nobody")
        uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        uid = gid = _NOBODY
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except (OSError, AttributeError):
        # A container without these rights, or a user namespace with a single account.
        return os.geteuid() != 0
    return True


def _close_files_and_network(libc: ctypes.CDLL) -> bool:
    """Landlock without a single rule: no path can be opened. From version 4 on no TCP, from 6 on no signals
    to others and no abstract sockets."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    files = (1 << _FILE_RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("QQQ", files, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(_LANDLOCK_CREATE, attributes, size, 0)
    if rules < 0:
        return False
    try:
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """seccomp: only the system calls listed above; all others fail with EPERM."""
    machine = os.uname().machine
    if machine not in _ALLOWED or struct.calcsize("P") != 8:
        return False
    architecture, *allowed = _ALLOWED[machine]
    load, equal, not_below, give = 0x20, 0x15, 0x35, 0x06
    deny, allow, kill = 0x00050001, 0x7FFF0000, 0x80000000
    calls = [(equal, len(allowed) - place, 0, number) for place, number in enumerate(allowed)]
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),
        (not_below, len(allowed), 0, _X32),
        *calls,
        (give, 0, 0, deny),
        (give, 0, 0, allow),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, described, 0, 0) == 0)
