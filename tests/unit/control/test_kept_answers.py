"""Answers that are kept: only while they are true, only for whom they were made, bounded."""

import gzip
from typing import Any

from backports import zstd

from lpmos.control.http.encoding import LEAST_BYTES
from lpmos.control.http.kept import ENTRY_BYTES, Answer, KeptAnswers

LONG = b"a" * LEAST_BYTES


def test_answer_is_found_only_under_its_key_and_while_what_it_is_made_of_stays() -> None:
    kept = KeptAnswers()
    answer = Answer(b"{}")
    kept.keep(("acme", "?q"), 7, answer)
    assert kept.find(("acme", "?q"), 7) is answer
    assert kept.find(("acme", "?q"), 8) is None
    assert kept.find(("globex", "?q"), 7) is None
    assert kept.find((None, "?q"), 7) is None
    newer = Answer(b"[]")
    kept.keep(("acme", "?q"), 8, newer)
    assert kept.find(("acme", "?q"), 8) is newer
    assert kept.find(("acme", "?q"), 7) is None


def test_full_memory_forgets_what_was_not_asked_for_longest() -> None:
    kept = KeptAnswers(limit_bytes=3 * (ENTRY_BYTES + 10))
    for key in "abc":
        kept.keep(key, 1, Answer(b"x" * 10))
    assert kept.find("a", 1)
    kept.keep("d", 1, Answer(b"x" * 10))
    assert [key for key in "abcd" if kept.find(key, 1)] == ["a", "c", "d"]
    kept.keep("d", 2, Answer(b"x" * 20))
    assert [key for key in "acd" if kept.find(key, 2 if key == "d" else 1)] == ["c", "d"]


def test_answer_larger_than_all_memory_is_not_kept() -> None:
    kept = KeptAnswers(limit_bytes=100)
    kept.keep("a", 1, Answer(LONG))
    assert kept.find("a", 1) is None


def test_each_coding_is_the_same_body_and_is_made_once() -> None:
    answer = Answer(LONG, [(b"etag", b'"1"')])
    for coding, decode in (("zstd", zstd.decompress), ("gzip", gzip.decompress), (None, bytes)):
        start: Any
        body: Any
        start, body = answer.messages(coding)  # type: ignore[arg-type]
        headers = dict(start["headers"])
        assert decode(body["body"]) == LONG
        assert headers.get(b"content-encoding") == (coding.encode() if coding else None)
        assert headers[b"content-length"] == b"%d" % len(body["body"])
        assert (headers[b"vary"], headers[b"etag"]) == (b"Accept-Encoding", b'"1"')
        again: Any = answer.messages(coding)[1]  # type: ignore[arg-type]
        assert again["body"] is body["body"]


def test_hook_that_changes_a_message_changes_no_later_answer() -> None:
    answer = Answer(b"{}")
    start: Any = answer.messages("gzip")[0]
    assert b"content-encoding" not in dict(start["headers"])
    start["headers"] = [*start["headers"], (b"set-cookie", b"mine")]
    later: Any = answer.messages("gzip")[0]
    assert b"set-cookie" not in dict(later["headers"])
