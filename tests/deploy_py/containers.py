"""Whether Docker is usable here, and the calls to it."""

import shutil
import subprocess

from lacking import not_tested


def docker(*arguments, check=True):
    done = subprocess.run(["docker", *map(str, arguments)], capture_output=True, text=True)
    assert not check or done.returncode == 0, f"docker {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
    return done.stdout


def require_docker():
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        not_tested("Docker is not usable on this machine")
