"""Frames between the serving process and its explaining child."""

import io

import pytest

from services.kernel.errors import Failed
from services.serving.explain.refusals import NoBaselineSample, error_of
from services.serving.explain.wire import (
    LONGEST_FRAME_BYTES,
    ExplainJob,
    Refused,
    Version,
    decode_job,
    decode_reply,
    frame,
    length_of,
    read_frame,
)

JOB = ExplainJob(
    Version("/cache/ab", "ab" * 32),
    [[1.5, "http", 2**40, float("inf"), True, [1.0, 2.0]]],
    "lime",
    None,
    None,
    7,
    1,
    2,
    3,
)


def test_a_job_comes_out_as_it_went_in() -> None:
    stream = io.BytesIO(frame(JOB) + frame(Refused("internal", "no")))
    first, second = read_frame(stream), read_frame(stream)
    assert first is not None
    assert second is not None
    assert decode_job(first) == JOB
    assert decode_reply(second) == Refused("internal", "no")
    assert read_frame(stream) is None


@pytest.mark.parametrize("cut", [1, 3, 4, 10])
def test_a_frame_that_breaks_off_is_no_message(cut: int) -> None:
    with pytest.raises(ValueError, match="breaks off"):
        read_frame(io.BytesIO(frame(JOB)[:cut]))


def test_an_impossible_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="says it has"):
        length_of((LONGEST_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_errors_keep_their_kind_over_the_pipe() -> None:
    assert isinstance(error_of("no-baseline-sample", "none"), NoBaselineSample)
    assert type(error_of("something-new", "?")) is Failed
