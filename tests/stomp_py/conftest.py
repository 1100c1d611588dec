"""One real cluster for all tests here: ZooKeeper and three brokers on free loopback ports."""

import itertools
import os
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from cluster_handle import LocalCluster  # noqa: E402

from client import Client  # noqa: E402


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster whose nodes all run; a test that hurts one heals it before it ends."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = LocalCluster(folder)
    cluster.run("start")
    yield cluster
    cluster.run("stop")


@pytest.fixture(scope="session")
def names():
    run = f"{os.getpid()}-{int(time.time())}"
    return (f"{run}-{number}" for number in itertools.count(1))


@pytest.fixture
def queue(request, names):
    """A queue of its own for each test."""
    return f"/queue/{request.node.originalname}-{next(names)}"


@pytest.fixture
def topic(request, names):
    return f"/topic/{request.node.originalname}-{next(names)}"


@pytest.fixture
def client(cluster):
    """Makes clients that are connected to the master, and closes them after the test."""
    made = []

    def make(version="1.2", **options):
        status = cluster.master()
        made.append(Client(cluster.clients()[status["master"]], version, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
