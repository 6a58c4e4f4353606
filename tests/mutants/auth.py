"""Who may do what, from where and how often."""

from mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        "rate-v6",
        "src/batchmill/api/limits.py",
        "_NEIGHBOURS = 64",
        "_NEIGHBOURS = 128",
        "a /64 of IPv6 is one caller",
        tests=(
            "tests/api/test_proxies.py::test_a_network_of_ipv6_is_one_caller_and_the_next_another",
        ),
    ),
    Mutant(
        "rate-free",
        "src/batchmill/api/limits.py",
        'FREE = frozenset({"anonymous", "free"})',
        'FREE = frozenset({"anonymous"})',
        "documents of free keys are counted by the hour",
        tests=(
            "tests/api/test_rate_limits.py::test_documents_of_a_free_key_are_counted_by_the_hour_and_by_owner",
        ),
    ),
    Mutant(
        "rate-by-owner-upload",
        "src/batchmill/api/limits.py",
        "    who = _address(request) if caller.key is None else caller.owner_id\n    limit = asking.mill",
        "    who = _address(request)\n    limit = asking.mill",
        "an owner's documents are counted, from whatever address",
        tests=(
            "tests/api/test_rate_limits.py::test_documents_of_a_free_key_are_counted_by_the_hour_and_by_owner",
        ),
    ),
    Mutant(
        "rate-window",
        "src/batchmill/api/limits.py",
        "window_s = settings.rate_window_ms / 1000",
        "window_s = MINUTE_S",
        "the window for images is as long as the settings say",
        tests=(
            "tests/api/test_rate_limits.py::test_the_window_for_images_is_as_long_as_the_settings_say",
        ),
    ),
    Mutant(
        "rate-reset",
        "src/batchmill/service/keys.py",
        "reset_s = max(1, -(-left_ms // 1000))",
        "reset_s = left_ms // 1000",
        "a window that is not over says at least one second",
        tests=(
            "tests/service/test_keys.py::test_a_window_that_ends_within_the_second_says_one_second_and_never_none",
        ),
    ),
    Mutant(
        "proxy-https",
        "src/batchmill/api/proxies.py",
        "if caller != nearest and headers.get",
        "if headers.get",
        "only a proxy says that a caller came by TLS",
        tests=("tests/api/test_proxies.py::test_only_a_proxy_says_that_a_caller_came_by_tls",),
    ),
    Mutant(
        "auth-forwarded",
        "src/batchmill/api/auth.py",
        '"true-client-ip")',
        '"true-client-ip-x")',
        "every header of a proxy counts",
        tests=(
            "tests/api/test_proxies.py::test_every_header_that_a_proxy_adds_says_that_one_stands_between",
        ),
    ),
    Mutant(
        "auth-via",
        "src/batchmill/api/auth.py",
        '"forwarded", "via", ',
        '"forwarded", ',
        "every header of a proxy counts",
        tests=(
            "tests/api/test_proxies.py::test_every_header_that_a_proxy_adds_says_that_one_stands_between",
        ),
    ),
    Mutant(
        "auth-lists",
        "src/batchmill/api/auth.py",
        "Caller(owner_id=STRANGERS, may_list=False)",
        "Caller(owner_id=STRANGERS)",
        "strangers see no list",
        tests=("tests/api/test_proxies.py::test_a_stranger_neither_lists_nor_administers",),
    ),
    Mutant(
        "auth-admin-stranger",
        "src/batchmill/api/auth.py",
        "return asking.owner_id == LOCAL_OWNER",
        "return True",
        "a stranger is no administrator",
        tests=("tests/api/test_proxies.py::test_a_stranger_neither_lists_nor_administers",),
    ),
    Mutant(
        "guard-cookie",
        "src/batchmill/api/guard.py",
        '        bool(headers.get("x-api-key"))',
        '        bool(headers.get("cookie") or headers.get("x-api-key"))',
        "a cookie opens no foreign host",
        tests=("tests/api/test_guard.py::test_a_cookie_opens_no_foreign_host",),
    ),
    Mutant(
        "guard-probe-post",
        "src/batchmill/api/guard.py",
        'scope["path"] in PROBES and scope["method"] in SAFE',
        'scope["path"] in PROBES',
        "only questions reach a probe under a foreign host",
        tests=(
            "tests/api/test_guard.py::test_only_a_question_reaches_a_probe_under_a_foreign_host",
        ),
    ),
    Mutant(
        "guard-csp",
        "src/batchmill/api/guard.py",
        '    "X-Frame-Options": "DENY",\n',
        "",
        "every answer forbids frames",
        tests=(
            "tests/api/test_guard.py::test_every_answer_tells_browsers_to_keep_it_to_themselves",
        ),
    ),
    Mutant(
        "cookie-days",
        "src/batchmill/api/v1/session.py",
        "COOKIE_S = 30 * 86_400",
        "COOKIE_S = 300 * 86_400",
        "a cookie lasts thirty days",
        tests=("tests/api/test_session.py",),
    ),
    Mutant(
        "key-note-use",
        "src/batchmill/db/access.py",
        ".where(api_keys.c.id == key_id, long_ago)",
        ".where(api_keys.c.id == key_id)",
        "a use is noted once an hour",
        tests=("tests/service/test_keys.py",),
    ),
    Mutant(
        "key-note-other",
        "src/batchmill/db/access.py",
        ".where(api_keys.c.id == key_id, long_ago)",
        ".where(long_ago)",
        "only the key that is used is noted",
        tests=("tests/service/test_keys.py",),
    ),
    Mutant(
        "key-any",
        "src/batchmill/service/keys.py",
        "any(key.revoked_at is None for key",
        "any(True for key",
        "a revoked key lets nobody in",
        tests=("tests/service/test_keys.py",),
    ),
    Mutant(
        "key-use-up-over",
        "src/batchmill/db/access.py",
        "fits = or_(over, rate_windows",
        "fits = or_(rate_windows",
        "a window that is over starts again",
        tests=("tests/service/test_keys.py",),
    ),
)
