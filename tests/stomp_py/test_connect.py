"""Connecting: versions, verbs, heart-beats, refusals that say what is wrong."""

import socket
import time

import pytest

from client import WAIT_SECONDS, Bare, Client


@pytest.fixture
def master(cluster):
    return cluster.clients()[cluster.master()["master"]]


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_message_goes_through_with_each_version(client, queue, version):
    one = client(version)
    assert one.inbox.greeting.headers.get("version", "1.0") == version
    one.send(queue, b"hello")
    one.subscribe(queue)
    assert one.bodies(1) == [b"hello"]


@pytest.mark.parametrize("verb", [b"CONNECT", b"STOMP"])
def test_both_verbs_connect(master, verb):
    with Bare(master) as bare:
        bare.send(verb + b"\naccept-version:1.1,1.2\nhost:any.virtual.host\n\n\0")
        answer = bare.frame()
    assert answer.startswith(b"CONNECTED\n")
    assert b"version:1.2\n" in answer


def test_a_version_that_nobody_speaks_is_refused_with_those_that_are_spoken(master):
    with Bare(master) as bare:
        bare.send(b"CONNECT\naccept-version:2.7\nhost:/\n\n\0")
        answer = bare.rest()
    assert answer.startswith(b"ERROR\n")
    for version in (b"1.0", b"1.1", b"1.2"):
        assert version in answer


def test_a_frame_before_connect_is_refused(master):
    with Bare(master) as bare:
        bare.send(b"SEND\ndestination:/queue/x\n\nhello\0")
        answer = bare.rest()
    assert answer.startswith(b"ERROR\n")
    assert b"CONNECT" in answer


def test_http_on_the_stomp_port_is_told_so(master):
    with Bare(master) as bare:
        bare.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" in bare.rest()


def test_an_unknown_command_is_named(client):
    one = client()
    one.connection.send_frame("SNED", {"destination": "/queue/x"})
    assert "SNED" in one.expect_error()


def test_a_send_without_a_destination_says_what_is_missing(client):
    one = client()
    one.connection.send_frame("SEND", {"receipt": "7"}, "hello")
    assert "destination" in one.expect_error()


def test_an_acknowledgement_of_nothing_is_refused(client):
    one = client()
    one.connection.ack("no-such-delivery")
    assert "no-such-delivery" in one.expect_error()


def test_a_message_over_the_limit_is_refused_by_its_announcement(master):
    with Bare(master) as bare:
        bare.send(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        bare.frame()
        bare.send(b"SEND\ndestination:/queue/x\ncontent-length:99000000000\n\n")
        answer = bare.rest()
    assert answer.startswith(b"ERROR\n")
    assert b"99000000000" in answer or b"longer than" in answer


def test_heart_beats_go_both_ways(client):
    """The broker's beats keep a client that counts them, and the client's keep the broker."""
    one = client(heartbeats=(500, 500))
    beats = []
    one.inbox.on_heartbeat = lambda: beats.append(time.monotonic())
    one.until(lambda: len(beats) >= 4, "four heart-beats")
    assert not one.inbox.gone


def test_a_client_that_promised_heart_beats_and_is_silent_is_dropped(master):
    with Bare(master) as bare:
        bare.send(b"CONNECT\naccept-version:1.2\nhost:/\nheart-beat:500,0\n\n\0")
        assert bare.frame().startswith(b"CONNECTED\n")
        started = time.monotonic()
        bare.rest()
    assert time.monotonic() - started < WAIT_SECONDS


def test_disconnect_is_answered_before_the_connection_closes(master):
    with Bare(master) as bare:
        bare.send(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0")
        bare.frame()
        bare.send(b"DISCONNECT\nreceipt:bye\n\n\0")
        assert b"RECEIPT\n" in bare.rest()


def test_replicas_refuse_clients(cluster):
    leads = cluster.complete()["master"]
    for node, host in cluster.clients().items():
        if node == leads:
            Client(host).close()
        else:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(host, timeout=5)
