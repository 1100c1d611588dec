"""A failover client over stomp.py: what `failover:(…)` means to a user of that library.

stomp.py finds the host that accepts connections; this adds what it leaves to its user: connecting again
after the master died, sending again what has no receipt yet (under the same message-id, so that the broker
stores it once), and giving up after a deadline.
"""

import logging
import threading
import time
from collections import OrderedDict

import stomp

CONNECT_SECONDS = 2.0
RETRY_SECONDS = 0.01

# A refused connection is news to a log, not to a user whose client is looking for the master.
logging.getLogger("stomp.py").setLevel(logging.CRITICAL)


class BrokerError(Exception):
    """The broker answered with an ERROR frame: failing over would not help."""


class NoBroker(Exception):
    """No broker accepted a connection in time."""


def hosts(uri: str) -> list[tuple[str, int]]:
    """The addresses in `failover:(tcp://a:1,tcp://b:2)` or `tcp://a:1`."""
    inner = uri.removeprefix("failover:").split("?", 1)[0].strip("()")
    pairs = (part.strip().removeprefix("tcp://").rsplit(":", 1) for part in inner.split(","))
    return [(host, int(port)) for host, port in pairs]


class Connecting(stomp.ConnectionListener):
    """Tells when the broker has said CONNECTED, and when the socket is gone."""

    def __init__(self):
        self.settled = threading.Event()
        self.connected = False

    def on_connected(self, frame):
        self.connected = True
        self.settled.set()

    def on_error(self, frame):
        self.settled.set()

    def on_disconnected(self):
        self.settled.set()


def dial(host, listener, heartbeats) -> stomp.Connection12 | None:
    connection = stomp.Connection12(
        [host],
        prefer_localhost=False,
        try_loopback_connect=False,
        reconnect_sleep_initial=0,
        reconnect_sleep_max=0,
        reconnect_attempts_max=1,
        heartbeats=heartbeats,
        auto_decode=False,
    )
    connecting = Connecting()
    connection.set_listener("connecting", connecting)
    connection.set_listener("client", listener)
    try:
        connection.connect()
    except (stomp.exception.StompException, OSError, TypeError):
        # TypeError: stomp.py forgets its host when the socket closes between connecting and saying hello.
        return None
    # A paused broker's kernel still accepts connections: only CONNECTED counts.
    connecting.settled.wait(CONNECT_SECONDS)
    if connecting.connected:
        return connection
    close(connection)
    return None


def connect(brokers, listener_of, deadline: float, heartbeats=(0, 0)):
    """The first broker that says CONNECTED, with a listener of its own, so that a dead connection's late events reach nobody."""
    while time.monotonic() < deadline:
        for host in brokers:
            listener = listener_of()
            connection = dial(host, listener, heartbeats)
            if connection:
                return connection, listener
        threading.Event().wait(RETRY_SECONDS)
    raise NoBroker(f"none of {brokers} accepted a connection in time")


def close(connection) -> None:
    try:
        connection.transport.disconnect_socket()
    except (stomp.exception.StompException, OSError):
        pass


