"""Whether the audit log is whole: no entry is missing, changed, out of order or added.

The chain alone finds what was changed by somebody who did not write all later entries anew. Who can
write to the store can do that, too; so the entries are also told in the log stream, and a saved
stream tells a chain that was rewritten or cut off from the true one.
"""

from collections.abc import Iterable, Iterator

import msgspec

from lpmos.model.audit import TRIMMED, Anchor, AuditEntry, Head, holds

_ROWS = 1000
_DIGEST_BYTES = 32
_UNTOLD = bytes(_DIGEST_BYTES)
_SEQ_LIMIT = 10**12


class ChainPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries in ascending order, with the chain's two ends as they were at the same moment.

    `next` is where the following page begins; None where this one reaches the head.
    """

    anchor: Anchor
    head: Head
    entries: tuple[AuditEntry, ...]
    next: int | None = None


class Break(msgspec.Struct, frozen=True):
    """Where the chain does not hold, and why."""

    seq: int
    why: str


class SavedStream:
    """The digests that saved log lines tell of, 32 bytes an entry."""

    def __init__(self) -> None:
        self._rows: dict[int, bytearray] = {}
        self.last_seq = 0
        self.count = 0

    def add(self, line: str) -> Break | None:
        """Take in one line of the log; one that tells of no entry is passed over.

        A line may have something before its JSON, as the journal's time and host. An entry that was
        told before is no fault where both lines say the same.
        """
        told = _told(line)
        if told is None:
            return None
        known = self.digest(told.seq)
        if known is not None:
            same = known == told.digest
            return None if same else Break(told.seq, "the saved log tells of it in two ways")
        row = self._rows.setdefault(told.seq // _ROWS, bytearray(_ROWS * _DIGEST_BYTES))
        start = told.seq % _ROWS * _DIGEST_BYTES
        row[start : start + _DIGEST_BYTES] = bytes.fromhex(told.digest)
        self.last_seq = max(self.last_seq, told.seq)
        self.count += 1
        return None

    def digest(self, seq: int) -> str | None:
        """What was told of an entry; None where nothing was."""
        row = self._rows.get(seq // _ROWS)
        if row is None:
            return None
        start = seq % _ROWS * _DIGEST_BYTES
        digest = bytes(row[start : start + _DIGEST_BYTES])
        return None if digest == _UNTOLD else digest.hex()


class ChainCheck:
    """Checks a chain page by page, from its anchor to its head."""

    def __init__(self, saved: SavedStream | None = None) -> None:
        self._saved = saved
        self._anchor: Anchor | None = None
        self._head = Head()
        self._seq = 0
        self._previous = ""
        self._told_anchors: set[Anchor] = set()
        self.entries = 0
        self.compared = 0

    def page(self, page: ChainPage) -> Iterator[Break]:
        """The breaks in the next page."""
        self._head = page.head
        if self._anchor is None or page.anchor.first_seq > self._seq:  # trimmed while being read
            self._seq, self._previous = page.anchor.first_seq, page.anchor.previous
            yield from self._compare(self._seq - 1, self._previous)
        self._anchor = page.anchor
        for entry in page.entries:
            yield from self._entry(entry)

    def end(self) -> Iterator[Break]:
        """The breaks that show only after the last page."""
        anchor = self._anchor or Anchor()
        if anchor != Anchor() and anchor not in self._told_anchors:
            yield Break(anchor.first_seq, "no entry tells that all before it were deleted")
        if (self._head.seq, self._head.digest) != (self._seq - 1, self._previous):
            why = f"the chain ends with {self._seq - 1}, its head says {self._head.seq}"
            if self._head.seq == self._seq - 1:
                why = "the head has another digest than the last entry"
            yield Break(self._head.seq, why)
        if self._saved and self._saved.last_seq >= self._seq:
            yield Break(self._saved.last_seq, "is in the saved log and not in the chain")

    def _entry(self, entry: AuditEntry) -> Iterator[Break]:
        self.entries += 1
        if entry.seq < self._seq:
            yield Break(entry.seq, "out of order")
            return
        if entry.seq > self._seq:
            last = entry.seq - 1
            missing = f"{last}" if last == self._seq else f"{self._seq} to {last}"
            yield Break(entry.seq, f"{missing} missing before it")
        elif entry.previous != self._previous:
            yield Break(entry.seq, "does not go on from the entry before")
        if not holds(entry):
            yield Break(entry.seq, "was changed after it was written")
        yield from self._compare(entry.seq, entry.digest)
        if entry.event.action == TRIMMED:
            self._note_trimming(entry)
        self._seq, self._previous = entry.seq + 1, entry.digest

    def _compare(self, seq: int, digest: str) -> Iterator[Break]:
        told = self._saved.digest(seq) if self._saved else None
        if told is not None:
            self.compared += 1
            if told != digest:
                yield Break(seq, "is another one than the saved log tells of: it was rewritten")

    def _note_trimming(self, entry: AuditEntry) -> None:
        try:
            self._told_anchors.add(msgspec.convert(entry.event.after, Anchor))
        except msgspec.ValidationError:
            return


def verify(pages: Iterable[ChainPage], saved: SavedStream | None = None) -> Iterator[Break]:
    """Every break of the chain in `pages`, which go from its anchor to its head.

    Args:
        pages: as `GET /api/v1/audit/chain` gives them, each from the `next` of the one before.
        saved: what the log stream told; a chain that was written anew differs from it.
    """
    check = ChainCheck(saved)
    for page in pages:
        yield from check.page(page)
    yield from check.end()


class _Told(msgspec.Struct, frozen=True):
    seq: int
    digest: str


class _Line(msgspec.Struct, frozen=True):
    entry: _Told


def _told(line: str) -> _Told | None:
    start = line.find("{")
    if start < 0 or '"entry"' not in line:
        return None
    try:
        told = msgspec.json.decode(line[start:].encode(errors="replace"), type=_Line).entry
        usable = 0 < told.seq < _SEQ_LIMIT and len(bytes.fromhex(told.digest)) == _DIGEST_BYTES
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return told if usable else None
