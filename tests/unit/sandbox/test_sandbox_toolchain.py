"""Interpreters are followed to what must be shown, and never further."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.sandbox.compilers import go_places, home_links_of
from agentcoord.sandbox.toolchain import toolchain_prefixes


class Machine:
    """A home, a repository in it, and a PATH, all below one folder."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.repo = self.home / "project"
        self.path = root / "path"
        for folder in (self.repo, self.path):
            folder.mkdir(parents=True)

    def program(self, path: Path, text: str = "\x7fELF") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def environment(self, folder: Path, base: Path, *, link: Path | None = None) -> Path:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(link or base)
        (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\nversion = 3.12.1\n")
        return folder

    def prefixes(self, *share: str) -> tuple[Path, ...]:
        return toolchain_prefixes(self.repo, share, search_path=str(self.path), home=self.home)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path.resolve())


def test_of_the_systems_own_python_only_the_link_to_it_is_shown(machine: Machine) -> None:
    (machine.path / "python3").symlink_to("/usr/bin/env")
    assert machine.prefixes() == (machine.path / "python3",)


def test_a_shared_environment_shows_the_prefix_of_its_interpreter(machine: Machine) -> None:
    prefix = machine.home / ".pyenv/versions/3.12.1"
    python = machine.program(prefix / "bin/python3")
    machine.environment(machine.repo / ".venv", python)
    assert machine.prefixes(".venv", "node_modules") == (prefix,)


def test_links_on_the_way_are_shown_as_links(machine: Machine) -> None:
    uv = machine.home / ".local/share/uv/python"
    python = machine.program(uv / "cpython-3.12.4/bin/python3")
    (uv / "cpython-3.12").symlink_to("cpython-3.12.4")
    machine.environment(machine.repo / ".venv", uv / "cpython-3.12/bin/python3")
    assert set(machine.prefixes(".venv")) == {uv / "cpython-3.12", uv / "cpython-3.12.4"}
    assert python.exists()


def test_a_shim_on_the_path_tells_what_it_stands_for(machine: Machine) -> None:
    prefix = machine.home / ".pyenv/versions/3.12.1"
    python = machine.program(prefix / "bin/python3.12")
    machine.program(machine.path / "python3", f"#!/bin/sh\necho {python}\n")
    assert machine.prefixes() == (prefix,)


def test_a_shim_that_fails_is_no_reason_to_fail(machine: Machine) -> None:
    machine.program(machine.path / "python3", "#!/bin/sh\nexit 1\n")
    machine.program(machine.path / "node", "#!/bin/sh\necho relative\n")
    machine.prefixes()


def test_an_environment_on_the_path_outside_the_repository_is_shown_with_its_base(machine: Machine) -> None:
    prefix = machine.home / "python"
    base = machine.program(prefix / "bin/python3")
    outside = machine.environment(machine.home / "envs/work", base)
    (outside / "bin" / "python3").symlink_to("python")
    machine.path.rmdir()
    machine.path.symlink_to(outside / "bin")
    shown = machine.prefixes()
    assert outside in shown
    assert prefix in shown


@pytest.mark.parametrize("prefix", ["home", "home/.local", "."])
def test_a_prefix_that_holds_secrets_shows_only_the_program_and_its_library(
    machine: Machine, tmp_path: Path, prefix: str
) -> None:
    wide = (tmp_path / prefix).resolve()
    python = machine.program(wide / "bin/python3.12")
    (wide / "lib/python3.12").mkdir(parents=True)
    (machine.path / "python3").symlink_to(python)
    shown = machine.prefixes()
    assert wide not in shown
    assert set(shown) == {machine.path / "python3", python, wide / "lib/python3.12"}
    assert not any(machine.home.is_relative_to(path) or machine.repo.is_relative_to(path) for path in shown)


def test_uv_in_the_home_is_shown_as_one_file(machine: Machine) -> None:
    uv = machine.program(machine.home / ".local/bin/uv")
    (machine.path / "uv").symlink_to(uv)
    assert set(machine.prefixes()) == {machine.path / "uv", uv}


def test_an_environment_whose_interpreter_is_out_of_reach_is_no_reason_to_fail(machine: Machine) -> None:
    machine.environment(machine.repo / ".venv", Path("/nonexistent/bin/python3"))
    assert machine.prefixes(".venv") == ()


def test_a_circle_of_links_ends(machine: Machine) -> None:
    (machine.repo / ".venv/bin").mkdir(parents=True)
    (machine.repo / ".venv/bin/python").symlink_to("python")
    (machine.repo / ".venv/pyvenv.cfg").write_text("home = /nonexistent\n")
    assert machine.prefixes(".venv") == ()


def test_an_environment_on_the_path_with_the_systems_python_is_shown(machine: Machine) -> None:
    outside = machine.environment(machine.home / "envs/work", Path("/usr/bin/env"))
    (outside / "bin" / "python3").symlink_to("python")
    (machine.path / "python3").symlink_to(outside / "bin/python3")
    assert set(machine.prefixes()) == {machine.path / "python3", outside}


