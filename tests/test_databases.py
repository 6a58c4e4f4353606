"""Tests run against servers that hold other data too: they touch nothing that is not theirs."""

from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url

import databases
from support import redis_server

THEIRS = [
    "shop",
    "postgres",
    "mysql",
    "batchmill",
    "batchmill_test_",
    "batchmill_test_a; DROP",
    "*",
]


@pytest.mark.parametrize("name", THEIRS)
def test_a_name_that_is_no_test_s_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no test's own"):
        databases.ours(name)


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_a_database_of_the_machine_is_not_dropped(kind: str, tmp_path: Path) -> None:
    with databases.new_url(kind, tmp_path) as url:
        name = make_url(url).database or ""
        theirs = create_engine(url, isolation_level="AUTOCOMMIT")
        with theirs.connect() as conn:
            conn.execute(text("CREATE TABLE kept (id INT)"))

        with pytest.raises(ValueError, match="no test's own"):
            databases.drop(theirs, name.replace("_test_", "_shop_"))

        assert inspect(theirs).get_table_names() == ["kept"]
        theirs.dispose()


def test_keys_of_the_machine_s_redis_are_not_deleted(tmp_path: Path) -> None:
    with redis_server.private(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("bull:shop:1", "kept")
        client.set("bull:batchmill_test_x:1", "gone")

        with pytest.raises(ValueError, match="no test's own"):
            redis_server.drop(client, "*")
        redis_server.drop(client, "batchmill_test_x")

        assert client.keys() == [b"bull:shop:1"]
