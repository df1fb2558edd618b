"""What Mosic uses of its libraries that they do not promise, and that such libraries are bounded above.

Whoever takes a newer version learns here what to look at before anything else fails.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn import Config, Server
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

TOP = Path(__file__).resolve().parents[2]
SERVER = TOP / "src/mosic/server"

# Of uvicorn, whose protocol and server Mosic's own are made from.
PROTOCOL = {
    *(
        "app",
        "app_state",
        "asgi_version",
        "client",
        "cycle",
        "expect_100_continue",
        "flow",
        "headers",
    ),
    *("loop", "parser", "pipeline", "root_path", "scheme", "scope", "server", "server_state", "tasks"),
    *("timeout_keep_alive", "transport", "url", "_start_asgi_task"),
    *("connection_lost", "connection_made", "data_received", "on_body", "on_header", "on_headers_complete"),
    *("on_message_begin", "on_message_complete", "on_response_complete", "pause_writing", "resume_writing"),
}
CYCLE = {
    *("body", "chunked_encoding", "default_headers", "disconnected", "expected_content_length", "flow"),
    *("keep_alive", "logger", "message_event", "more_body", "on_response", "receive", "response_complete"),
    *("response_started", "run_asgi", "scope", "send", "send_500_response", "transport"),
    "waiting_for_100_continue",
}
FLOW = {"drain", "pause_reading", "resume_reading", "write_paused"}
SERVER_PARTS = {
    *("config", "force_exit", "handle_exit", "last_notified", "lifespan", "server_state", "servers"),
    *("should_exit", "shutdown", "started", "startup"),
}
LIFESPAN = {"receive_queue", "shutdown", "shutdown_event"}
STATE = {"connections", "default_headers", "tasks"}

# Parts of others that are in no documentation.
UNDOCUMENTED = {
    "asyncpg": ["asyncpg.connect_utils:SessionAttribute", "asyncpg.connection:Connection._transport"],
    "fastapi": ["fastapi.dependencies.utils:get_flat_params"],
    "httptools": ["httptools:HttpRequestParser.set_dangerous_leniencies"],
    "mutagen": ["mutagen.mp4._atom:Atoms", "mutagen.tak:TAKInfo", "mutagen.aac:AACInfo"],
    "prometheus-client": [
        "prometheus_client.values:MultiProcessValue",
        "prometheus_client.values:ValueClass",
    ],
    "python-multipart": ["python_multipart.multipart:MultipartState.PART_DATA"],
    "uvicorn": ["uvicorn.protocols.http.httptools_impl:STATUS_LINE", "uvicorn.supervisors:ChangeReload"],
}


def classes_of(*paths: Path) -> Iterator[ast.ClassDef]:
    for path in paths:
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def touched(node: ast.AST, owners: set[str]) -> set[str]:
    """Names of attributes of the expressions that are spelt as one of `owners`."""
    found = (one for one in ast.walk(node) if isinstance(one, ast.Attribute))
    return {one.attr for one in found if ast.unparse(one.value) in owners}


def overridden(node: ast.ClassDef) -> set[str]:
    return {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def parts_of(made: object) -> set[str]:
    return {name for name in dir(made) if not name.startswith("__")}


@pytest.fixture
async def protocol() -> HttpToolsProtocol:
    config = Config(Mock(), lifespan="off", log_config=None)
    return HttpToolsProtocol(config, ServerState(), {}, _loop=asyncio.get_running_loop())


async def test_of_the_protocol_this_is_relied_upon(protocol: HttpToolsProtocol) -> None:
    used: set[str] = set()
    for node in classes_of(SERVER / "connection.py", SERVER / "protocol.py"):
        used |= touched(node, {"self"}) | overridden(node)
    # `url` is made by the first request.
    assert used & (parts_of(protocol) | {"url"}) == PROTOCOL
    protocol.on_message_begin()
    assert parts_of(protocol) >= PROTOCOL


async def test_of_an_exchange_this_is_relied_upon() -> None:
    nothing: Any = None
    cycle = RequestResponseCycle(
        scope={},  # type: ignore[typeddict-item]
        transport=nothing,
        flow=nothing,
        logger=logging.getLogger(),
        access_logger=logging.getLogger(),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=print,
    )
    names = {"cycle", "responding", "broken", "before", "exchange"}
    owners = names | {"self.cycle", "self._responding", "self._exchange"}
    used: set[str] = set()
    for path in SERVER.glob("*.py"):
        used |= touched(ast.parse(path.read_text()), owners)
    for node in classes_of(SERVER / "exchange.py"):
        used |= (touched(node, {"self"}) | overridden(node)) & parts_of(cycle)
    assert used == CYCLE
    assert parts_of(cycle) >= CYCLE


async def test_of_the_flow_and_the_server_this_is_relied_upon() -> None:
    used: set[str] = set()
    for path in SERVER.glob("*.py"):
        used |= touched(ast.parse(path.read_text()), {"self.flow", "flow", "self._connection.flow"})
    assert used == FLOW
    assert parts_of(FlowControl(Mock())) >= FLOW
    server = Server(Config(Mock(), log_config=None))
    (orderly,) = (node for node in classes_of(SERVER / "orderly.py") if node.name == "OrderlyServer")
    # `servers` and `lifespan` are made by the start.
    known = parts_of(server) | {"servers", "lifespan"}
    assert (touched(orderly, {"self"}) | overridden(orderly)) & known == SERVER_PARTS
    assert parts_of(ServerState()) >= STATE
    assert touched(orderly, {"self.lifespan"}) == LIFESPAN
    assert parts_of(LifespanOn(server.config)) >= LIFESPAN


@pytest.mark.parametrize("part", [part for parts in UNDOCUMENTED.values() for part in parts])
def test_undocumented_parts_are_there(part: str) -> None:
    module, _, names = part.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name) if hasattr(found, name) else slot_of(found, name)


def slot_of(owner: type, name: str) -> str:
    """One that only instances have."""
    assert name in owner.__slots__, f"{owner} has no {name}"  # type: ignore[attr-defined]
    return name


@pytest.mark.parametrize("name", UNDOCUMENTED)
def test_what_is_reached_into_is_bounded_to_the_minor_version_that_is_tested(name: str) -> None:
    wanted = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["dependencies"]
    (mine,) = (one for one in wanted if re.match(rf"{name}\b", one))
    packages = tomllib.loads((TOP / "poetry.lock").read_text())["package"]
    (locked,) = (package["version"] for package in packages if package["name"] == name)
    major, minor = locked.split(".")[:2]
    assert f"<{major}.{int(minor) + 1}" in re.split("[ ,]", mine), f"{mine} is tested with {locked}"