def test_two_environments_that_name_each_other_end(machine: Machine) -> None:
    one, two = machine.home / "one", machine.home / "two"
    python = machine.program(two / "bin/python3")
    machine.environment(one, python)
    (two / "pyvenv.cfg").write_text(f"home = {one}/bin\n")
    (one / "bin/python3").symlink_to(python)
    (machine.path / "python3").symlink_to(one / "bin/python3")
    assert {one, two} <= set(machine.prefixes())


def test_a_go_that_tells_nothing_is_found_by_its_place(machine: Machine) -> None:
    (machine.repo / "go.mod").touch()
    real = machine.program(machine.home.parent / "go/bin/go", "#!/bin/sh\nexit 1\n")
    (machine.path / "go").symlink_to(real)
    (machine.home / "go/pkg/mod/cache/download").mkdir(parents=True)
    modules = machine.home / "go/pkg/mod/cache/download"
    assert machine.prefixes() == (real.parents[1], modules)
    assert tuple(go_places(machine.home, str(machine.repo), usual=real.parents[1])) == (
        real.parents[1],
        modules,
    )


def test_the_home_of_cargo_is_never_shown_as_the_prefix_of_an_interpreter(machine: Machine) -> None:
    python = machine.program(machine.home / ".cargo/bin/python3")
    (machine.home / ".cargo/credentials.toml").touch()
    (machine.path / "python3").symlink_to(python)
    assert set(machine.prefixes()) == {machine.path / "python3", python}


def test_rustup_of_the_system_still_finds_its_toolchains_in_the_home(machine: Machine) -> None:
    (machine.repo / "Cargo.toml").touch()
    machine.program(machine.path / "cargo")
    for name in (".rustup/toolchains", ".cargo/registry"):
        (machine.home / name).mkdir(parents=True)
    shown = machine.prefixes()
    assert {machine.home / ".rustup/toolchains", machine.home / ".cargo/registry"} <= set(shown)


def test_caches_and_toolchains_that_are_links_are_shown_with_what_they_lead_to(machine: Machine) -> None:
    (machine.repo / "Cargo.toml").touch()
    machine.program(machine.home / ".cargo/bin/cargo")
    disk, built = machine.home.parent / "disk/registry", machine.home.parent / "src/rust/stage1"
    (machine.home / ".rustup/toolchains").mkdir(parents=True)
    for link, target in ((".cargo/registry", disk), (".rustup/toolchains/mine", built)):
        target.mkdir(parents=True)
        (machine.home / link).symlink_to(target)
    assert {machine.home / ".cargo/registry", disk, built} <= set(machine.prefixes())


def test_a_clone_of_cargos_is_shown_without_its_note_of_a_password(machine: Machine) -> None:
    (machine.repo / "Cargo.toml").touch()
    machine.program(machine.home / ".cargo/bin/cargo")
    clones = machine.home / ".cargo/git"
    for name, address in (("open", "https://host/a@2"), ("closed", "https://me:secret@host/b")):
        (clones / "db" / name / "objects").mkdir(parents=True)
        (clones / "db" / name / "FETCH_HEAD").write_text(f"0123\tbranch 'main' of {address}\n")
    (clones / "checkouts").mkdir()
    shown = machine.prefixes()
    parts = {clones / "checkouts", clones / "db/open", clones / "db/closed/objects"}
    assert {path for path in shown if path.is_relative_to(clones)} == parts
    assert home_links_of(shown) == {Path(".cargo/git"): clones}
    (clones / "db/closed/FETCH_HEAD").unlink()
    assert {path for path in machine.prefixes() if path.is_relative_to(clones)} == {clones}


def test_a_cargo_that_is_not_rustups_is_shown_by_its_prefix_unless_that_is_too_wide(machine: Machine) -> None:
    (machine.repo / "Cargo.toml").touch()
    cargo = machine.program(machine.home.parent / "opt/rust/bin/cargo")
    (machine.path / "cargo").symlink_to(cargo)
    assert machine.prefixes() == (cargo.parents[1],)
    cargo.unlink()
    (machine.path / "cargo").unlink()
    (machine.path / "cargo").symlink_to(machine.program(machine.home / ".local/bin/cargo"))
    assert machine.prefixes() == ()


def test_a_compiler_of_the_systems_adds_nothing_to_the_path(machine: Machine) -> None:
    for name in ("Cargo.toml", "go.mod"):
        (machine.repo / name).touch()
    for name in ("cargo", "go"):
        (machine.path / name).symlink_to("/usr/bin/env")
    assert machine.prefixes() == ()


def test_a_link_to_rustups_cargo_leads_to_its_home(machine: Machine) -> None:
    (machine.repo / "Cargo.toml").touch()
    (machine.path / "cargo").symlink_to(machine.program(machine.home / ".cargo/bin/cargo"))
    assert machine.prefixes() == (machine.home / ".cargo/bin",)
