"""The entrypoint of the image: what it takes for arun and what for a command, its hooks and its secrets."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRYPOINT = Path(__file__).resolve().parents[2] / "docker" / "entrypoint.sh"

#: Says on standard output that it was started, with its pid, its arguments and the variables that the tests look at.
STAND_IN = """#!/bin/sh
echo "arun pid=$$ args=[$*] API_KEY=${API_KEY-unset} API_KEY_FILE=${API_KEY_FILE-unset} FROM_HOOK=${FROM_HOOK-unset}"
"""


@dataclass(frozen=True)
class Ended:
    """How the entrypoint, or what it became, ended."""

    pid: int
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Container:
    """A folder that stands for a container: an ``arun`` on the PATH that only tells how it was started, and hooks."""

    folder: Path

    @property
    def hooks(self) -> Path:
        return self.folder / "hooks"

    def hook(self, name: str, text: str, *, mode: int = 0o755) -> Path:
        path = self.hooks / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def run(self, *arguments: str, **env: str) -> Ended:
        """Run the entrypoint with the arguments and the environment."""
        process = subprocess.Popen(
            [ENTRYPOINT, *arguments],
            cwd=self.folder,
            env={"PATH": f"{self.folder / 'bin'}:{os.defpath}", "ENTRYPOINT_HOOKS": str(self.hooks), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            out, err = process.communicate(timeout=30)
            return Ended(process.pid, process.returncode, out, err)


@pytest.fixture
def container(tmp_path: Path) -> Container:
    for name in ("bin", "hooks"):
        (tmp_path / name).mkdir()
    command = tmp_path / "bin" / "arun"
    command.write_text(STAND_IN)
    command.chmod(0o755)
    return Container(tmp_path)


def test_shellcheck_has_nothing_to_say(lint: Callable[..., str]) -> None:
    assert lint("shellcheck", ENTRYPOINT) == ""


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--bind", ":9000"),
        ("-h",),
        ("app.py",),
        ("app.py:make_app", "--factory"),
        ("shop.web:app",),
        ("shop.web",),
        ("site.ini",),
        ("site.toml",),
        ("./site.yaml",),
        ("hooks",),  # a folder
        ("export",),  # a builtin of the shell is no program
        ("an app with spaces.py", "a  b"),
    ],
)
def test_what_is_no_command_goes_to_arun(container: Container, arguments: tuple[str, ...]) -> None:
    ended = container.run(*arguments)
    assert f"args=[{' '.join(arguments)}]" in ended.out
    assert ended.status == 0


def test_arun_may_be_said(container: Container) -> None:
    assert "args=[app.py]" in container.run("arun", "app.py").out


def test_arun_takes_the_place_of_the_entrypoint(container: Container) -> None:
    """The same pid: in a container that is 1, and the signals of `docker stop` arrive."""
    ended = container.run("app.py")
    assert f"pid={ended.pid} " in ended.out


def test_another_command_is_run_as_it_is(container: Container) -> None:
    """`docker run IMAGE bash`: no hooks, no secrets, and its own status."""
    container.hook("1.sh", "#!/bin/sh\necho hook\n")
    ended = container.run(
        "sh", "-c", 'echo "$$ $API_KEY_FILE"; exit 7', ENTRYPOINT_SECRETS="API_KEY", API_KEY_FILE="/x"
    )
    assert (ended.status, ended.out) == (7, f"{ended.pid} /x\n")


def test_a_command_may_be_a_path(container: Container) -> None:
    container.hook("tool", "#!/bin/sh\necho tool $1\n")
    assert container.run("./hooks/tool", "x").out == "tool x\n"


def test_hooks_run_in_the_order_of_their_versions_before_arun(container: Container) -> None:
    for name in ("10-b.sh", "9-a.sh", "2 with spaces.sh"):
        container.hook(name, f"#!/bin/sh\necho '{name}'\n")
    assert container.run("app.py").out.splitlines()[:3] == ["2 with spaces.sh", "9-a.sh", "10-b.sh"]


def test_what_an_envsh_hook_exports_reaches_later_hooks_and_arun(container: Container) -> None:
    container.hook("1.envsh", "export FROM_HOOK=yes\n")
    container.hook("2.sh", '#!/bin/sh\necho "hook: $FROM_HOOK"\n')
    ended = container.run()
    assert ended.out.startswith("hook: yes\n")
    assert "FROM_HOOK=yes" in ended.out


def test_a_hook_gets_the_standard_input_of_the_container(container: Container) -> None:
    """The list of the hooks is not what a hook gets to read."""
    container.hook("1.sh", "#!/bin/sh\ncat\n(cat <&3) 2>/dev/null || :\n")
    container.hook("2.sh", "#!/bin/sh\necho second\n")
    assert container.run().out.startswith("second\n")


def test_a_hook_that_is_a_link_counts(container: Container) -> None:
    """Kubernetes mounts the files of a ConfigMap as links."""
    target = container.folder / "real"
    target.write_text("#!/bin/sh\necho linked\n")
    target.chmod(0o755)
    (container.hooks / "1.sh").symlink_to(target)
    assert container.run().out.startswith("linked\n")


def test_a_hook_that_is_not_executable_is_left_out_and_said(container: Container) -> None:
    path = container.hook("1.sh", "#!/bin/sh\necho ran\n", mode=0o644)
    ended = container.run()
    assert ended.out.startswith("arun ")
    assert f"ignoring {path}: it is not executable" in ended.err


def test_other_files_beside_the_hooks_are_no_hooks(container: Container) -> None:
    container.hook("README.md", "#!/bin/sh\necho ran\n")
    ended = container.run()
    assert ended.out.startswith("arun ")
    assert ended.err == ""


def test_without_the_folder_of_hooks_arun_starts(container: Container) -> None:
    assert container.run("app.py", ENTRYPOINT_HOOKS="/nowhere").status == 0


@pytest.mark.parametrize("name", ["1.sh", "1.envsh"])
def test_a_hook_that_fails_keeps_arun_from_starting(container: Container, name: str) -> None:
    path = container.hook(name, "#!/bin/sh\nfalse || exit 9\n")
    ended = container.run("app.py")
    assert ended.status != 0
    assert ended.out == ""
    assert str(path) in ended.err


def test_a_secret_is_read_from_its_file(container: Container) -> None:
    """The value counts without the newline that editors leave, and the name of the file does not travel on."""
    secret = container.folder / "secret"
    secret.write_text("p w $HOME `id` \\\n")
    ended = container.run(ENTRYPOINT_SECRETS="OTHER API_KEY", API_KEY_FILE=str(secret))
    assert "API_KEY=p w $HOME `id` \\ API_KEY_FILE=unset" in ended.out


def test_a_variable_that_is_not_listed_is_left_alone(container: Container) -> None:
    assert "API_KEY=unset API_KEY_FILE=/x" in container.run(API_KEY_FILE="/x").out


def test_the_usual_names_are_listed_from_the_start(container: Container) -> None:
    value = container.folder / "value"
    value.write_text("postgres://here")
    (container.folder / "bin" / "arun").write_text('#!/bin/sh\necho "$DATABASE_URL"\n')
    assert container.run(DATABASE_URL_FILE=str(value)).out == "postgres://here\n"


def test_a_hook_may_say_where_a_secret_lies(container: Container) -> None:
    """The secrets are read after the hooks."""
    value = container.folder / "value"
    value.write_text("found")
    container.hook("1.envsh", f"export API_KEY_FILE='{value}'\n")
    assert "API_KEY=found" in container.run(ENTRYPOINT_SECRETS="API_KEY").out


def test_a_secret_that_is_set_twice_is_an_error(container: Container) -> None:
    ended = container.run(ENTRYPOINT_SECRETS="API_KEY", API_KEY="a", API_KEY_FILE="/x")
    assert (ended.status, ended.out) == (1, "")
    assert "both API_KEY and API_KEY_FILE are set" in ended.err


def test_an_empty_variable_counts_as_not_set(container: Container) -> None:
    """Compose files write VAR= for a variable that the host does not have."""
    secret = container.folder / "secret"
    secret.write_text("from file")
    assert "API_KEY=from file" in container.run(ENTRYPOINT_SECRETS="API_KEY", API_KEY="", API_KEY_FILE=str(secret)).out
    assert "API_KEY=plain" in container.run(ENTRYPOINT_SECRETS="API_KEY", API_KEY="plain", API_KEY_FILE="").out


def test_a_secret_whose_file_is_missing_is_an_error(container: Container) -> None:
    ended = container.run(ENTRYPOINT_SECRETS="API_KEY", API_KEY_FILE="/nowhere/secret")
    assert (ended.status, ended.out) == (1, "")
    assert "API_KEY_FILE: cannot read /nowhere/secret" in ended.err


@pytest.mark.parametrize("name", ["1A", "A-B", "A;id", "$(id)"])
def test_only_names_of_variables_can_be_listed_as_secrets(container: Container, name: str) -> None:
    ended = container.run(ENTRYPOINT_SECRETS=name)
    assert (ended.status, ended.out) == (1, "")
    assert "is not the name of a variable" in ended.err
