"""Requests and reports: bodies, answers kept, what a child says."""

from mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        "body-depth",
        "src/batchmill/api/body.py",
        "MAX_DEPTH = 32",
        "MAX_DEPTH = 33",
        "JSON nests to 32 levels",
        tests=("tests/api/test_guard.py::test_json_nests_to_32_levels_and_no_deeper",),
    ),
    Mutant(
        "idem-mismatch-first",
        "src/batchmill/api/once.py",
        "    if known.body_sha256 != digest:",
        "    if known.status_code and known.body_sha256 != digest:",
        "another request is told so at once",
        tests=(
            "tests/api/test_idempotency.py::test_another_request_while_the_first_is_being_answered_is_told_so",
        ),
    ),
    Mutant(
        "idem-given-up",
        "src/batchmill/api/once.py",
        "GIVEN_UP_AFTER_MS = 600_000",
        "GIVEN_UP_AFTER_MS = 6_000_000_000",
        "an unanswered request is given up after ten minutes",
        tests=(
            "tests/api/test_idempotency.py::test_a_request_without_an_answer_is_given_up_after_ten_minutes",
        ),
    ),
    Mutant(
        "idem-owner",
        "src/batchmill/db/idempotency.py",
        "return idempotency.c.owner_id == owner_id, idempotency.c.key == key",
        "return idempotency.c.key == key, idempotency.c.key == key",
        "two owners may use the same key",
        tests=("tests/api/test_idempotency.py::test_two_owners_may_use_the_same_key",),
    ),
    Mutant(
        "idem-forget-answered",
        "src/batchmill/db/idempotency.py",
        ".where(*_is(owner_id, key), unanswered)",
        ".where(*_is(owner_id, key))",
        "a kept answer is not forgotten",
        tests=("tests/api/test_idempotency.py::test_an_answer_that_was_kept_is_not_forgotten",),
    ),
    Mutant(
        "mend-number",
        "src/batchmill/runner/process.py",
        "if report.number != job.number:",
        "if False:",
        "a report for another job is refused",
        tests=(
            "tests/runner/test_pool.py::test_second_report_of_a_job_is_not_taken_for_the_next_jobs",
        ),
    ),
    Mutant(
        "idem-method",
        "src/batchmill/api/once.py",
        "(request.method, request.url.path, contents_sha256)",
        "(request.url.path, contents_sha256)",
        "nothing that can be seen",
        equivalent="no path has two methods that take a key",
    ),
    Mutant(
        "dl-head",
        "src/batchmill/api/download.py",
        'if request.method == "HEAD" or span',
        "if span",
        "nothing that can be seen",
        equivalent="the server sends no body to HEAD; only the reading is saved",
    ),
)
