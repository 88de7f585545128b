"""An installed wheel holds all that the database needs, migrations too."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MIGRATE = """
import pathlib, sys
import nanogpt_proxy
from nanogpt_proxy.store import schema, sqlite

assert nanogpt_proxy.__file__.startswith(sys.argv[1]), nanogpt_proxy.__file__
engine = sqlite.make_engine(pathlib.Path(sys.argv[1]) / "proxy.db")
with engine.begin() as connection:
    schema.migrate(connection, None)
print(schema.current_revision(engine) == schema.HEAD)
"""


@pytest.mark.slow
def test_migrations_run_from_an_installed_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = subprocess.run(
        [sys.executable, "-c", MIGRATE, installed],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
