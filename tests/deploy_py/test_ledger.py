"""The demo's ledger: what it must not let pass."""

from importlib.util import module_from_spec, spec_from_loader
from importlib.machinery import SourceFileLoader
from types import SimpleNamespace

import pytest


@pytest.fixture
def demo(root):
    loader = SourceFileLoader("demo", str(root / "deploy/demo"))
    demo = module_from_spec(spec_from_loader("demo", loader))
    loader.exec_module(demo)
    return demo


@pytest.fixture
def ledger(demo):
    def check(acknowledged, received, left=0):
        producer = SimpleNamespace(acknowledged=[f"run-{number}" for number in acknowledged])
        return demo.ledger(producer, [f"发送的消息{number}".encode() for number in received], left, 3, "run")

    return check


def test_all_once_and_in_order_is_good(ledger):
    assert ledger([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize(
    ("acknowledged", "received"),
    [
        pytest.param([1, 2, 3], [1, 3], id="lost"),
        pytest.param([1, 2, 3], [1, 2, 2, 3], id="duplicated"),
        pytest.param([1, 2, 3], [2, 1, 3], id="out of order"),
        pytest.param([1, 2], [1, 2, 3], id="never acknowledged"),
    ],
)
def test_anything_else_is_not(ledger, acknowledged, received):
    assert not ledger(acknowledged, received)


def test_what_is_left_in_the_queue_is_not_good(ledger):
    assert not ledger([1, 2, 3], [1, 2, 3], left=1)


@pytest.mark.parametrize(
    ("depths", "left"),
    [
        pytest.param([(2, 2), (1, 0), (0, 0)], 0, id="it empties"),
        pytest.param([(3, 1)], 3, id="it does not"),
    ],
)
def test_the_queue_is_waited_for(demo, monkeypatch, depths, left):
    told = iter(depths)
    cluster = SimpleNamespace(depth=lambda queue: next(told, depths[-1]))
    monkeypatch.setattr(demo, "QUIET_SECONDS", 0.01)
    assert demo.wait_until_empty(cluster) == left
