"""Keys never leave their prefix, whatever text somebody tries to make one of."""

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId
from batchmill.storage.keys import (
    attempt_prefix,
    batch_prefix,
    check_key,
    check_prefix,
    input_key,
    output_key,
)

HOSTILE = st.text(alphabet=st.sampled_from("ab./\\-_\0\n ~%é"), max_size=20)
IDS = st.from_regex(r"[a-z]{3}_[0-9a-z]{1,20}", fullmatch=True)


@given(key=HOSTILE | st.text(max_size=30))
def test_a_text_that_passes_as_a_key_stays_below_its_root(key: str) -> None:
    try:
        check_key(key)
    except ValueError:
        return
    parts = PurePosixPath("/root", key).parts
    assert parts[:2] == ("/", "root")
    assert "/".join(parts[2:]) == key
    assert not any(part.startswith(".") for part in parts[2:])


@given(prefix=HOSTILE)
@example(prefix="batches/bat_1")
def test_a_text_that_passes_as_a_prefix_is_a_key_and_a_slash(prefix: str) -> None:
    try:
        check_prefix(prefix)
    except ValueError:
        return
    assert prefix == check_key(prefix[:-1]) + "/"


@given(batch=IDS, item=IDS, attempt=st.integers(0, 99), number=st.integers(0, 10**6))
def test_every_key_of_a_batch_is_valid_and_below_its_prefix(
    batch: str, item: str, attempt: int, number: int
) -> None:
    output = output_key(BatchId(batch), ItemId(item), attempt, number)
    assert check_key(output).startswith(attempt_prefix(BatchId(batch), ItemId(item), attempt))
    for key in (output, input_key(BatchId(batch), str(number))):
        assert check_key(key).startswith(check_prefix(batch_prefix(BatchId(batch))))


@given(item=IDS, attempts=st.sets(st.integers(0, 200), min_size=2, max_size=2))
def test_no_attempt_lies_below_the_folder_of_another(item: str, attempts: set[int]) -> None:
    one, other = (attempt_prefix(BatchId("bat_1"), ItemId(item), number) for number in attempts)
    assert not one.startswith(other)
    assert not other.startswith(one)


def test_a_hostile_id_makes_no_key() -> None:
    with pytest.raises(ValueError, match="not a storage key"):
        check_key(input_key(BatchId("../../etc"), "0"))


def test_a_key_has_no_more_than_512_characters() -> None:
    assert check_key("k" * 512) == "k" * 512
    with pytest.raises(ValueError, match="not a storage key"):
        check_key("k" * 513)
