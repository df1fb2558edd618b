"""Keys come and go while the service runs: real processes, real signals."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support.house import KEY, House
from tests.support.sounds import wav
from tests.support.waiting import wait_until

OLD, NEW = "the-old-key-of-the-phone", "the-new-key-of-the-phone"


@pytest.fixture
def house(house: House) -> House:
    (house.folder / ".env").write_text("MOSIC_API_KEYS_FILE=keys\n")
    (house.folder / "keys").write_text(f"phone-1:{OLD}\n")
    return house


def write_keys(house: House, text: str) -> None:
    """As the recipe says: whole, by a rename."""
    (house.folder / "keys.new").write_text(text)
    (house.folder / "keys.new").rename(house.folder / "keys")


def children(process: subprocess.Popen[bytes]) -> set[str]:
    return set(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())


def statuses(url: str, api_key: str, times: int = 20) -> set[int]:
    """Each on a connection of its own, so that every worker gets its share."""
    headers = {"X-API-Key": api_key, "Connection": "close"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        return {client.patch("/play/x", json={}).status_code for _ in range(times)}


@pytest.mark.slow
async def test_rotation_with_two_workers_restarts_and_interrupts_nobody(house: House) -> None:
    service = house.start("serve", "--workers", "2")
    url = await house.url(service)
    wait_until(lambda: house.log().count("worker serves") == 2, house.log)
    workers = children(service)
    assert statuses(url, OLD) == {404}
    for _ in range(20):
        httpx.get(f"{url}/play/x/stream?expires=1&signature=not-to-be-logged", timeout=60)

    write_keys(house, f"phone-1:{OLD}\nphone-2:{NEW}\n")
    service.send_signal(signal.SIGHUP)
    wait_until(lambda: len(house.logged("the API keys were read again", cause="SIGHUP")) == 2, house.log)
    assert statuses(url, OLD) == statuses(url, NEW) == {404}

    write_keys(house, f"phone-2:{NEW}\n")  # and nobody sends a signal
    wait_until(
        lambda: len(house.logged("the API keys were read again", cause="change of the file")) == 2, house.log
    )
    assert statuses(url, OLD) <= {401, 429}
    assert statuses(url, NEW) == {404}
    assert statuses(url, KEY) == {404}

    write_keys(house, f"phone-2:{NEW}\nphone-3\n")
    service.send_signal(signal.SIGHUP)
    refusals = "the key file was not accepted; the keys from before stay valid"
    wait_until(lambda: len(house.logged(refusals)) >= 2, house.log)
    assert "line 2 is not of the form name:key" in house.log()
    assert statuses(url, NEW) == {404}

    assert children(service) == workers
    requests = house.logged("request")
    assert {line.get("key_name") for line in requests} == {"phone-1", "phone-2", "default", None}
    assert all("key_name" not in line for line in requests if line["status"] in (401, 429))
    for secret in (OLD, NEW, KEY, "not-to-be-logged"):
        assert secret not in house.log()


async def test_sighup_does_not_end_a_single_process_nor_what_it_is_doing(house: House) -> None:
    with (house.folder / ".env").open("a") as out:
        out.write("MOSIC_REQUIRE_KEY_FOR_READS=true\n")
    service = house.start("serve")
    url = await house.url(service)
    content = wav(60.0)
    headers = {"X-API-Key": OLD}
    clip = httpx.post(f"{url}/play/upload", content=content, headers=headers, timeout=60).json()
    with httpx.stream("GET", clip["stream_url"], timeout=60) as answer:
        pieces = answer.iter_raw(4096)
        received = next(pieces)
        write_keys(house, f"phone-2:{NEW}\n")
        service.send_signal(signal.SIGHUP)
        wait_until(lambda: len(house.logged("the API keys were read again", cause="SIGHUP")) == 1, house.log)
        received += b"".join(pieces)
    assert received == content
    assert statuses(url, OLD, 1) == {401}
    # What a key that is gone has given away holds until its time is over.
    assert httpx.get(clip["stream_url"], timeout=60).content == content
    assert httpx.get(f"{url}/play", headers=headers, timeout=60).status_code == 401
    listed = httpx.get(f"{url}/play", headers={"X-API-Key": NEW}, timeout=60).json()
    assert [one["id"] for one in listed] == [clip["id"]]
    assert "signature=" not in house.log()
    service.terminate()
    assert service.wait(60) == 0


@pytest.mark.slow
async def test_a_key_made_by_the_command_opens_until_it_is_revoked(house: House) -> None:
    made = house.run("key", "new", "radio")
    assert (made.returncode, made.stdout.count("\n")) == (0, 1)
    assert made.stderr.startswith(f"mosic: append this line to {house.folder / 'keys'} ")
    name, _, api_key = made.stdout.strip().partition(":")
    assert name == "radio"
    assert len(api_key) > 40
    assert house.run("key", "new", "radio").stdout != made.stdout
    assert house.run("key", "new", "a b").returncode == 2
    with (house.folder / "keys").open("a") as out:
        out.write(made.stdout)
    service = house.start("serve")
    url = await house.url(service)
    assert statuses(url, api_key, 1) == {404}
    assert api_key not in house.log()
    # Neither a restart nor a signal: as the command says.
    assert house.run("key", "revoke", "radio").returncode == 0
    wait_until(lambda: statuses(url, api_key, 1) == {401}, house.log)
    assert statuses(url, OLD, 1) == {404}


async def test_a_start_with_a_wrong_file_says_where(house: House) -> None:
    (house.folder / "keys").write_text(f"phone:{OLD}\n{NEW}\n")
    ended = house.run("serve")
    assert ended.returncode != 0
    assert "MOSIC_API_KEYS_FILE" in ended.stderr
    assert "line 2" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert NEW not in ended.stderr
