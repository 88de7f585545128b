"""`make demo`: the line that it prints streams an answer, and nothing stays behind."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).parents[2]


def ask_like(line: str) -> str:
    """What the printed curl line would print."""
    words = shlex.split(line)
    url = next(word for word in words if word.startswith("http://"))
    pairs = [words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H"]
    body = words[words.index("-d") + 1].encode()
    request = Request(url, body, {name: value for name, value in pairs})  # noqa: S310 - http
    with urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_streams_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "standin.demo"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    with demo.stdout:
        try:
            line = next(line for line in demo.stdout if line.startswith("curl "))
            text = ask_like(line)
        finally:
            demo.send_signal(number)
            code = demo.wait(30)
    assert "Hello!" in text
    assert text.endswith("data: [DONE]\n\n")
    assert code == 0
    assert list(tmp_path.iterdir()) == []
