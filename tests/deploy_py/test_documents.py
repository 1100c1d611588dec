"""The documents' commands run, and their links lead somewhere.

Blocks marked ```sh run are run from the project's root, one shell a block. `serve` behind it starts a standalone
broker first, as the text around the block tells the reader to do.
"""

import re
import select
import signal
import socket
import subprocess
import time

import pytest

from conftest import ROOT, tracked

DOCUMENTS = tracked("*.md")
BLOCK = re.compile(r"^```sh run( serve)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(match[2], bool(match[1]), id=f"{name}:{text[: match.start()].count(chr(10)) + 1}")
    for name in DOCUMENTS
    for text in [(ROOT / name).read_text()]
    for match in BLOCK.finditer(text)
]
SECONDS_MAX = 900
READY_SECONDS = 30


@pytest.fixture
def standalone(environment, tmp_path):
    """A standalone broker on its usual ports, which must be free."""
    for port in (61613, 8161):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                pytest.fail(f"port {port} is taken: this test runs the README's commands, which use it")
    log = open(tmp_path / "log", "w")
    process = subprocess.Popen(
        [environment["REPLICAMQ_BIN"], "serve"],
        env=environment | {"XDG_DATA_HOME": str(tmp_path)},
        stdout=log,
        stderr=log,
    )
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", 61613), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            select.select([], [], [], 0.05)
    yield
    process.send_signal(signal.SIGTERM)
    assert process.wait(READY_SECONDS) == 0
    # What a user is told first: where the data is.
    assert str(tmp_path / "replicamq") in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("commands", "serve"), BLOCKS)
def test_the_commands_run(request, environment, commands, serve):
    if serve:
        request.getfixturevalue("standalone")
    assert not (ROOT / ".demo").exists(), "a cluster of `make demo KEEP=1` is in the way: `make clean` removes it"
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
        )
        assert done.returncode == 0, done.stdout
    finally:
        subprocess.run(["make", "clean"], cwd=ROOT, env=environment, capture_output=True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", (ROOT / name).read_text()):
        assert (ROOT / name).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_exists(name):
    """Make targets and paths in backticks."""
    text = (ROOT / name).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert target in targets, f"make {target}"
    for path in re.findall(r"`((?:deploy|tests|broker|replication|proto)/[\w./@-]+)`", text):
        assert (ROOT / path).exists(), path


def test_every_subcommand_shows_an_example(replicamq):
    listed = replicamq("--help").stdout
    commands = re.search(r"Commands:\n(.*?)\n\n", listed, re.DOTALL)[1]
    for command in re.findall(r"^  ([a-z]+)", commands, re.MULTILINE):
        if command != "help":
            assert f"replicamq {command}" in replicamq(command, "--help").stdout, command


def test_the_handbook_names_every_status_field(root):
    handbook = (root / "deploy/README.md").read_text()
    contract = (root / "proto/replicamq/admin/v1/admin.proto").read_text()
    answers = contract[contract.index("message StatusResponse") :]
    fields = re.findall(r"^\s+(?:repeated )?\w+ (\w+) = \d+;", answers, re.MULTILINE)
    missing = [field for field in fields if f"`{field}`" not in handbook]
    assert set(missing) <= {"members", "destinations"}


def test_every_test_that_the_page_of_the_protocol_names_exists():
    text = (ROOT / "replication/README.md").read_text()
    code = "\n".join(path.read_text() for path in ROOT.rglob("*.rs"))
    # A test has a sentence for its name; settings and files are shorter.
    named = set(re.findall(r"`((?:[a-z0-9]+_){3,}[a-z0-9]+)`", text))
    assert len(named) > 50
    assert sorted(name for name in named if f"fn {name}(" not in code) == []


def test_each_lesson_of_the_ancestor_has_a_test():
    text = (ROOT / "replication/README.md").read_text()
    lessons = text.split("## What the ancestor taught")[1].split("\n## ")[0]
    rows = [row.split("|") for row in lessons.splitlines() if re.match(r"\| \d", row)]
    numbers = [int(number) for row in rows for number in row[1].split(",")]
    assert numbers == list(range(1, 30))
    assert [row[1] for row in rows if "`" not in row[4]] == []
