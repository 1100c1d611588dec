"""The demo's ledger: what it must not let pass."""

from importlib.util import module_from_spec, spec_from_loader
from importlib.machinery import SourceFileLoader
from types import SimpleNamespace

import pytest


@pytest.fixture
def ledger(root):
    loader = SourceFileLoader("demo", str(root / "deploy/demo"))
    demo = module_from_spec(spec_from_loader("demo", loader))
    loader.exec_module(demo)

    def check(acknowledged, received):
        producer = SimpleNamespace(acknowledged=[f"run-{number}" for number in acknowledged])
        return demo.ledger(producer, [f"发送的消息{number}".encode() for number in received], 3, "run")

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
