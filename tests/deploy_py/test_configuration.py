"""The sample configuration is accepted, complete, and tells the true defaults."""

import re
import tomllib

import pytest


@pytest.fixture
def sample(root, tmp_path):
    """The sample, with a token where it names one that a test machine lacks."""
    token = tmp_path / "token"
    token.write_text("secret\n")
    return (root / "deploy/replicamq.toml").read_text().replace("/etc/replicamq/token", str(token))


def defaults(text):
    """The keys that stand behind a # with their default."""
    return dict(re.findall(r"^# ([a-z_]+) = (.+)$", text, re.MULTILINE))


def check(replicamq, tmp_path, text):
    path = tmp_path / "node.toml"
    path.write_text(text)
    done = replicamq("serve", "--config", path, "--check-config")
    assert done.returncode == 0, done.stderr
    return tomllib.loads(done.stdout)


def test_the_sample_is_accepted(replicamq, sample, tmp_path):
    effective = check(replicamq, tmp_path, sample)
    assert effective["node"] == "broker-1"


def test_every_key_is_explained_and_no_other(replicamq, sample):
    flags = set(re.findall(r"^\s+--([a-z-]+) <", replicamq("serve", "--help").stdout, re.MULTILINE)) - {"config"}
    explained = set(defaults(sample)) | set(tomllib.loads(sample))
    assert explained == {flag.replace("-", "_") for flag in flags}


def test_the_defaults_are_those_of_the_binary(replicamq, sample, tmp_path):
    effective = check(replicamq, tmp_path, sample)
    shown = {key: tomllib.loads(f"value = {value}")["value"] for key, value in defaults(sample).items()}
    examples = {"zk_password", "zk_password_file", "security_token"}
    wrong = {
        key: (value, effective.get(key))
        for key, value in shown.items()
        if key not in examples and str(effective.get(key)) != str(value)
    }
    assert not wrong


def test_a_wrong_key_is_refused_with_its_line(replicamq, tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('node = "broker-1"\n\nzk_adress = "localhost:2181"\n')
    done = replicamq("serve", "--config", path, "--check-config")
    assert done.returncode != 0
    assert "zk_address" in done.stderr
    assert "3" in done.stderr
