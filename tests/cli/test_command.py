"""The `coord` command itself: what it imports, how it finds commands, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from coordstore import errors
from coordstore.cli import main as module
from coordstore.cli.main import BUILT_IN, cli, exit_code, main
from coordstore.cli.schemas import SCHEMAS
from coordstore.home import NotARepository
from coordstore.plugins import PluginError, Registered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMPORTED = "import sys; from coordstore.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"


def with_plugin(folder: Path, source: str, name: str = "stranger") -> dict[str, str]:
    """Return an environment in which a distribution of a stranger is installed."""
    info = folder / f"{name}_tools-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}-tools\nVersion: 2.0\n")
    points = ["[console_scripts]", "x = y:z", "[coordstore]", f"{name} = {name}_plugin", "", "[other]", "not = ours"]
    (info / "entry_points.txt").write_text("\n".join(points))
    (folder / f"{name}_plugin.py").write_text(source)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


STRANGER = """
import click
from coordstore.hookspecs import hookimpl

@click.command()
def wave():
    click.echo("hello from far away")

@hookimpl
def register_commands(register):
    register("wave", "stranger_plugin:wave", summary="Wave a hand.")
    register("inspect", "stranger_plugin:wave", summary="Take its place.")

@hookimpl
def register_backends(register):
    register("cloud", "stranger_plugin:nothing", summary="somewhere else")
"""


@pytest.mark.req("C2")
def test_help_lists_every_command_with_its_line_and_imports_none(coord_process: Callable[..., Any]) -> None:
    done = coord_process("--help")
    assert done.code == 0
    for name, (_, summary) in BUILT_IN.items():
        assert f"  {name}" in done.out
        assert summary in done.out
    printed = subprocess.run([sys.executable, "-c", IMPORTED, "--help"], capture_output=True, check=True, text=True)
    assert "coordstore.cli.inspecting" not in printed.stdout.split()


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_command_s_line_in_the_list_is_its_own(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str(limit=100) == BUILT_IN[name][1]
    assert main([name, "--help"]) == 0


@pytest.mark.req("C1")
@pytest.mark.parametrize("args", [["inspect"], ["events"], ["logs", "t1"]])
def test_commands_that_look_import_nothing_heavy(args: list[str], tmp_path: Path, story: Callable[..., None]) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    story(url)
    command = [sys.executable, "-c", IMPORTED, "--store", url, *args]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    heavy = {"pydantic", "grpc", "yaml", "rich", "importlib.metadata", "email", "tempfile", "shutil"}
    assert heavy & set(done.stdout.splitlines()[-1].split()) == set()


def test_an_unknown_command_is_answered_with_the_likely_one(coord: Callable[..., Any]) -> None:
    assert coord("inspct") == (
        2,
        "",
        "coord: there is no command 'inspct': did you mean inspect? (try 'coord --help') [usage]\n",
    )
    assert coord("xyzzy").err == "coord: there is no command 'xyzzy' (try 'coord --help') [usage]\n"


def test_wrong_options_name_the_command_s_help(coord: Callable[..., Any]) -> None:
    assert coord("inspect", "--wtach").code == 2
    assert coord("inspect", "--wtach").err.endswith("(try 'coord inspect --help') [usage]\n")
    assert coord("logs").err == "coord: missing argument 'AGENT' (try 'coord logs --help') [usage]\n"
    assert coord("inspect", "--store", "x").err == (
        "coord: --store stands before the command: coord --store URL inspect [usage]\n"
    )


def test_the_version_is_the_distribution_s(coord: Callable[..., Any]) -> None:
    assert coord("--version") == (0, "coord 0.1.0\n", "")


@pytest.mark.req("C2")
def test_a_plugin_s_command_is_listed_and_runs_but_cannot_replace_ours(
    tmp_path: Path, coord_process: Callable[..., Any]
) -> None:
    env = with_plugin(tmp_path, STRANGER)
    assert "  wave        Wave a hand.\n" in coord_process("--help", env=env).out
    assert coord_process("wave", env=env) == (0, "hello from far away\n", "")
    assert "Usage: coord inspect" in coord_process("inspect", "--help", env=env).out


@pytest.mark.req("S10", "C2")
def test_backends_are_listed_with_whose_they_are(tmp_path: Path, coord_process: Callable[..., Any]) -> None:
    lines = coord_process("backends", env=with_plugin(tmp_path, STRANGER)).out.splitlines()
    assert lines[0].split() == ["SCHEME", "WHAT", "IT", "IS", "FROM"]
    assert [line.split()[0] for line in lines[1:]] == sorted(line.split()[0] for line in lines[1:])
    cloud = next(line for line in lines if line.startswith("cloud"))
    assert cloud.split() == ["cloud", "somewhere", "else", "stranger-tools"]
    assert any(line.startswith("sqlite") and line.endswith("coordstore") for line in lines)


def test_entry_points_are_the_same_as_importlib_metadata_finds(tmp_path: Path) -> None:
    program = (
        "from coordstore import plugins\n"
        "own, theirs = sorted(plugins._entries()), sorted(plugins._entries_by_metadata())\n"
        "assert own == theirs, (own, theirs); print(*(entry.name for entry in own))"
    )
    env = with_plugin(tmp_path, STRANGER)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert {"sqlite", "stranger"} <= set(done.stdout.split())


def test_a_plugin_that_cannot_be_loaded_is_named_with_its_distribution(
    tmp_path: Path, coord_process: Callable[..., Any]
) -> None:
    done = coord_process("backends", env=with_plugin(tmp_path, "import nothing_of_that_name"))
    assert done.code == 1
    assert done.err == (
        "coord: plugin 'stranger' of stranger-tools cannot be loaded (No module named 'nothing_of_that_name'):"
        " repair or remove that distribution [plugin]\n"
    )


def test_two_plugins_with_one_scheme_are_refused(tmp_path: Path, coord_process: Callable[..., Any]) -> None:
    second = "from coordstore.hookspecs import hookimpl\n\n@hookimpl\ndef register_backends(register):\n"
    second += "    register('sqlite', 'x:y', summary='mine')\n"
    done = coord_process("backends", env=with_plugin(tmp_path, second))
    assert done.code == 1
    assert done.err.startswith("coord: two plugins claim the scheme 'sqlite' (")


def replaced(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command `fail` raise an error."""

    @click.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(module, "commands", lambda: {"fail": Registered("fail", fail, "fail")})


