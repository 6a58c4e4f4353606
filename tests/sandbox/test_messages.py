"""What a worker and its child say to each other is one JSON object a line, or refused."""

import math

import pytest

from batchmill.sandbox.messages import Report, StepProgress, decode, encode, report_from


def test_a_report_comes_back_as_it_was_sent() -> None:
    report = Report(data={"ä": [1, None]}, warnings=("w",), rss_bytes=7, number=3)
    line = encode("report", report)
    kind, body = decode(line)
    assert (kind, report_from(body)) == ("report", report)
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"report": 1, "ready": 2}', b"\xff", b"{"])
def test_a_line_that_is_not_one_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a message|Expecting|can't decode"):
        decode(line)


@pytest.mark.parametrize("fraction", [math.nan, math.inf])
def test_a_number_that_json_does_not_have_is_not_sent(fraction: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode("progress", StepProgress(fraction))
