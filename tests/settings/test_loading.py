"""Where settings come from, and what a wrong one is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors.request import UnknownNameError, UsageError
from batchmill.settings.fields import Settings, Tiers
from batchmill.settings.loading import (
    ALIASES,
    Setting,
    load,
    read_file,
    settings,
    unknown_variables,
)
from batchmill.settings.types import MIB


def test_nothing_set_gives_the_defaults() -> None:
    assert load({}) == Settings()


def test_a_flag_beats_the_environment_which_beats_an_alias_which_beats_the_file() -> None:
    file, alias = {"port": 1}, {"PORT": "2"}
    ours = alias | {"BATCHMILL_PORT": "3"}

    assert load({}, file).port == 1
    assert load(alias, file).port == 2
    assert load(ours, file).port == 3
    assert load(ours, file, {"port": 4}).port == 4


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    assert load({"BATCHMILL_PORT": "3"}, {}, {"port": None}).port == 3


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load({"REDIS_URL": "", "BATCHMILL_PORT": ""}) == Settings()


def test_one_limit_of_a_tier_leaves_the_others_of_that_tier_alone() -> None:
    limits = load({"BATCHMILL_TIERS_PRO_PAGES": "7"}).tiers.pro

    assert limits == Settings().tiers.pro.model_copy(update={"pages": 7})


def test_every_setting_has_a_description_and_its_own_variable() -> None:
    every = settings()

    assert len({setting.variable for setting in every}) == len(every)
    assert all(setting.field.description for setting in every)


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.path)
def test_every_setting_says_what_it_takes_and_its_default_is_taken(setting: Setting) -> None:
    default = Settings().model_dump()
    for part in setting.path.split("."):
        default = default[part]

    assert setting.allowed
    assert load({}, {}, {setting.path: default}) == Settings()


def test_every_alias_names_a_setting() -> None:
    assert {alias.path for alias in ALIASES.values()} <= {setting.path for setting in settings()}


def test_the_environment_block_of_the_image_server_document_is_understood() -> None:
    env = {
        "PORT": "3001",
        "MAX_CONCURRENT_JOBS": "5",
        "JOB_TIMEOUT_MS": "60000",
        "MAX_QUEUE_SIZE": "500",
        "MAX_FILE_SIZE_MB": "20",
        "MAX_IMAGE_WIDTH": "800",
        "COMPRESSION_QUALITY": "0.8",
        "SUPPORTED_FORMATS": "jpeg,png",
        "CORS_ORIGINS": "https://yourdomain.com, https://www.yourdomain.com",
    }
    found = load(env)

    assert found.images.concurrency == 5
    assert found.images.timeout_ms == 60_000
    assert found.images.file_bytes == 20 * MIB
    assert found.images.quality == 80
    assert found.images.formats == ("jpeg", "png")
    assert found.cors_origins == ("https://yourdomain.com", "https://www.yourdomain.com")
    assert found.documents == Settings().documents


def test_the_names_that_openai_uses_are_understood() -> None:
    found = load(
        {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "m"}
    )

    assert found.llm_api_key is not None
    assert found.llm_api_key.get_secret_value() == "sk-1"
    assert (found.llm_base_url, found.llm_model) == ("http://127.0.0.1:1/v1", "m")
    assert found.has_model
    assert not load({}).has_model


def test_a_budget_for_the_model_needs_its_prices() -> None:
    with pytest.raises(UsageError, match="llm_input_usd"):
        load({"BATCHMILL_TIERS_FREE_LLM_DAY_USD": "5"})


def test_the_database_of_the_photo_document_becomes_a_url_that_survives_odd_passwords() -> None:
    env = {"MYSQL_HOST": "db", "MYSQL_USER": "u", "MYSQL_PASSWORD": "p@s/s", "MYSQL_DATABASE": "d"}

    assert load(env).database == "mysql+pymysql://u:p%40s%2Fs@db/d?charset=utf8mb4"


def test_the_data_folder_holds_from_wherever_one_looks() -> None:
    here = Path.cwd()

    assert Settings().data_dir == here / "batchmill-data"
    assert load({"BATCHMILL_DATA_DIR": "mine"}).data_dir == here / "mine"
    assert Settings(data_dir=Path("mine")).database == f"sqlite:///{here}/mine/batchmill.sqlite3"


def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    found = load({"BATCHMILL_ADMIN_KEY_FILE": str(tmp_path / "key")})

    assert found.admin_key is not None
    assert found.admin_key.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"BATCHMILL_PORT": "x"}, "BATCHMILL_PORT is 'x', but must be a whole number from 0 to"),
        ({"PORT": "99999"}, "PORT is '99999', but must be a whole number from 0 to 65535."),
        ({"COMPRESSION_QUALITY": "80"}, "COMPRESSION_QUALITY is '80', but must be a number from"),
        ({"MAX_FILE_SIZE_MB": "big"}, "MAX_FILE_SIZE_MB is 'big', but must be a number."),
        ({"BATCHMILL_LOG_LEVEL": "loud"}, "must be one of debug, info, warning, error."),
        ({"BATCHMILL_DISK_RESERVE_BYTES": "-1"}, "must be a size such as 50MB or 2GiB"),
        ({"BATCHMILL_RENEW_S": "11"}, "contradict each other: renew_s must be at most half of"),
        ({"BATCHMILL_WORKER_ID": "a b"}, "but must be 1 to 31 letters, digits, `.`, `_` and `-`."),
        ({"BATCHMILL_API_KEY_FILE": "/nowhere/key"}, "BATCHMILL_API_KEY_FILE names a file"),
    ],
)
def test_a_wrong_value_is_told_its_name_and_what_is_allowed(
    env: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(env)
    assert sentence in caught.value.message


def test_a_wrong_flag_is_called_by_its_own_name() -> None:
    with pytest.raises(UsageError, match=r"^--port is 70000, but must be"):
        load({}, {}, {"port": 70_000})


def test_a_misspelt_name_in_the_file_is_told_the_nearest_known_one() -> None:
    with pytest.raises(UsageError, match=r"Did you mean images\.concurrency\?"):
        load({}, {"images": {"concurency": 3}})


def test_a_settings_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "mill.toml").write_text("port = = 3")
    with pytest.raises(UsageError, match=r"mill\.toml cannot be read"):
        read_file({"BATCHMILL_CONFIG": str(tmp_path / "mill.toml")})


def test_the_file_sets_groups_by_their_tables(tmp_path: Path) -> None:
    (tmp_path / "mill.toml").write_text('host = "0.0.0.0"\n[tiers.free]\nfile_bytes = "1GB"\n')
    found = load({}, read_file({"BATCHMILL_CONFIG": str(tmp_path / "mill.toml")}))

    assert found.host == "0.0.0.0"  # noqa: S104 - a value to read, nothing listens
    assert found.tiers.free.file_bytes == 1_000_000_000


def test_an_unknown_variable_of_ours_is_reported_with_the_nearest_known_one() -> None:
    env = {"BATCHMILL_PROT": "1", "BATCHMILL_PORT": "2", "BATCHMILL_API_KEY_FILE": "", "HOME": "/"}

    assert unknown_variables(env) == (
        "BATCHMILL_PROT is not a setting. Did you mean BATCHMILL_PORT?",
    )


def test_an_unknown_tier_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="gold"):
        Settings().tier("gold")


@pytest.mark.parametrize("tier", list(Tiers.model_fields))
def test_the_bounds_of_an_attempt_are_those_of_its_tier(tier: str) -> None:
    limits = Settings().tier(tier)
    attempt = limits.attempt(wall_s=9)

    assert (attempt.pixels, attempt.pages, attempt.wall_s) == (limits.pixels, limits.pages, 9)
    assert attempt.unpacked_bytes == limits.entry_bytes


@given(st.dictionaries(st.sampled_from([s.variable for s in settings()]), st.text(max_size=12)))
def test_any_environment_gives_settings_or_a_sentence_that_names_a_variable(
    env: dict[str, str],
) -> None:
    complaint = _complaint(env)
    assert not complaint or any(name in complaint for name in env) or "contradict" in complaint


def _complaint(env: dict[str, str]) -> str:
    try:
        load(env)
    except UsageError as error:
        return error.message
    return ""
