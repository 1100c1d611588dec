"""The unit is sound, and gives the broker no more than it needs."""

import re
import shutil
import subprocess

import pytest
from lacking import not_tested

EXPOSURE_MAX = 2.0


@pytest.fixture
def unit(root, environment, tmp_path):
    """A copy that names the binary of this build, because `verify` wants to see it."""
    if shutil.which("systemd-analyze") is None:
        not_tested("systemd-analyze is not on this machine")
    text = (root / "deploy/systemd/replicamq@.service").read_text()
    path = tmp_path / "replicamq@.service"
    path.write_text(text.replace("/usr/local/bin/replicamq", environment["REPLICAMQ_BIN"]))
    (tmp_path / "replicamq@broker-1.service").symlink_to(path)
    return path


def test_the_unit_is_clean(unit):
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit.parent / "replicamq@broker-1.service"], capture_output=True, text=True
    )
    ours = [line for line in (verify.stdout + verify.stderr).splitlines() if "replicamq" in line]
    assert (verify.returncode, ours) == (0, [])


def test_the_unit_exposes_little(unit):
    shown = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True).stdout
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", shown)[1])
    assert exposure < EXPOSURE_MAX, shown


def test_what_the_unit_promises(root):
    text = (root / "deploy/systemd/replicamq@.service").read_text()
    for line in ["Type=notify", "Restart=on-failure", "LimitNOFILE=1048576", "DynamicUser=yes", "ProtectSystem=strict"]:
        assert f"\n{line}\n" in text
