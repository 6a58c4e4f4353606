"""`batchmill serve` on files that its database does not know: it says so, and touches nothing."""

import subprocess
import sys
from pathlib import Path

from batchmill.bootstrap import opened
from batchmill.settings.fields import Settings
from support.environment import environment
from support.server_contexts import send


def serve(data_dir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "batchmill", "serve", "--port", "0", *flags]
    wrong = f"sqlite:///{data_dir}/typo.sqlite3"
    env = environment(BATCHMILL_DATA_DIR=str(data_dir), BATCHMILL_DATABASE_URL=wrong)
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )


async def test_a_server_with_a_mistyped_database_says_what_to_do_and_removes_nothing(
    tmp_path: Path,
) -> None:
    async with opened(Settings(data_dir=tmp_path, disk_reserve_bytes=0)) as context:
        for _ in range(20):
            await send(context, 1)
    folders = sorted((tmp_path / "storage/batches").iterdir())

    refused = serve(tmp_path)

    assert refused.returncode == 2
    assert "belongs to another installation than the database" in refused.stderr
    assert "BATCHMILL_DATABASE_URL" in refused.stderr
    assert "--adopt-storage" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sorted((tmp_path / "storage/batches").iterdir()) == folders
    assert len(folders) == 20
