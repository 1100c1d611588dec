"""A transaction happens as a whole or not at all."""

import pytest


def commit(client, transaction):
    client.with_receipt(lambda receipt: client.connection.commit(transaction, headers={"receipt": receipt}))


def abort(client, transaction):
    client.with_receipt(lambda receipt: client.connection.abort(transaction, headers={"receipt": receipt}))


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_sends_become_visible_with_the_commit(client, queue, version):
    one, watcher = client(version), client()
    watcher.subscribe(queue)
    transaction = one.connection.begin("t1")
    one.connection.send(queue, b"a", headers={"transaction": transaction})
    one.connection.send(queue, b"b", headers={"transaction": transaction})
    one.send(queue, b"outside")
    assert watcher.bodies(1) == [b"outside"]
    commit(one, transaction)
    assert watcher.bodies(2) == [b"a", b"b"]


def test_aborted_sends_never_were(client, queue):
    one, watcher = client(), client()
    watcher.subscribe(queue)
    transaction = one.connection.begin("t1")
    one.connection.send(queue, b"never", headers={"transaction": transaction})
    abort(one, transaction)
    one.send(queue, b"after")
    assert watcher.bodies(1) == [b"after"]


def test_a_connection_that_goes_aborts_its_transaction(client, queue):
    one, watcher = client(), client()
    watcher.subscribe(queue)
    one.connection.send(queue, b"never", headers={"transaction": one.connection.begin("t1")})
    one.close()
    watcher.send(queue, b"after")
    assert watcher.bodies(1) == [b"after"]


def test_an_acknowledgement_in_an_aborted_transaction_does_not_count(client, queue):
    one = client()
    one.send(queue, b"m")
    one.subscribe(queue, ack="client-individual")
    [frame] = one.take(1)
    transaction = one.connection.begin("t1")
    one.ack(frame, transaction=transaction)
    abort(one, transaction)
    one.close()
    other = client()
    other.subscribe(queue, ack="client-individual")
    assert other.bodies(1) == [b"m"]


def test_a_message_moves_from_queue_to_queue_in_one_transaction(client, queue):
    target = queue + "-target"
    one = client()
    one.send(queue, b"moved")
    one.subscribe(queue, ack="client-individual")
    [frame] = one.take(1)
    transaction = one.connection.begin("t1")
    one.ack(frame, transaction=transaction)
    one.connection.send(target, frame.body, headers={"transaction": transaction})
    commit(one, transaction)
    one.close()
    other = client()
    other.send(queue, b"nothing before this")
    other.subscribe(queue, id="source")
    other.subscribe(target, id="target")
    frames = {frame.headers["subscription"]: frame.body for frame in other.take(2)}
    assert frames == {"source": b"nothing before this", "target": b"moved"}


def test_an_unknown_transaction_is_named(client, queue):
    one = client()
    one.connection.send(queue, b"m", headers={"transaction": "never-begun"})
    assert "never-begun" in one.expect_error()
