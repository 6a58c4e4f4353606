"""The settings as an administrator sees them: values, where they came from, no secrets."""

from batchmill.api.v1.settings import described
from batchmill.settings import loading
from batchmill.settings.fields import Settings
from support import server as servers

SECRET = "postgresql://mill:hunter2@db/mill"


def test_every_setting_is_told_with_its_meaning_and_default(server: servers.Server) -> None:
    told = server.client.get("/v1/settings").json()["data"]

    assert [each["name"] for each in told] == [each.path for each in loading.settings()]
    port = next(each for each in told if each["name"] == "port")
    assert (port["value"], port["default"], port["origin"]) == ("3001", "3001", "default")
    assert port["takes"] == "a whole number from 0 to 65535"
    assert all(each["meaning"] for each in told)


def test_settings_are_for_administrators(server: servers.Server) -> None:
    made = server.client.post("/v1/keys", json={"name": "x", "owner": "anna"}).json()
    answer = server.client.get("/v1/settings", headers={"X-API-Key": made["secret"]})

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_setting_says_by_what_it_was_set_and_a_secret_only_that_it_was() -> None:
    env = {"MAX_CONCURRENT_JOBS": "7", "BATCHMILL_DATABASE_URL": SECRET}
    file, flags = {"photos": {"zip_bytes": "2GiB"}}, {"children": 3, "host": None}
    settings = loading.load(env, file, flags)
    told = {each.name: each for each in described(settings, loading.origins(env, file, flags))}

    def shown(name: str) -> tuple[str | None, str, str | None]:
        return told[name].value, told[name].origin, told[name].given_by

    assert shown("images.concurrency") == ("7", "environment", "MAX_CONCURRENT_JOBS")
    assert shown("photos.zip_bytes") == ("2 GiB", "file", "`photos.zip_bytes` in the settings file")
    assert shown("children") == ("3", "flag", "--jobs")
    assert shown("host") == ("127.0.0.1", "default", None)
    assert shown("database_url") == (None, "environment", "BATCHMILL_DATABASE_URL")
    assert told["database_url"].given
    assert not told["redis_url"].given
    assert "hunter2" not in repr(told)


def test_a_value_is_written_as_it_can_be_set_again() -> None:
    known = [setting for setting in loading.settings() if not setting.secret]
    written = {each.variable: loading.written(_default(each.path)) for each in known}
    given = {variable: text for variable, text in written.items() if text is not None}
    other = {each: text for each, text in given.items() if loading.load({each: text}) != BARE}

    assert len(given) > len(known) / 2
    assert not other


BARE = Settings()


def _default(path: str) -> object:
    value: object = Settings()
    for name in path.split("."):
        value = getattr(value, name)
    return value
