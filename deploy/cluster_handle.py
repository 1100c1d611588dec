"""A running local cluster, for the scripts that drive one: what it says of itself, and ways to hurt it."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

STATUS_SECONDS = 30
POLL_SECONDS = 0.02
SCRIPT = Path(__file__).resolve().parent / "local-cluster"


class NotReached(Exception):
    """A state that did not come, or not within its time."""


def binary() -> Path:
    """The one that REPLICAMQ_BIN names, or the one that `make build` made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache / "replicamq/target")
    return Path(os.environ.get("REPLICAMQ_BIN") or target / "release/replicamq")


def clean_environment() -> dict:
    """A stray REPLICAMQ_ variable of the caller must configure nothing."""
    return {key: value for key, value in os.environ.items() if not key.startswith("REPLICAMQ_")}


def ask(configuration: Path) -> dict | None:
    """What the node with this configuration says, or nothing while it has no answer."""
    command = [str(binary()), "status", "--config", str(configuration), "--json"]
    answer = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=30)
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def free_ports(count: int) -> list[int]:
    """Free ports below the range that outgoing connections draw from, so that a port stays free while its node is down."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = list(range(max(10_000, first_ephemeral - 20_000), first_ephemeral))
    random.shuffle(candidates)
    found = []
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise NotReached("no free loopback ports")


class LocalCluster:
    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, command: str, *arguments: str, quiet: bool = False) -> None:
        output = subprocess.DEVNULL if quiet else None
        subprocess.run([str(SCRIPT), command, str(self.folder), *arguments], check=True, stdout=output)

    def running(self) -> bool:
        return any(self.folder.glob("*.pid"))

    def settings(self) -> dict:
        lines = (self.folder / "cluster.env").read_text().splitlines()
        return {key: value.strip("'") for key, value in (line.split("=", 1) for line in lines)}

    @property
    def uri(self) -> str:
        return self.settings()["BROKER_URI"]

    def clients(self) -> dict[str, tuple[str, int]]:
        """Where each node's clients connect, by its name."""
        from stomp_failover import hosts

        return {f"broker-{number}": host for number, host in enumerate(hosts(self.uri), start=1)}

    def ask(self) -> dict | None:
        """What the first node that answers says, without waiting."""
        return next(filter(None, map(ask, sorted(self.folder.glob("node-*.toml")))), None)

    def until(self, what: str, condition) -> dict:
        """The status once it meets the condition."""
        deadline = time.monotonic() + STATUS_SECONDS
        status = None
        while time.monotonic() < deadline:
            status = self.ask()
            if status and condition(status):
                return status
            time.sleep(POLL_SECONDS)
        raise NotReached(f"not within {STATUS_SECONDS} s: {what}; the last status: {json.dumps(status)}")

    def master(self, besides: str = "") -> dict:
        """The status once there is a master, and with `besides`, another than that."""
        return self.until(
            f"a master{' besides ' + besides if besides else ''}",
            lambda status: status["master"] not in ("", besides) and not status["incomplete"],
        )

    def complete(self) -> dict:
        """The status once every node follows one master and has all that it has."""
        return self.until("every replica caught up", caught_up)

    def depth(self, queue: str) -> tuple[int, int]:
        """Messages of a queue: all of them, and those of them that are with a consumer."""
        for destination in self.master()["destinations"]:
            if destination["kind"] == "queue" and destination["name"].split("/")[-1] == queue:
                return destination["depth"], destination["in_flight"]
        return 0, 0

    def signal(self, node: str, number: signal.Signals) -> float:
        """Sends a signal to a node's process; the moment of it."""
        pid = int((self.folder / f"node-{node.rsplit('-', 1)[1]}.pid").read_text())
        os.kill(pid, number)
        return time.monotonic()

    def kill(self, node: str) -> float:
        return self.signal(node, signal.SIGKILL)

    def restart(self, node: str) -> None:
        self.run("start-node", node.rsplit("-", 1)[1], quiet=True)


def caught_up(status: dict) -> bool:
    members = status["members"]
    master = [member for member in members if member["role"] == "master"]
    replicas = [member for member in members if member["role"] == "replica"]
    return (
        len(master) == 1
        and len(replicas) == status["replicas"] - 1
        and all(member["durable"] >= master[0]["committed"] for member in replicas)
    )
