"""What a URL may name: users, TLS, and servers that are not there.

The contract itself runs on each kind of server by what `conftest.py` says.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from server_kit import (
    command,
    free_port,
    private_folder,
    redis_binary,
    running,
)
from store_kit import HandClock, claim, load, open_store, spec

from agentcoord.domain.ids import ProjectId
from agentcoord.errors import StoreError, StoreUnavailableError


@pytest.mark.system_redis
async def test_a_password_of_a_user_and_tls_are_taken_from_the_url(project_id: ProjectId) -> None:
    with private_folder() as folder:
        certificate, key = await asyncio.to_thread(_self_signed, folder)
        port = free_port()
        tls = {"tls_port": str(port), "tls_auth_clients": "no", "tls_cert_file": str(certificate)}
        tls |= {"tls_key_file": str(key), "tls_ca_cert_file": str(certificate)}
        with running(redis_binary(), folder, port=0, **tls) as server:
            rights = [f"~agentcoord:{{{project_id}}}:*", "+@all", "-@dangerous"]
            command(server.client, "ACL", "SETUSER", "night", "on", ">s:cr@t", *rights)
            query = f"ssl_ca_certs={certificate}&ssl_check_hostname=no"
            url = f"rediss://night:s%3Acr%40t@127.0.0.1:{port}/0?{query}"
            async with open_store(url, project_id, HandClock()) as store:
                await load(store, spec("a"))
                assert (await claim(store)).task.id == "a"
            with pytest.raises(StoreError, match="invalid username"):
                async with open_store(url.replace("s%3Acr", "wrong"), project_id, HandClock()):
                    pass


@pytest.mark.parametrize(
    "url", ["redis+sentinel://127.0.0.1:1", "redis+sentinel:///night", "redis+cluster://:5", "redis+x://h"]
)
async def test_a_url_that_lacks_something_is_said_in_words(project_id: ProjectId, url: str) -> None:
    with pytest.raises(StoreError, match=r"redis\.url is not usable") as told:
        async with open_store(url, project_id, HandClock()):
            pass
    assert "redis+sentinel://" in told.value.mend


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:1/night", "redis+cluster://127.0.0.1:1"])
async def test_servers_that_are_not_there_are_said_in_words(project_id: ProjectId, url: str) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be reached to open the store"):
        async with open_store(url, project_id, HandClock()):
            pass


def _self_signed(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    line = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*line, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
