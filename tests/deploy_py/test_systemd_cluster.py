"""The unit under a real systemd: a container boots one, with ZooKeeper and three brokers as its services."""

import json
import subprocess
import time

import pytest
from cluster_handle import NotReached, caught_up
from containers import docker, require_docker
from lacking import not_tested

IMAGE = "replicamq-systemd:test"
SECONDS_MAX = 120
# What a systemd that sandboxes its services needs inside a container.
BOOT = ["--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"]
BOOT += ["--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp", "--env=container=docker"]
BOOT += ["--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"]
NODES = ("broker-1", "broker-2", "broker-3")
DRILL = ["replicamq", "drill", "kill-master", "--rounds", "2", "--target", "systemd"]


def configuration(number):
    return f"""
node = "broker-{number}"
hostname = "127.0.0.1"
bind = "tcp://127.0.0.1:616{number}9"
stomp = "tcp://127.0.0.1:616{number}3"
admin = "tcp://127.0.0.1:816{number}"
zk_address = "127.0.0.1:2181"
"""


class Machine:
    def __init__(self, container):
        self.container = container

    def run(self, *command, check=True):
        return docker("exec", self.container, *command, check=check)

    def show(self, node, name):
        return self.run("systemctl", "show", "--value", "-p", name, f"replicamq@{node}").strip()

    def status(self):
        for number in (1, 2, 3):
            arguments = ["env", "REPLICAMQ_SECURITY_TOKEN_FILE=/etc/replicamq/token", "replicamq", "status"]
            answer = self.run(*arguments, "--node", f"127.0.0.1:816{number}", "--json", check=False)
            if answer:
                return json.loads(answer)
        return None

    def until(self, what, condition):
        deadline = time.monotonic() + SECONDS_MAX
        status = None
        while time.monotonic() < deadline:
            status = self.status()
            if status and condition(status):
                return status
        journal = self.run("journalctl", "--no-pager", "-n", "40")
        raise NotReached(f"not within {SECONDS_MAX} s: {what}; the last status: {status}\n{journal}")


@pytest.fixture(scope="module")
def machine(root, environment, tmp_path_factory):
    require_docker()
    here = root / "tests/deploy_py/systemd"
    subprocess.run([root / "deploy/docker/base-image"], check=True, capture_output=True)
    docker("build", "-q", "-t", IMAGE, here)
    container = docker("run", "--detach", "--rm", *BOOT, IMAGE).strip()
    machine = Machine(container)
    try:
        deadline = time.monotonic() + SECONDS_MAX
        while machine.run("systemctl", "is-system-running", check=False).strip() not in ("running", "degraded"):
            if time.monotonic() > deadline or not docker("ps", "-q", "--no-trunc", "-f", f"id={container}"):
                not_tested("this machine's Docker cannot boot a systemd")
        # PID 1 leaves this to the container's maker; the unit's credentials are mounted through it.
        machine.run("mount", "--make-rshared", "/")
        folder = tmp_path_factory.mktemp("machine")
        subprocess.run(["strip", "-o", folder / "replicamq", environment["REPLICAMQ_BIN"]], check=True)
        machine.run("mkdir", "-p", "/etc/replicamq")
        docker("cp", folder / "replicamq", f"{container}:/usr/local/bin/replicamq")
        docker("cp", root / "deploy/systemd/replicamq@.service", f"{container}:/etc/systemd/system/")
        for number, node in enumerate(NODES, start=1):
            (folder / f"{node}.toml").write_text(configuration(number))
            docker("cp", folder / f"{node}.toml", f"{container}:/etc/replicamq/")
        machine.run("sh", "-c", "umask 077; echo of-this-test > /etc/replicamq/token; systemctl daemon-reload")
        machine.run("systemctl", "start", *(f"replicamq@{node}" for node in NODES))
        yield machine
    finally:
        docker("kill", container, check=False)


def test_the_services_form_a_cluster(machine):
    status = machine.until("every replica caught up", caught_up)
    for node in NODES:
        assert machine.show(node, "ActiveState") == "active"
        assert ("master" in machine.show(node, "StatusText")) == (node == status["master"])


def test_a_service_runs_as_a_user_of_its_own(machine):
    machine.until("every replica caught up", caught_up)
    pid = machine.show("broker-1", "MainPID")
    uid = machine.run("stat", "-c", "%u", f"/proc/{pid}").strip()
    assert int(uid) >= 61184, "not a dynamic user"
    assert machine.run("stat", "-c", "%u %a", "/var/lib/private/replicamq/broker-1").strip() == f"{uid} 700"


def test_a_killed_service_comes_back_by_itself(machine):
    master = machine.until("every replica caught up", caught_up)["master"]
    machine.run("systemctl", "kill", "--signal=SIGKILL", f"replicamq@{master}")
    status = machine.until(
        "the killed node is back", lambda status: caught_up(status) and int(machine.show(master, "NRestarts")) == 1
    )
    assert status["master"] != master


def test_the_drill_kills_services(machine):
    machine.until("every replica caught up", caught_up)
    print(machine.run(*DRILL))


def test_a_stopped_service_ended_well(machine):
    machine.until("every replica caught up", caught_up)
    for node in NODES:
        machine.run("systemctl", "stop", f"replicamq@{node}")
        assert (machine.show(node, "ActiveState"), machine.show(node, "Result")) == ("inactive", "success")
