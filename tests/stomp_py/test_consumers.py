"""Several consumers of one queue: who comes first, who alone gets messages, and whose a group is."""

import pytest


@pytest.fixture
def producer(client):
    return client()


def test_a_higher_priority_comes_first_as_long_as_it_has_credit(client, queue, producer):
    low, high = client(), client()
    low.subscribe(queue, ack="client", **{"activemq.priority": "1"})
    high.subscribe(queue, ack="client", **{"activemq.priority": "9", "activemq.prefetchSize": "2"})
    for number in range(4):
        producer.send(queue, b"%d" % number)
    assert high.bodies(2) == [b"0", b"1"]
    assert low.bodies(2) == [b"2", b"3"]


def test_an_exclusive_consumer_gets_everything_until_it_goes(client, queue, producer):
    ordinary, first, second = client(), client(), client()
    ordinary.subscribe(queue, ack="client")
    first.subscribe(queue, ack="client", **{"activemq.exclusive": "true"})
    second.subscribe(queue, ack="client", **{"activemq.exclusive": "true"})
    for number in range(5):
        producer.send(queue, b"%d" % number)
    assert len(first.take(5)) == 5
    first.connection.disconnect(receipt="bye")
    assert second.bodies(5) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_group_stays_with_its_consumer_until_that_goes_or_it_is_closed(client, queue, producer):
    one, other = client(), client()
    one.subscribe(queue, ack="client-individual")
    other.subscribe(queue, ack="client-individual")
    for group, body in (("g", b"g1"), ("h", b"h1"), ("g", b"g2"), ("h", b"h2"), ("g", b"g3")):
        producer.send(queue, body, JMSXGroupID=group)
    assert one.bodies(3) == [b"g1", b"g2", b"g3"]
    frames = other.take(2)
    assert [frame.body for frame in frames] == [b"h1", b"h2"]
    for frame in frames:
        other.ack(frame)
    one.connection.disconnect(receipt="bye")
    producer.send(queue, b"g4", JMSXGroupID="g", JMSXGroupSeq="-1")
    frames = other.take(4)
    assert [frame.body for frame in frames] == [b"g1", b"g2", b"g3", b"g4"]
    assert [frame.headers.get("redelivered") for frame in frames] == ["true"] * 3 + [None]
