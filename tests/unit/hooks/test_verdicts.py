# SPDX-License-Identifier: Apache-2.0
"""Many findings, one verdict; and what an override may change."""

import pytest

from llmd_storage_hooks.core.verdicts import Finding, Verdict, exit_code, overall, override

P, W, F, I, S = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.SKIPPED  # noqa: E741


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([P, S], P),
        ([P, W], W),
        ([W, I], I),
        ([I, F, P], F),
        ([S], P),
        ([], I),  # a hook that checked nothing must not pass
    ],
)
def test_the_worst_counts(seen, expected):
    assert overall(Finding("a", verdict, "x") for verdict in seen) is expected


@pytest.mark.parametrize(
    ("verdict", "wanted", "expected"),
    [
        (F, "warn", W),
        (F, "skip", S),
        (W, "fail", F),
        (I, "warn", W),
        (P, "fail", P),
        (P, "skip", S),
        (F, None, F),
    ],
)
def test_overrides(verdict, wanted, expected):
    wishes = {"a": wanted} if wanted else {"b": "skip"}
    (got,) = override([Finding("a", verdict, "It is so.")], wishes)
    assert got.verdict is expected
    assert "It is so." in got.sentence


@pytest.mark.parametrize(
    ("verdict", "allow", "code"), [(P, False, 0), (W, False, 0), (F, True, 1), (I, False, 3), (I, True, 0)]
)
def test_exit_codes(verdict, allow, code):
    assert exit_code(verdict, allow) == code
