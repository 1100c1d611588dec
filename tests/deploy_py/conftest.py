"""What the tests of `deploy/` and of the documents share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "deploy"), str(Path(__file__).resolve().parent)]

from cluster_handle import binary, clean_environment  # noqa: E402


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def environment():
    """The binary and the Python clients first on the path, no stray configuration."""
    environment = clean_environment() | {"REPLICAMQ_BIN": str(binary())}
    environment["PATH"] = os.pathsep.join([str(binary().parent), str(Path(sys.executable).parent), environment["PATH"]])
    return environment


@pytest.fixture(scope="session")
def replicamq(environment):
    """Runs the binary; the completed process."""

    def run(*arguments, **variables):
        command = [environment["REPLICAMQ_BIN"], *map(str, arguments)]
        return subprocess.run(command, env=environment | variables, capture_output=True, text=True, timeout=60)

    return run


def tracked(*patterns):
    """Files of the project, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(set(listed.stdout.split("\n")) - {""})
