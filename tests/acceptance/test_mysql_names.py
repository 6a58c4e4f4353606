"""The photo document's own variables are enough to start a server and a worker on MariaDB."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

import databases
from support import redis_server, sent
from support.processes import serving, working
from support.sent import hashes, send, wait_for

PASSWORD = "p@ss/w:rd"


@pytest.fixture
def documented(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables, for an account that may use one database alone."""
    account = f"mill_{secrets.token_hex(4)}"
    with (
        databases.new_url("mariadb", tmp_path) as url,
        redis_server.own_queue() as (redis_url, queue),
    ):
        where = make_url(url)
        admin = create_engine(where, isolation_level="AUTOCOMMIT")
        with admin.connect() as conn:
            conn.execute(text(f"CREATE USER {account}@'%' IDENTIFIED BY '{PASSWORD}'"))
            conn.execute(text(f"GRANT ALL ON {where.database}.* TO {account}@'%'"))
        yield {
            "MYSQL_HOST": f"{where.host}:{where.port or 3306}",
            "MYSQL_USER": account,
            "MYSQL_PASSWORD": PASSWORD,
            "MYSQL_DATABASE": where.database or "",
            "REDIS_URL": redis_url,
            "BATCHMILL_REDIS_QUEUE": queue,
        }
        with admin.connect() as conn:
            conn.execute(text(f"DROP USER {account}@'%'"))
        admin.dispose()


@pytest.mark.long
def test_a_server_and_a_worker_start_with_the_documents_own_names(
    documented: dict[str, str], tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    worker = {"WORKER_ID": "worker-1", "WORKER_CONCURRENCY": "1", **documented}
    with (
        serving(data_dir, "--no-worker", **documented) as server,
        working(data_dir, **worker),
    ):
        batch_id = send(server, sent.pictures(3))
        wait_for(server, batch_id, 3)
        assert len(hashes(server, batch_id)) == 3
        alive = server.client.get("/v1/workers").json()["data"]
        assert [each["slots"] for each in alive if each["id"].startswith("worker-1-")] == [1]
