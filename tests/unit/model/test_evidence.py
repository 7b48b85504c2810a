"""The signs of one boot: those of the boot before go where the next one has got to."""

from datetime import datetime, timedelta

from lpmos.model.evidence import OVERLAP, Evidence, Sign, Transfer
from tests.support.builders import MAC, NOW


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


BOOTED = Evidence(
    mac=MAC,
    asked=Sign(at(0)),
    given=Sign(at(1)),
    loader=Sign(at(2)),
    entry=Sign(at(4)),
    script=Sign(at(5)),
    kernel=Transfer(at(6), 9, at(7)),
    initramfs=Transfer(at(7), 9, at(9)),
    agent=Sign(at(30)),
)


def known(seen: Evidence) -> set[str]:
    names = Evidence.__struct_fields__[1:-1]
    return {name for name in names if getattr(seen, name) is not None}


def test_layer_that_is_reached_again_ends_what_came_after_it() -> None:
    again = at(600)
    assert known(BOOTED.until("asked", again)) == {"asked"}
    assert known(BOOTED.until("loader", again)) == {"asked", "given", "loader"}
    assert known(BOOTED.until("script", again)) == {"asked", "given", "loader", "entry", "script"}


def test_what_was_seen_just_now_may_be_of_the_same_boot() -> None:
    assert known(BOOTED.until("script", at(7) + OVERLAP)) == known(BOOTED)
    assert known(BOOTED.until("loader", at(6))) == known(BOOTED)
    late = at(8) + OVERLAP
    assert known(BOOTED.until("script", late)) == known(BOOTED) - {"kernel"}


def test_newest_is_the_end_of_a_file_where_it_ended() -> None:
    assert BOOTED.newest == at(30)
    assert BOOTED.until("entry", at(600)).newest == at(4)
    sent = Evidence(mac=MAC, asked=Sign(at(0)), kernel=Transfer(at(6), 9, at(7)))
    assert sent.newest == at(7) and Evidence(mac=MAC).newest is None
