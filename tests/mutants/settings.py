"""Settings that the whole server reads."""

from mutants.mutant import Mutant

_TESTS = "tests/test_settings_hold.py::"

MUTANTS = (
    Mutant(
        "setting-child-items",
        "src/batchmill/bootstrap.py",
        "recycling=Recycling(jobs=settings.child_items),",
        "recycling=Recycling(jobs=200),",
        "a child is replaced after `child_items`",
        (_TESTS + "test_a_child_is_replaced_after_its_items",),
    ),
    Mutant(
        "setting-virtual-host",
        "src/batchmill/bootstrap.py",
        "virtual_host=settings.s3_virtual_host,",
        "virtual_host=False,",
        "the bucket is named in the host",
        (_TESTS + "test_the_bucket_is_named_in_the_host_where_the_setting_says_so",),
    ),
    Mutant(
        "setting-idempotency",
        "src/batchmill/service/sweep.py",
        "age_ms = server.settings.idempotency_s * 1000",
        "age_ms = 86_400_000",
        "answers are kept for `idempotency_s`",
        (_TESTS + "test_an_answer_is_kept_as_long_as_the_setting_says",),
    ),
    Mutant(
        "setting-archive-entries",
        "src/batchmill/service/submission/store_files.py",
        "ArchiveLimits(limits.archive_entries, ",
        "ArchiveLimits(20_000, ",
        "an archive has at most `archive_entries`",
        (_TESTS + "test_an_archive_has_no_more_entries_and_bytes_than_the_tier_allows",),
    ),
    Mutant(
        "setting-archive-bytes",
        "src/batchmill/service/submission/store_files.py",
        "limits.archive_entries, limits.archive_bytes, ",
        "limits.archive_entries, 20_000_000_000, ",
        "an archive unpacks to at most `archive_bytes`",
        (_TESTS + "test_an_archive_has_no_more_entries_and_bytes_than_the_tier_allows",),
    ),
    Mutant(
        "setting-batch-timeout",
        "src/batchmill/api/compat/sequential.py",
        "time_limit_s=round(settings.batch_timeout_s),",
        "time_limit_s=1_200,",
        "a sequential batch ends after `batch_timeout_s`",
        (_TESTS + "test_a_sequential_batch_ends_when_its_time_is_over",),
    ),
)
