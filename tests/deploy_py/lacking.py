"""What this machine lacks for a test."""

import os

import pytest


def not_tested(why):
    """Skips the test; fails it where all must be tested (REPLICAMQ_TEST_ALL)."""
    if "REPLICAMQ_TEST_ALL" in os.environ:
        pytest.fail(f"REPLICAMQ_TEST_ALL is set: {why}")
    pytest.skip(why)
