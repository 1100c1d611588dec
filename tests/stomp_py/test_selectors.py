"""Selectors: who asks for some messages gets those, and the rest is for others."""

def test_consumers_of_a_queue_get_what_they_select_and_the_rest_stays(client, queue):
    producer, cheap, rest = client(), client(), client()
    for price in (5, 10, 15, 20):
        producer.send(queue, b"%d" % price, price=str(price))
    cheap.subscribe(queue, selector="price <= 10 AND colour IS NULL")
    assert cheap.bodies(2) == [b"5", b"10"]
    producer.send(queue, b"9", price="9")
    assert cheap.bodies(1) == [b"9"], "texts are numbers where numbers are asked for: 9 is less than 10"
    rest.subscribe(queue)
    assert rest.bodies(2) == [b"15", b"20"]


def test_a_selected_message_that_is_not_acknowledged_goes_to_the_next(client, queue):
    first, second, producer = client(), client(), client()
    first.subscribe(queue, ack="client", selector="kind LIKE 'order.%'")
    producer.send(queue, b"a", kind="order.new")
    first.take(1)
    second.subscribe(queue, ack="client", selector="kind = 'order.new'")
    first.connection.disconnect(receipt="bye")
    (frame,) = second.take(1)
    assert (frame.body, frame.headers["redelivered"]) == (b"a", "true")


def test_a_browser_shows_what_it_selects(client, queue):
    producer, browser = client(), client()
    for number in range(300):
        producer.send(queue, b"%d" % number, number=str(number))
    browser.subscribe(queue, selector="number BETWEEN 100 AND 102", browser="true")
    frames = browser.take(4)
    assert [frame.body for frame in frames[:3]] == [b"100", b"101", b"102"]
    assert frames[3].headers["browser"] == "end"


def test_subscribers_of_a_topic_get_what_they_select(client, topic):
    red, everything, producer = client(), client(), client()
    red.subscribe(topic, selector="colour = 'red'")
    everything.subscribe(topic)
    for colour in ("red", "blue", "red"):
        producer.send(topic, colour.encode(), colour=colour)
    assert everything.bodies(3) == [b"red", b"blue", b"red"]
    assert red.bodies(2) == [b"red", b"red"]


def test_a_durable_subscription_with_a_selector_survives_the_master(client, cluster, topic):
    name = topic.rsplit("/", 1)[1]
    wish = {"activemq.subscriptionName": name, "selector": "colour IN ('red', 'green')"}
    one = client(headers={"client-id": name})
    one.subscribe(topic, ack="client", **wish)
    one.connection.disconnect(receipt="bye")
    producer = client()
    for colour in ("red", "blue", "green"):
        producer.send(topic, colour.encode(), colour=colour)
    master = cluster.complete()["master"]
    cluster.kill(master)
    try:
        cluster.master(besides=master)
        again = client(headers={"client-id": name})
        again.subscribe(topic, ack="client", **wish)
        assert again.bodies(2) == [b"red", b"green"]
    finally:
        cluster.restart(master)


def test_a_selector_with_a_fault_is_refused_with_its_place(client, queue):
    one = client()
    one.connection.subscribe(queue, id="1", ack="auto", headers={"selector": "price >"})
    error = one.expect_error()
    assert "column 8" in error and "price >" in error, error
