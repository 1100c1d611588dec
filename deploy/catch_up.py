"""How fast a node that was away has everything again, and what that costs clients meanwhile: a part of `make figures`."""

import base64
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster_handle import LocalCluster, NotReached, binary, clean_environment

BODY_BYTES = 1024
BODIES = 10_000
LEVEL_SECONDS = 300
# Short: they are repeated for as long as a node takes, and the one in which clients felt most counts.
BENCH_SECONDS = 2
BENCHES_WITHOUT = 4
POLL_SECONDS = 0.02


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def send(cluster: LocalCluster, count: int) -> None:
    """Bodies that do not compress: what is copied is what was sent."""
    lines = b"".join(base64.b64encode(os.urandom(BODY_BYTES * 3 // 4)) + b"\n" for _ in range(BODIES))
    command = [str(binary()), "send", "--broker", cluster.uri, "/queue/missed", "--stdin-lines", "--quiet", "--in-flight", "500"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=clean_environment()) as sending:
        for _ in range(count // BODIES):
            sending.stdin.write(lines)
    if sending.returncode != 0:
        sys.exit("not everything was sent")


def member(status: dict | None, node: str) -> dict:
    return next((one for one in (status or {}).get("members", []) if one["node"] == node), {})


def level(cluster: LocalCluster, node: str) -> None:
    """Waits until the node follows and has what the master had committed when it was asked, or nearly: a load may go on."""
    deadline = time.monotonic() + LEVEL_SECONDS
    while time.monotonic() < deadline:
        status = cluster.ask()
        found, master = member(status, node), member(status, (status or {}).get("master", ""))
        if found.get("role") == "replica" and master and found["applied"] + 1000 >= master["committed"]:
            return
        time.sleep(POLL_SECONDS)
    raise NotReached(f"{node} has not caught up within {LEVEL_SECONDS} s")


def stop(cluster: LocalCluster, empty: bool) -> str:
    """Stops a replica, and empties its directory if its whole store is to be copied."""
    status = cluster.complete()
    node = next(one["node"] for one in status["members"] if one["role"] == "replica")
    number = node.rsplit("-", 1)[1]
    cluster.run("stop-node", number, quiet=True)
    if empty:
        shutil.rmtree(cluster.folder / f"data-{number}")
    return node


def p99_ms(bench, cluster: LocalCluster) -> float:
    return bench(cluster.uri, 8, 1, BENCH_SECONDS)["receipt_latency_us"]["p99"] / 1000


def timed(cluster: LocalCluster, node: str, empty: bool) -> float:
    """Seconds from its start until it is level. A log that no longer reached back would make it take a checkpoint."""
    log = cluster.folder / f"node-{node.rsplit('-', 1)[1]}.log"
    before = log.stat().st_size
    began = time.monotonic()
    cluster.restart(node)
    level(cluster, node)
    taken = time.monotonic() - began
    if ("a checkpoint replaced the store" in log.read_bytes()[before:].decode()) != empty:
        raise NotReached(f"{node} did not catch up in the way that was to be measured: give fewer --missed")
    return taken


def under_load(bench, cluster: LocalCluster, node: str, empty: bool) -> tuple[float, float]:
    """The worst p99 of clients while a node catches up, and how long that took beside them."""
    with ThreadPoolExecutor(1) as pool:
        catching = pool.submit(timed, cluster, node, empty)
        latencies = []
        while not catching.done():
            latencies.append(p99_ms(bench, cluster))
        return max(latencies), catching.result()


def figures(folder: Path, bench, messages: int) -> None:
    """Prints a table: from the log and from a checkpoint, alone and beside clients."""
    messages -= messages % BODIES
    cluster = LocalCluster(folder)
    cluster.run("start", quiet=True)
    print("\n| A node catches up | alone | beside clients | clients' p99 meanwhile | without |\n|---|---|---|---|---|")
    try:
        for way, empty in (("the log", False), ("a checkpoint", True)):
            say(f"  from {way}")
            cluster.complete()
            without = max(p99_ms(bench, cluster) for _ in range(BENCHES_WITHOUT))
            node = missed(cluster, messages, empty)
            alone = timed(cluster, node, empty)
            node = missed(cluster, messages, empty)
            latency, beside = under_load(bench, cluster, node, empty)
            # By then all messages wait in the queue: a checkpoint holds those of both turns before it.
            copied = 2 * messages if empty else messages
            speed = f"{copied / alone:,.0f}/s, {copied * BODY_BYTES / 1e6 / alone:.0f} MB/s"
            print(f"| from {way} | {copied:,} messages in {alone:.1f} s: {speed} | {beside:.1f} s | {latency:.1f} ms | {without:.1f} ms |")
    finally:
        cluster.run("stop", quiet=True)


def missed(cluster: LocalCluster, messages: int, empty: bool) -> str:
    """A node that is away, and has missed so many messages or has lost all that it had."""
    node = stop(cluster, empty)
    if not empty:
        send(cluster, messages)
    return node
