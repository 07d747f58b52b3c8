"""Layers: command line before environment before files before what the platform sets; each value knows its origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from arun.core.addresses import Tcp

if TYPE_CHECKING:
    from tests.settings.conftest import Folder


def test_each_layer_goes_before_the_one_below(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nthreads = 3\nworkers = 3\nbacklog = 3\nlog-level = debug\n")
    environ = {"ARUN_THREADS": "2", "ARUN_WORKERS": "2", "WEB_CONCURRENCY": "4", "ARUN_CMD_ARGS": "--threads 5"}
    settings = folder.settings("site.ini", "--workers", "1", environ=environ)
    assert (settings.workers, settings.origin("workers")) == (1, "--workers")
    assert (settings.threads, settings.origin("threads")) == (5, "--threads in ARUN_CMD_ARGS")
    assert (settings.backlog, settings.origin("backlog")) == (3, "site.ini:4")
    assert (settings.loop, settings.origin("loop")) == ("auto", "default")


def test_a_list_of_a_higher_layer_replaces_that_of_a_lower_one(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nbind = :1\nbind = :2\n")
    assert folder.settings("site.ini").bind == (Tcp("0.0.0.0", 1), Tcp("0.0.0.0", 2))
    assert folder.settings("site.ini", "--bind", ":3").bind == (Tcp("0.0.0.0", 3),)


def test_an_address_on_the_command_line_replaces_every_address_of_a_file(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nbind = :1\nuds = x\n")
    assert folder.settings("site.ini", "--port", "9").addresses == ((Tcp("127.0.0.1", 9), "--port"),)


def test_host_and_port_complete_each_other_across_layers(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nhost = 0.0.0.0\nport = 1\n")
    assert folder.settings("site.ini", "--port", "9").addresses == ((Tcp("0.0.0.0", 9), "site.ini:2, --port"),)


def test_an_app_on_the_command_line_replaces_the_app_of_a_file(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nwsgi-file = old.py\ncallable = old\n")
    settings = folder.settings("site.ini", "new.py")
    assert (settings.app, settings.wsgi_file, settings.callable) == ("new.py", None, None)
    settings = folder.settings("site.ini", "--callable", "new")
    assert (settings.wsgi_file, settings.callable) == (None, "new")


def test_port_of_the_platform_is_the_default_address_on_all_interfaces(folder: Folder) -> None:
    assert folder.settings(environ={"PORT": "5000"}).addresses == ((Tcp("0.0.0.0", 5000), "PORT"),)


@pytest.mark.parametrize("words", [["--bind", ":1"], ["--port", "1"], ["--host", "::1"], ["--uds", "x"], ["--fd", "3"]])
def test_port_of_the_platform_counts_only_when_no_address_is_said(folder: Folder, words: list[str]) -> None:
    origins = [origin for _, origin in folder.settings(*words, environ={"PORT": "5000"}).addresses]
    assert origins == [words[0]]


def test_a_shared_socket_is_an_address_too(folder: Folder) -> None:
    settings = folder.settings("--shared-socket", ":80", environ={"PORT": "5000"})
    assert settings.addresses == ()
    assert settings.shared_addresses == ((Tcp("0.0.0.0", 80), "--shared-socket"),)


def test_a_port_that_is_no_port_is_told_with_its_variable(folder: Folder) -> None:
    problem = folder.problem(environ={"PORT": "abc"})
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", "PORT")


def test_shared_names_are_defaults_below_files(folder: Folder) -> None:
    folder.write("site.ini", "[arun]\nworkers = 2\n")
    environ = {"WEB_CONCURRENCY": "5", "FORWARDED_ALLOW_IPS": "10.0.0.1"}
    settings = folder.settings(environ=environ)
    assert (settings.workers, settings.forwarded_allow_ips) == (5, ("10.0.0.1",))
    assert folder.settings("site.ini", environ=environ).workers == 2


def test_an_empty_variable_says_nothing(folder: Folder) -> None:
    assert folder.settings(environ={"ARUN_PORT": "", "PORT": "", "WEB_CONCURRENCY": ""}).addresses == ()


def test_a_wrong_value_in_the_environment_is_told_with_its_variable(folder: Folder) -> None:
    problem = folder.problem(environ={"ARUN_BACKLOG": "many"})
    assert (problem.cause.identifier, problem.origin) == ("option-invalid", "ARUN_BACKLOG")
    assert "'many'" in problem.sentence


def test_an_unknown_variable_is_a_warning_with_the_name_that_was_meant(folder: Folder) -> None:
    (warning,) = folder.layers(environ={"ARUN_BAKCLOG": "3"}).warnings
    assert "ARUN_BAKCLOG" in warning
    assert "ARUN_BACKLOG" in warning


def test_links_of_kubernetes_and_variables_of_images_are_no_settings(folder: Folder) -> None:
    environ = {
        "ARUN_PORT": "tcp://10.0.0.1:80",
        "ARUN_PORT_80_TCP": "tcp://10.0.0.1:80",
        "ARUN_PORT_80_TCP_ADDR": "10.0.0.1",
        "ARUN_SERVICE_HOST": "10.0.0.1",
        "ARUN_SERVICE_PORT_HTTP": "80",
        "ARUN_HANDOVER": "3",
        "ARUN_VERSION": "0.1",
    }
    layers = folder.layers(environ=environ)
    assert layers.warnings == ()
    assert not any(layers.entries)


def test_arguments_that_cannot_be_split_are_told_and_still_arm_the_fallback(folder: Folder) -> None:
    environ = {"ARUN_CMD_ARGS": "--fallback-config welcome 'x"}
    assert folder.layers(environ=environ).fallback == "welcome"
    assert folder.rejected(environ=environ).problems[0].origin == "ARUN_CMD_ARGS"


def test_a_factory_reset_obeys_only_its_config_and_port(folder: Folder) -> None:
    folder.write("safe.conf", "[arun]\nthreads = $(THREADS)\n")
    environ = {
        "ARUN_THREADS": "7",
        "ARUN_CMD_ARGS": "--bogus",
        "ARUN_BOGUS": "1",
        "WEB_CONCURRENCY": "9",
        "THREADS": "2",
        "PORT": "5000",
    }
    layers = folder.layers(f"{folder.path}/safe.conf", environ=environ, factory_reset=True)
    settings = folder.settings(f"{folder.path}/safe.conf", environ=environ, factory_reset=True)
    assert (settings.threads, settings.workers, layers.warnings) == (2, 1, ())
    assert settings.addresses == ((Tcp("0.0.0.0", 5000), "PORT"),)