@pytest.mark.req("C2")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidArgument("wrong"), 2),
        (errors.InvalidKey("wrong"), 2),
        (NotARepository("wrong"), 2),
        (errors.Unavailable("wrong"), 4),
        (errors.StoreClosed("wrong"), 4),
        (errors.Corrupt("wrong"), 4),
        (errors.VersionMismatch("wrong"), 4),
        (errors.StoreReplaced("wrong"), 4),
        (errors.Unsupported("wrong"), 4),
        (errors.Conflict("wrong"), 1),
        (errors.InvalidTransition("wrong"), 1),
        (PluginError("wrong"), 1),
        (ExceptionGroup("tasks", [errors.Unavailable("wrong")]), 4),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(
    error: Exception, code: int, coord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(error, monkeypatch)
    one = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
    assert isinstance(one, errors.CoordError)
    assert coord("fail") == (code, "", f"coord: wrong [{one.code()}]\n")


def test_an_error_class_may_choose_its_exit_code() -> None:
    class Led(errors.CoordError):
        exit_code = 5

    assert exit_code(Led("led")) == 5
    assert exit_code(NotARepository("x")) == 2


def test_a_traceback_is_only_for_those_who_ask(coord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(ZeroDivisionError("oh"), monkeypatch)
    assert coord("fail") == (
        1,
        "",
        "coord: ZeroDivisionError: oh (this should not happen; COORD_DEBUG=1 shows where) [internal]\n",
    )
    monkeypatch.setenv("COORD_DEBUG", "1")
    assert "Traceback (most recent call last)" in coord("fail").err


def test_what_an_agent_put_into_an_error_cannot_act_on_the_terminal(
    coord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(errors.InvalidArgument("two\nlines\x1b]0;owned\x07"), monkeypatch)
    assert coord("fail").err == "coord: two\nlines [invalid-argument]\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_quiet(
    error: BaseException, coord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(error, monkeypatch)
    assert coord("fail").code == 130
    assert "Traceback" not in coord("fail").err


def test_a_command_returns_its_exit_code(coord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    command = click.Command("three", callback=lambda: 3)
    monkeypatch.setattr(module, "commands", lambda: {"three": Registered("three", command, "three")})
    assert coord("three").code == 3


def test_a_reader_that_goes_away_makes_no_noise(tmp_path: Path, story: Callable[..., None]) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    story(url)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from coordstore.cli.main import main; main()", "--store", url, "events"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_output_that_cannot_show_a_symbol_gets_another(tmp_path: Path, story: Callable[..., None]) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    story(url)
    command = [sys.executable, "-c", "from coordstore.cli.main import main; main()", "--store", url, "inspect"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, check=True, env=env)
    assert b"* running" in done.stdout
    assert done.stdout.isascii()


def test_what_registered_for_the_exit_still_runs(tmp_path: Path) -> None:
    program = "import atexit; atexit.register(print, 'bye'); from coordstore.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "schema"], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == [*sorted(SCHEMAS), "bye"]


def test_a_thread_that_lives_on_is_not_cut_short_and_keeps_the_exit_code() -> None:
    program = "import threading; threading.Timer(0.2, print, ['done']).start(); "
    program += "from coordstore.cli.main import main; main()"
    argv = [sys.executable, "-c", program, "nothing-of-the-kind"]
    done = subprocess.run(argv, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (2, "done\n")


@pytest.mark.req("C1")
def test_a_store_in_trouble_is_a_sentence_and_exit_4(tmp_path: Path, coord: Callable[..., Any]) -> None:
    (tmp_path / "store.db").write_bytes(b"this is no database, whatever its name says" * 100)
    done = coord("--store", f"sqlite:{tmp_path}/store.db", "inspect")
    assert done.code == 4
    assert done.err.startswith("coord: ")
    assert done.err.count("\n") == 1
