from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyg_vig.benchmark import in_fresh_process


def write_pid_and_sleep(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


def start_and_wait(file: str) -> None:
    in_fresh_process(write_pid_and_sleep, "default", file)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let it run on")
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = f"from tests.benchmark.test_process import start_and_wait; start_and_wait({str(file)!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        wait_until(lambda: file.exists() and file.read_text() != "")
        parent.kill()
    wait_until(lambda: not is_running(int(file.read_text())))


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()  # a zombie has ended


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
