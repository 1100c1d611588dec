"""The container cluster, for real: the master killed, then cut off, under a client that is not ours.

Uses a project name and ports of its own, so that a cluster somebody runs here is not touched.
"""

import json
import os
import subprocess
import time

import pytest
from cluster_handle import NotReached, caught_up, free_ports
from containers import docker, require_docker
from stomp_failover import Deliveries, Producer, connect, hosts

COUNT = 2000
SECONDS_MAX = 120
PROJECT = f"replicamq-test-{os.getpid()}"
PORTS = [f"{kind}_PORT_{number}" for kind in ("STOMP", "ADMIN") for number in (1, 2, 3)]
QUEUE = "/queue/containers"


class Containers:
    def __init__(self, script, environment):
        self.script, self.environment = script, environment

    def compose(self, *arguments, check=True):
        done = subprocess.run([self.script, *arguments], env=self.environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def uri(self):
        ports = [self.environment[f"STOMP_PORT_{number}"] for number in (1, 2, 3)]
        return f"failover:({','.join(f'tcp://127.0.0.1:{port}' for port in ports)})"

    def until(self, what, condition):
        deadline = time.monotonic() + SECONDS_MAX
        status = None
        while time.monotonic() < deadline:
            done = self.compose("status", "--json", check=False)
            if done.returncode == 0:
                status = json.loads(done.stdout)
                if condition(status):
                    return status
        raise NotReached(f"not within {SECONDS_MAX} s: {what}; the last status: {status}")

    def container(self, node):
        return self.compose("ps", "-q", node).stdout.strip()


@pytest.fixture(scope="module")
def containers(root, environment):
    require_docker()
    ports = {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)))}
    settings = environment | ports | {"COMPOSE_PROJECT_NAME": PROJECT, "PREBUILT": "1"}
    cluster = Containers(root / "deploy/docker/compose", settings)
    try:
        cluster.compose("image")
        cluster.compose("up")
        yield cluster
    finally:
        cluster.compose("down", check=False)


def send_through(containers, run, hurt):
    master = containers.until("every replica caught up", caught_up)["master"]
    producer = Producer(containers.uri(), QUEUE, heartbeats=(500, 500))
    for number in range(1, COUNT + 1):
        producer.send(f"{run}-{number}", str(number).encode())
        if number == COUNT // 2:
            hurt(master)
    producer.flush()
    producer.close()
    assert len(producer.acknowledged) == COUNT
    assert producer.connections > 1, "the producer never noticed"
    return master


def receive_all(containers):
    connection, inbox = connect(hosts(containers.uri()), Deliveries, time.monotonic() + SECONDS_MAX)
    connection.subscribe(QUEUE, id="1", ack="auto")
    numbers = [int(frame.body) for frame in inbox.wait(COUNT, 20)]
    assert numbers == list(range(1, COUNT + 1))
    connection.disconnect()


def test_the_image_is_small_and_runs_as_nobody_special(containers):
    [image] = json.loads(docker("image", "inspect", "replicamq:local"))
    assert image["Config"]["User"] == "replicamq"
    assert image["Config"]["Healthcheck"]["Test"][0] == "CMD"
    assert image["Config"]["StopSignal"] == "SIGTERM"
    assert image["Size"] < 200_000_000


def test_the_containers_become_healthy(containers):
    for node in ("broker-1", "broker-2", "broker-3"):
        deadline = time.monotonic() + SECONDS_MAX
        while docker("inspect", "-f", "{{.State.Health.Status}}", containers.container(node)).strip() != "healthy":
            assert time.monotonic() < deadline, node


def test_a_killed_master_costs_nothing(containers):
    master = send_through(containers, "kill", lambda node: docker("kill", containers.container(node)))
    try:
        receive_all(containers)
    finally:
        containers.compose("start", master)
    containers.until("the killed node is back", caught_up)


def test_the_drill_kills_containers(containers, root):
    containers.until("every replica caught up", caught_up)
    command = [containers.environment["REPLICAMQ_BIN"], "drill", "kill-master", "--target", "compose", "--rounds", "2"]
    done = subprocess.run(command, cwd=root, env=containers.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


def test_a_master_cut_off_from_the_others_costs_nothing(containers):
    network = f"{PROJECT}_cluster"
    cut = []

    def disconnect(node):
        cut.append(containers.container(node))
        docker("network", "disconnect", network, cut[0])

    master = send_through(containers, "cut", disconnect)
    try:
        receive_all(containers)
    finally:
        docker("network", "connect", "--alias", f"{master}.cluster", "--alias", master, network, cut[0])
    status = containers.until("the node that was cut off follows", caught_up)
    assert status["master"] != master
