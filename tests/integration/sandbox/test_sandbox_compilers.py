"""Rust and Go below the home, in a real sandbox: small programs in their places, which tell what they see."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agentcoord.clock import SystemClock
from agentcoord.sandbox import Limits, Policy, choose_sandbox, toolchain_prefixes
from agentcoord.sandbox.direct import direct_environment

CARGO = """#!/bin/sh
cat "$RUSTUP_HOME/settings.toml" "$RUSTUP_HOME"/toolchains/stable/bin/rustc
cat ~/.cargo/registry/index ~/.cargo/git/db && touch ~/.cargo/.package-cache && echo locked
touch ~/.cargo/registry/index && echo the cache was written
exit 0
"""
GO = """#!/bin/sh
[ "$1" = env ] && { echo "$ROOT"; echo "$MODULES"; exit 0; }
cat "$GOMODCACHE/example.org/one@v1/one.go" "$GOMODCACHE/cache/download/list"
ls -A "$GOMODCACHE/cache"
"""
SECRET = "token-of-mine"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With Rust as rustup puts it, Go by hand, and with secrets beside them."""
    home = tmp_path / "home"
    root, modules = home / "sdk/go1.99", home / "modules"
    files = {
        ".cargo/bin/cargo": CARGO,
        ".cargo/credentials.toml": SECRET,
        ".cargo/config.toml": SECRET,
        ".cargo/registry/index": "index\n",
        ".cargo/git/db": "db\n",
        ".rustup/settings.toml": "settings\n",
        ".rustup/toolchains/stable/bin/rustc": "rustc\n",
        "sdk/go1.99/bin/go": GO.replace("$ROOT", str(root)).replace("$MODULES", str(modules)),
        "modules/example.org/one@v1/one.go": "one\n",
        "modules/cache/download/list": "list\n",
        "modules/cache/vcs/FETCH_HEAD": SECRET,
        "project/Cargo.toml": "",
        "project/service/go.mod": "",
    }
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if "bin/" in name else 0o644)
    return home


def policy_of(home: Path) -> Policy:
    workspace = home.parent / "workspace"
    workspace.mkdir()
    project = home / "project"
    tools = toolchain_prefixes(project, [], search_path=str(home / "sdk/go1.99/bin"), home=home)
    return Policy(workspace=workspace, mount_at=project, toolchains=tools)


async def said(policy: Policy, command: str) -> str:
    sandbox = await choose_sandbox(unsafe=False, clock=SystemClock())
    return (await sandbox.run(command, policy, Limits(timeout_s=20.0))).output


async def test_cargo_runs_with_its_caches_and_a_home_of_its_own_and_sees_no_credentials(home: Path) -> None:
    policy = policy_of(home)
    output = await said(
        policy, f"cargo test 2>&1; ls -A {home}/.cargo {home}/.rustup; cat {home}/.cargo/*.toml"
    )
    assert output.startswith("settings\nrustc\nindex\ndb\nlocked\ntouch: ")
    assert "the cache was written" not in output
    assert SECRET not in output
    assert f"{home}/.cargo:\nbin\ngit\nregistry\n" in output
    assert f"{home}/.rustup:\nsettings.toml\ntoolchains\n" in output
    assert not (home / ".cargo/.package-cache").exists()


@pytest.mark.skipif(not (Path.home() / ".cargo/bin/rustup").exists(), reason="rustup is not here")
async def test_the_cargo_of_a_real_rustup_runs_where_its_folder_cannot_be_written(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "Cargo.toml").write_text('[package]\nname = "one"\nversion = "0.1.0"\nedition = "2021"\n')
    (project / "src/lib.rs").write_text("#[test]\nfn one() {}\n")
    search = f"{Path.home()}/.cargo/bin:/usr/bin:/bin"
    tools = toolchain_prefixes(project, [], search_path=search, home=Path.home())
    workspace = tmp_path / "copy"
    shutil.copytree(project, workspace)
    policy = Policy(workspace=workspace, mount_at=project, toolchains=tools)
    output = await said(policy, "cargo --version 2>&1")
    assert output.startswith("cargo "), output


async def test_go_runs_with_the_modules_that_were_fetched_but_not_with_their_clones(home: Path) -> None:
    output = await said(policy_of(home), f"go test ./... 2>&1; cat {home}/modules/cache/vcs/FETCH_HEAD")
    assert output.startswith("one\nlist\ndownload\n")
    assert SECRET not in output


def test_a_project_in_another_language_is_shown_none_of_it(home: Path) -> None:
    for mark in ("Cargo.toml", "service/go.mod"):
        (home / "project" / mark).unlink()
    assert policy_of(home).toolchains == ()


def test_without_mounts_the_caches_are_linked_into_the_home_of_the_command(
    home: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = direct_environment(policy_of(home), scratch)
    assert environment["RUSTUP_HOME"] == str(home / ".rustup")
    assert environment["GOMODCACHE"] == str(home / "modules")
    assert (scratch / "home/.cargo/registry/index").read_text() == "index\n"
    assert str(home / ".cargo/bin") in environment["PATH"].split(":")
    assert str(home / ".cargo") not in environment["PATH"].split(":")
