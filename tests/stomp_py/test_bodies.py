"""A body and a header come out as they went in."""

import pytest

BODIES = {
    "empty": b"",
    "NUL": b"\0",
    "NULs": b"a\0b\0\0c\0",
    "every byte": bytes(range(256)),
    "UTF-8": "发送的消息1 – čtyři ½ 🦀".encode(),
    "like a frame": b"MESSAGE\n\n\0",
    "newlines": b"\n\n\r\n",
}


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("name", BODIES)
def test_bodies(client, queue, name, version):
    one = client(version)
    one.send(queue, BODIES[name])
    one.subscribe(queue)
    assert one.bodies(1) == [BODIES[name]]


def test_a_large_body(client, queue):
    body = bytes(number * 7 % 255 + 1 for number in range(1000)) * 5000
    one = client()
    one.send(queue, body)
    one.subscribe(queue)
    assert one.bodies(1) == [body]


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_headers(client, queue, version):
    value = "a:b\\c\nd – 消息" + ("\re" if version == "1.2" else "")
    one = client(version)
    one.send(queue, b"m", **{"my header": value, "empty": "", "content-type": "text/plain"})
    one.subscribe(queue)
    [frame] = one.take(1)
    assert frame.headers["my header"] == value
    assert frame.headers["empty"] == ""
    assert frame.headers["content-type"] == "text/plain"
    assert frame.headers["destination"] == queue


def test_messages_that_are_not_persistent_arrive_too(client, queue):
    one = client()
    one.subscribe(queue)
    one.send(queue, b"light", persistent="false")
    assert one.bodies(1) == [b"light"]
