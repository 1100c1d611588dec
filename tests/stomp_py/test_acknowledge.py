"""What a consumer takes is gone, what it does not take comes back, marked."""

import pytest


def fill(client, queue, count):
    for number in range(1, count + 1):
        client.send(queue, f"m{number}".encode())


def redelivered(frame):
    return frame.headers.get("redelivered") == "true"


def left_in(client, queue, count):
    """What a fresh consumer gets: `count` messages, and then one that is sent now, so nothing lies between."""
    fresh = client()
    fresh.send(queue, b"last")
    fresh.subscribe(queue, ack="client-individual")
    frames = fresh.take(count + 1)
    assert frames[-1].body == b"last"
    return frames[:-1]


def test_auto_takes_everything(client, queue):
    one = client()
    fill(one, queue, 20)
    one.subscribe(queue, ack="auto")
    assert one.bodies(20) == [f"m{number}".encode() for number in range(1, 21)]
    one.connection.disconnect(receipt="bye")
    assert left_in(client, queue, 0) == []


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_client_takes_all_up_to_the_one_acknowledged(client, queue, version):
    one = client(version)
    fill(one, queue, 5)
    one.subscribe(queue, ack="client")
    frames = one.take(5)
    one.ack(frames[2])
    one.close()
    left = left_in(client, queue, 2)
    assert [frame.body for frame in left] == [b"m4", b"m5"]
    assert all(redelivered(frame) for frame in left)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_client_individual_takes_one_by_one(client, queue, version):
    one = client(version)
    fill(one, queue, 5)
    one.subscribe(queue, ack="client-individual")
    frames = one.take(5)
    one.ack(frames[1])
    one.ack(frames[3])
    one.close()
    left = left_in(client, queue, 3)
    assert [frame.body for frame in left] == [b"m1", b"m3", b"m5"]
    assert all(redelivered(frame) for frame in left)


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_what_is_refused_comes_again_marked(client, queue, version):
    one = client(version)
    one.send(queue, b"difficult")
    one.subscribe(queue, ack="client-individual")
    [first] = one.take(1)
    assert not redelivered(first)
    one.nack(first)
    [again] = one.take(1)
    assert again.body == b"difficult"
    assert redelivered(again)
    one.ack(again)
    one.close()
    assert left_in(client, queue, 0) == []


def test_what_was_delivered_and_not_taken_comes_back_in_its_place(client, queue):
    one = client()
    fill(one, queue, 3)
    one.subscribe(queue, ack="client-individual")
    one.take(3)
    one.close()
    assert [frame.body for frame in left_in(client, queue, 3)] == [b"m1", b"m2", b"m3"]


def test_unsubscribe_gives_back_what_was_not_taken(client, queue):
    one = client()
    fill(one, queue, 2)
    one.subscribe(queue, ack="client-individual")
    one.take(2)
    one.with_receipt(one.connection.unsubscribe, "1")
    assert [frame.body for frame in left_in(client, queue, 2)] == [b"m1", b"m2"]


def test_two_consumers_share_a_queue(client, queue):
    left, right, producer = client(), client(), client()
    for consumer in (left, right):
        consumer.subscribe(queue, ack="client-individual", prefetch_count="1")
    fill(producer, queue, 2)
    taken = left.bodies(1) + right.bodies(1)
    assert sorted(taken) == [b"m1", b"m2"]


def test_a_send_again_with_the_same_message_id_is_stored_once(client, queue):
    one = client()
    for _ in range(3):
        one.send(queue, b"once", message_id="the-same")
    assert [frame.body for frame in left_in(client, queue, 1)] == [b"once"]
