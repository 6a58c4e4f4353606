import pytest

from batchmill.errors.request import InvalidOptionError, UnknownNameError
from batchmill.model.pipeline import parse
from batchmill.operations import registry


def _message(use: str, options: dict[str, object]) -> str:
    with pytest.raises(InvalidOptionError) as caught:
        registry.options(use, options)
    return caught.value.message


def test_an_unknown_operation_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'resize'"):
        registry.get("resise")


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    assert _message("resize", {"widht": 5}) == (
        "resize has no option 'widht'. Did you mean 'width'?"
    )


def test_an_option_out_of_range_is_answered_with_the_range() -> None:
    assert _message("convert", {"quality": 120}) == (
        "convert: quality can't be 120; it must be a whole number from 1 to 100 or left out."
    )


def test_a_wrong_choice_is_answered_with_the_choices() -> None:
    message = _message("resize", {"fit": "squeeze"})
    assert message.startswith("resize: fit can't be 'squeeze'; it must be one of inside, cover,")


def test_a_wrong_type_is_answered_with_the_right_one() -> None:
    assert _message("resize", {"enlarge": "perhaps"}) == (
        "resize: enlarge can't be 'perhaps'; it must be true or false."
    )


def test_a_text_of_the_wrong_shape_is_answered_with_the_option() -> None:
    assert "background can't be 'red'" in _message("resize", {"background": "red"})


def test_options_that_exclude_each_other_are_said_to() -> None:
    assert _message("convert", {"format": "jpeg", "lossless": True}) == (
        "convert: lossless is not possible in jpeg."
    )


def test_a_checked_pipeline_is_the_same_however_briefly_it_was_written() -> None:
    brief = parse({"steps": [{"use": "resize"}]})
    full = parse({"steps": [{"use": "resize", "with": {"width": 1024, "height": 1024}}]})
    assert registry.check(brief).digest() == registry.check(full).digest()
    assert brief.digest() != full.digest()


def test_a_checked_pipeline_changes_its_digest_with_any_option() -> None:
    one = parse({"steps": [{"use": "convert", "with": {"quality": 80}}]})
    other = parse({"steps": [{"use": "convert", "with": {"quality": 81}}]})
    assert registry.check(one).digest() != registry.check(other).digest()


def test_checking_names_the_wrong_step() -> None:
    with pytest.raises(InvalidOptionError, match="convert: quality"):
        registry.check(parse({"steps": [{"use": "convert", "with": {"quality": 0}}]}))
