"""Scripts parse, are executable, and say what they are for."""

import ast
import os
import subprocess

import pytest

from conftest import ROOT, tracked


def first_line(name):
    with open(ROOT / name, "rb") as file:
        return file.readline()


SCRIPTS = [name for name in tracked("deploy", ".ci", "tests") if first_line(name).startswith(b"#!")]
BASH = [name for name in SCRIPTS if b"bash" in first_line(name)]
PYTHON = sorted({name for name in SCRIPTS if b"python" in first_line(name)} | set(tracked("*.py")))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_executable(name):
    assert os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize("name", BASH)
def test_bash_parses_and_stops_at_errors(name):
    subprocess.run(["bash", "-n", ROOT / name], check=True)
    assert "\nset -euo pipefail\n" in (ROOT / name).read_text()


@pytest.mark.parametrize("name", PYTHON)
def test_python_parses_and_says_what_it_is(name):
    assert ast.get_docstring(ast.parse((ROOT / name).read_text())), "no docstring"


def test_make_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    shown = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    for target in [line.removeprefix(".PHONY: ") for line in text.splitlines() if line.startswith(".PHONY: ")]:
        assert target in shown.split()


def test_a_second_deps_changes_nothing():
    done = subprocess.run(["deploy/deps", "python"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "all there" in done.stdout
