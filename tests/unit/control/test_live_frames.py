"""Frames that we make ourselves, read by another implementation."""

from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol as Reader
from wsproto.frame_protocol import Opcode

from lpmos.control.live.frames import text_frame


@given(st.text(max_size=300))
@example("x" * 125)
@example("x" * 126)
@example("x" * 65_535)
@example("x" * 65_536)
def test_text_frame_is_read_as_one_whole_message_by_others(text: str) -> None:
    reader = Reader(client=True, extensions=[])
    reader.receive_bytes(text_frame(text.encode()))
    (frame,) = reader.received_frames()
    assert (frame.opcode, frame.payload) == (Opcode.TEXT, text)
    assert frame.frame_finished
    assert frame.message_finished
