"""Topics: everybody who listens, and those who asked to be waited for."""

import pytest


def test_every_subscriber_gets_every_message_and_a_late_one_none(client, topic):
    first, second, producer = client(), client(), client()
    producer.send(topic, b"before anybody listened")
    first.subscribe(topic)
    second.subscribe(topic)
    producer.send(topic, b"a")
    producer.send(topic, b"b")
    assert first.bodies(2) == [b"a", b"b"]
    assert second.bodies(2) == [b"a", b"b"]


@pytest.mark.parametrize("ack", ["auto", "client", "client-individual"])
def test_a_durable_subscription_waits_for_its_subscriber(client, topic, ack):
    name = topic.rsplit("/", 1)[1]
    durable = {"activemq.subscriptionName": name}

    def subscriber():
        one = client(headers={"client-id": name})
        one.subscribe(topic, ack=ack, **durable)
        return one

    one = subscriber()
    one.connection.disconnect(receipt="bye")
    producer = client()
    for body in (b"a", b"b", b"c"):
        producer.send(topic, body)
    again = subscriber()
    frames = again.take(3)
    assert [frame.body for frame in frames] == [b"a", b"b", b"c"]
    if ack == "client":
        again.ack(frames[-1])
    if ack == "client-individual":
        for frame in frames:
            again.ack(frame)
    again.connection.disconnect(receipt="bye")
    third = subscriber()
    producer.send(topic, b"d")
    assert third.bodies(1) == [b"d"]


def test_a_durable_subscription_survives_the_master(client, cluster, topic):
    name = topic.rsplit("/", 1)[1]
    one = client(headers={"client-id": name})
    one.subscribe(topic, ack="client", **{"activemq.subscriptionName": name})
    one.connection.disconnect(receipt="bye")
    client().send(topic, b"kept")
    master = cluster.complete()["master"]
    cluster.kill(master)
    try:
        cluster.master(besides=master)
        again = client(headers={"client-id": name})
        again.subscribe(topic, ack="client", **{"activemq.subscriptionName": name})
        assert again.bodies(1) == [b"kept"]
    finally:
        cluster.restart(master)
        cluster.complete()
