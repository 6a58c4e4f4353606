"""Signed addresses: every change to one closes it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.errors.request import ForbiddenError
from batchmill.storage.signing import LONGEST_S, Signer, fresh_signer

OLD, NEW = "o" * 32, "n" * 32
NOW_S = 1_800_000_000
TOKEN = Signer([NEW]).sign("GET", "batches/b/out/i.1/0", now_s=NOW_S, valid_s=900)


def opens(
    signer: Signer, token: str, method: str = "GET", name: str = "a", *, now_s: float = NOW_S
) -> bool:
    try:
        signer.check(token, method, name, now_s=now_s)
    except ForbiddenError:
        return False
    return True


def test_a_token_opens_its_object_until_it_expires_and_not_after() -> None:
    signer = Signer([NEW])
    token = signer.sign("GET", "a", now_s=NOW_S, valid_s=900)
    assert opens(signer, token)
    assert opens(signer, token, now_s=NOW_S + 899.9)
    assert not opens(signer, token, now_s=NOW_S + 900)
    with pytest.raises(ForbiddenError, match="has expired; ask for a new one"):
        signer.check(token, "GET", "a", now_s=NOW_S + 900)


@pytest.mark.parametrize(("method", "name"), [("PUT", "a"), ("GET", "b"), ("GET", "a/"), ("", "a")])
def test_a_token_opens_nothing_else(method: str, name: str) -> None:
    signer = Signer([NEW])
    assert not opens(signer, signer.sign("GET", "a", now_s=NOW_S, valid_s=900), method, name)


@given(at=st.integers(0, len(TOKEN) - 1), character=st.characters())
@example(at=len(TOKEN) - 1, character=chr(ord(TOKEN[-1]) + 1))
@example(at=len(TOKEN) - 1, character=chr(ord(TOKEN[-1]) - 1))
def test_a_token_with_one_character_changed_opens_nothing(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    assert opens(Signer([NEW]), changed, name="batches/b/out/i.1/0") == (changed == TOKEN)


@given(token=st.text(max_size=80))
def test_no_other_text_opens_anything(token: str) -> None:
    assert not opens(Signer([NEW]), token)


def test_line_breaks_in_a_name_do_not_make_another_claim() -> None:
    signer = Signer([NEW])
    token = signer.sign("GET", "a\nb", now_s=NOW_S, valid_s=900)
    assert not opens(signer, token, "GET\na", "b")


def test_tokens_of_an_old_key_stay_good_until_it_is_dropped() -> None:
    old = Signer([OLD]).sign("GET", "a", now_s=NOW_S, valid_s=900)
    assert opens(Signer([NEW, OLD]), old)
    assert not opens(Signer([NEW]), old)


def test_the_first_key_signs() -> None:
    token = Signer([NEW, OLD]).sign("GET", "a", now_s=NOW_S, valid_s=900)
    assert opens(Signer([NEW]), token)
    assert not opens(Signer([OLD]), token)


@pytest.mark.parametrize("keys", [[], ["short"], [NEW, "short"], [NEW, ""]])
def test_weak_keys_are_refused(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="at least 32 characters"):
        Signer(keys)


@pytest.mark.parametrize("valid_s", [0, -1, LONGEST_S + 1])
def test_no_token_is_valid_for_ever(valid_s: int) -> None:
    with pytest.raises(ValueError, match="1 to 604800 s"):
        Signer([NEW]).sign("GET", "a", now_s=NOW_S, valid_s=valid_s)


def test_a_fresh_signer_opens_nothing_that_another_has_signed() -> None:
    token = fresh_signer().sign("GET", "a", now_s=NOW_S, valid_s=900)
    assert not opens(fresh_signer(), token)


def test_when_a_token_ends_is_signed_too() -> None:
    expires, _, rest = TOKEN.partition(".")
    assert opens(Signer([NEW]), TOKEN, name="batches/b/out/i.1/0")
    later = f"{int(expires) + 1}.{rest}"
    assert not opens(Signer([NEW]), later, name="batches/b/out/i.1/0")


@pytest.mark.parametrize("changed", [TOKEN + "x", TOKEN + "\n", "1" + TOKEN, TOKEN + "." + TOKEN])
def test_nothing_may_stand_around_a_token(changed: str) -> None:
    assert not opens(Signer([NEW]), changed, name="batches/b/out/i.1/0")
