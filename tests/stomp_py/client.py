"""A stomp.py connection with an inbox that a test can wait on, and a bare socket for what stomp.py would not send."""

import itertools
import socket

import stomp
from stomp_failover import Deliveries, close

WAIT_SECONDS = 20
CONNECTIONS = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}


class Inbox(Deliveries):
    """Deliveries, receipts and the CONNECTED frame of one connection."""

    def __init__(self):
        super().__init__()
        self.greeting = None
        self.receipts = set()

    def on_connected(self, frame):
        with self.arrived:
            self.greeting = frame
            self.arrived.notify_all()

    def on_receipt(self, frame):
        with self.arrived:
            self.receipts.add(frame.headers["receipt-id"])
            self.arrived.notify_all()


class Client:
    """Connected once made."""

    def __init__(self, host, version="1.2", heartbeats=None, headers=None, **connect):
        options = {"prefer_localhost": False, "try_loopback_connect": False, "auto_decode": False}
        if heartbeats:
            options["heartbeats"] = heartbeats
        self.connection = CONNECTIONS[version]([host], **options)
        self.version = version
        self.inbox = Inbox()
        self.connection.set_listener("inbox", self.inbox)
        self.connection.connect(wait=False, headers=headers or {}, **connect)
        self.until(lambda: self.inbox.greeting, "CONNECTED")
        self.numbers = itertools.count(1)
        self.taken = 0

    def until(self, condition, what):
        with self.inbox.arrived:
            self.inbox.arrived.wait_for(lambda: condition() or self.inbox.errors or self.inbox.gone, WAIT_SECONDS)
            assert condition(), f"no {what}; errors {self.inbox.errors}, connection gone: {self.inbox.gone}"

    def with_receipt(self, action, *arguments, **options):
        """Does it, and waits for its receipt."""
        receipt = f"r-{next(self.numbers)}"
        action(*arguments, receipt=receipt, **options)
        self.until(lambda: receipt in self.inbox.receipts, f"receipt {receipt}")

    def send(self, destination, body, **headers):
        """Returns once the broker has said that the message is safe."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        receipt = f"r-{next(self.numbers)}"
        self.connection.send(destination, body, headers={"persistent": "true", "receipt": receipt, **headers})
        self.until(lambda: receipt in self.inbox.receipts, f"receipt {receipt}")

    def subscribe(self, destination, ack="auto", id="1", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        receipt = f"r-{next(self.numbers)}"
        self.connection.subscribe(destination, id=id, ack=ack, headers={"receipt": receipt, **headers})
        self.until(lambda: receipt in self.inbox.receipts, "receipt for SUBSCRIBE")

    def take(self, count):
        """The next `count` messages, in order."""
        frames = self.inbox.wait(self.taken + count, WAIT_SECONDS)[self.taken :]
        assert len(frames) == count, f"{len(frames)} of {count} messages came; errors {self.inbox.errors}"
        self.taken += count
        return frames

    def bodies(self, count):
        return [frame.body for frame in self.take(count)]

    def ack(self, frame, **options):
        self.answer(self.connection.ack, frame, **options)

    def nack(self, frame, **options):
        self.answer(self.connection.nack, frame, **options)

    def answer(self, action, frame, **options):
        if self.version == "1.2":
            self.with_receipt(action, frame.headers["ack"], **options)
        elif self.version == "1.1":
            self.with_receipt(action, frame.headers["message-id"], frame.headers["subscription"], **options)
        else:
            self.with_receipt(action, frame.headers["message-id"], **options)

    def expect_error(self):
        """The ERROR frame's text; the broker closes the connection after it."""
        with self.inbox.arrived:
            self.inbox.arrived.wait_for(lambda: self.inbox.errors and self.inbox.gone, WAIT_SECONDS)
            assert self.inbox.errors, "no ERROR frame"
            assert self.inbox.gone, "the connection stays open after an ERROR frame"
            return self.inbox.errors[0]

    def close(self):
        close(self.connection)


class Bare:
    """A socket: what is sent is what the test wrote."""

    def __init__(self, host):
        self.socket = socket.create_connection(host, timeout=WAIT_SECONDS)

    def send(self, data: bytes):
        self.socket.sendall(data)

    def frame(self) -> bytes:
        """Up to the next NUL."""
        data = b""
        while not data.endswith(b"\0"):
            byte = self.socket.recv(1)
            assert byte, f"closed after {data!r}"
            data += byte
        return data.lstrip(b"\n")

    def rest(self) -> bytes:
        """Everything until the broker closes."""
        data = b""
        while chunk := self.socket.recv(65536):
            data += chunk
        return data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