class Producer:
    """Sends in order and keeps what has no receipt, to send it again on the next master."""

    def __init__(self, uri: str, destination: str, window: int = 200, seconds: float = 60.0, heartbeats=(0, 0)):
        self.brokers, self.destination, self.window, self.seconds = hosts(uri), destination, window, seconds
        self.heartbeats = heartbeats
        self.changed = threading.Condition()
        self.unacknowledged: OrderedDict[str, bytes] = OrderedDict()
        self.acknowledged: list[str] = []
        self.connection, self.listener, self.host = None, None, None
        self.connections = 0
        self.resent = 0
        # When each connection that brought receipts brought its first.
        self.first_receipts: list[float] = []
        self.error: str | None = None

    def send(self, message_id: str, body: bytes) -> None:
        """Returns once sent; waits while `window` messages have no receipt."""
        self.wait_for(lambda: len(self.unacknowledged) < self.window)
        with self.changed:
            self.unacknowledged[message_id] = body
        self.transmit(message_id, body)

    def flush(self) -> None:
        """Returns once everything sent has its receipt."""
        self.wait_for(lambda: not self.unacknowledged)

    def close(self) -> None:
        if self.connection:
            close(self.connection)

    def wait_for(self, condition) -> None:
        deadline = time.monotonic() + self.seconds
        while True:
            if self.listener is None or self.listener.gone:
                self.reconnect()
            with self.changed:
                self.changed.wait_for(lambda: condition() or self.listener.gone, timeout=deadline - time.monotonic())
                if self.error:
                    raise BrokerError(self.error)
                if condition():
                    return
            if time.monotonic() > deadline:
                raise NoBroker(f"{len(self.unacknowledged)} messages without a receipt after {self.seconds} s")

    def reconnect(self) -> None:
        deadline = time.monotonic() + self.seconds
        if self.connection:
            # The one that was lost is asked last: a hanging broker would hold us up.
            while self.brokers[-1] != self.host:
                self.brokers.append(self.brokers.pop(0))
        self.connection, self.listener = connect(
            self.brokers, lambda: Receipts(self), deadline, heartbeats=self.heartbeats
        )
        self.host = self.listener.host
        with self.changed:
            self.connections += 1
            waiting = list(self.unacknowledged.items())
        for message_id, body in waiting:
            self.resent += 1
            self.transmit(message_id, body)

    def transmit(self, message_id: str, body: bytes) -> None:
        headers = {"message-id": message_id, "persistent": "true", "receipt": message_id}
        try:
            self.connection.send(self.destination, body, headers=headers)
        except (stomp.exception.StompException, OSError, AttributeError):
            # stomp.py drops its socket under a sender whose peer died; the message waits for the next connection.
            self.listener.lose()


class Receipts(stomp.ConnectionListener):
    """The receipts of one connection of a producer."""

    def __init__(self, producer: Producer):
        self.producer = producer
        self.gone = False
        self.silent = True
        self.host = None

    def on_connecting(self, host_and_port):
        self.host = host_and_port

    def on_receipt(self, frame):
        producer = self.producer
        with producer.changed:
            if self.silent:
                self.silent = False
                producer.first_receipts.append(time.monotonic())
            message_id = frame.headers["receipt-id"]
            if producer.unacknowledged.pop(message_id, None) is not None:
                producer.acknowledged.append(message_id)
            producer.changed.notify_all()

    def on_error(self, frame):
        with self.producer.changed:
            self.producer.error = f"{frame.headers.get('message', '')}: {frame.body!r}"
            self.producer.changed.notify_all()

    def on_disconnected(self):
        self.lose()

    def on_heartbeat_timeout(self):
        self.lose()

    def lose(self):
        with self.producer.changed:
            self.gone = True
            self.producer.changed.notify_all()


class Deliveries(stomp.ConnectionListener):
    """Collects the messages of one subscription."""

    def __init__(self):
        self.arrived = threading.Condition()
        self.frames: list = []
        self.gone = False
        self.errors: list[str] = []

    def on_message(self, frame):
        with self.arrived:
            self.frames.append(frame)
            self.arrived.notify_all()

    def on_error(self, frame):
        with self.arrived:
            self.errors.append(f"{frame.headers.get('message', '')}: {frame.body!r}")
            self.arrived.notify_all()

    def on_disconnected(self):
        with self.arrived:
            self.gone = True
            self.arrived.notify_all()

    def wait(self, count: int, seconds: float) -> list:
        """The frames, once `count` have come; fewer after `seconds` without any news."""
        with self.arrived:
            while len(self.frames) < count and not self.gone and not self.errors:
                before = len(self.frames)
                if not self.arrived.wait_for(lambda: len(self.frames) > before or self.gone or self.errors, timeout=seconds):
                    break
            return list(self.frames)
