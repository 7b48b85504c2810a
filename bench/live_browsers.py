"""The browsers' part of `bench.live_updates`: a thousand bare sockets in one process.

Each says what the dashboard says, answers pings, and reads all that comes. What it takes from most
of them is only up to which revision the frame brings them, which stands at its end: so that the
part which generates the load takes little of the processor that the server is measured on. One in
`SAMPLE_EVERY` is looked at wholly: what its messages were, and how long they had been in its socket
before this process came to read them, by the kernel's time stamps (`SO_TIMESTAMPNS`: the kernel's
Documentation/networking/timestamping.rst).
"""

import base64
import json
import os
import re
import select
import socket
import struct
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

BROWSERS_PER_USER = 50
READ_BYTES = 1 << 16
READ_EVERY_S = 0.001
"""The browsers' process looks so often: woken by every single frame it would slow the server, which
has to wake it. It only ever makes an arrival later."""

SAMPLE_EVERY = 25
"""No multiple of what divides the number of lanes: samples are in all of them."""

CUT_WITHOUT_WORD = 1006
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
_SUBSCRIBED = re.compile(rb'\{"type":"subscribed","revision":(\d+)\}')

Way = tuple[int, int]
"""What a frame brings: all after one revision, up to and with another."""


class Arrived(NamedTuple):
    """What the browsers heard; times are of the machine's monotonic clock, in nanoseconds."""

    ways: dict[Way, tuple[int, int]]
    """For each way when the last browser had come it, and how many had."""
    told: dict[int, tuple[int, int]]
    """For each update its revision, and how many of the sampled browsers were told it."""
    sampled: int
    unread_ms: Sequence[float]
    """How long each frame to a sampled browser was in its socket until it was read."""
    frames: int
    frame_bytes: int
    cut: dict[int, int]
    """How many connections the server ended, by the code it gave."""
    resyncs: int
    """How often a browser was told to read all again."""


def browse(link: Connection, port: int, tokens: Sequence[str], browsers: int) -> None:
    """Connect so many browsers; what comes between two words of the link is what arrived."""
    heard = Heard(
        [
            connected(port, tokens[number // BROWSERS_PER_USER], sampled=not number % SAMPLE_EVERY)
            for number in range(browsers)
        ]
    )
    link.send("connected")
    link.recv()
    heard.until_readable(link.fileno())
    link.send(heard.arrived())


class Browser:
    """One connection, and up to which revision it has heard all."""

    def __init__(
        self, connection: socket.socket, revision: int, rest: bytes, sampled: bool
    ) -> None:
        self.connection = connection
        self.revision = revision
        self.rest = rest
        """The begin of a frame that is not whole yet."""
        self.sampled = sampled
        self.closed = CUT_WITHOUT_WORD
        """The code that the server ended it with, once it did."""


class Heard:
    """What all browsers hear, as it comes."""

    def __init__(self, browsers: Sequence[Browser]) -> None:
        self._browsers = {each.connection.fileno(): each for each in browsers}
        self._sampled = sum(each.sampled for each in browsers)
        self._ways: dict[Way, tuple[int, int]] = {}
        self._samples: Counter[bytes] = Counter()
        self._unread_ms: array[float] = array("d")
        self._frames = self._bytes = self._resyncs = 0
        self._cut: Counter[int] = Counter()

    def until_readable(self, link: int) -> None:
        """Read from all sockets until there is something on the link."""
        watched = select.epoll()
        for number in (link, *self._browsers):
            watched.register(number, select.EPOLLIN)
        while True:
            time.sleep(READ_EVERY_S)
            for number, _ in watched.poll(0, len(self._browsers) + 1):
                if number == link:
                    return
                browser = self._browsers[number]
                if not self._read(browser):
                    self._cut[browser.closed] += 1
                    watched.unregister(number)

    def _read(self, browser: Browser) -> bool:
        """Take what came; whether the connection goes on."""
        try:
            came = self._sample(browser) if browser.sampled else browser.connection.recv(READ_BYTES)
        except ConnectionError:
            came = b""
        if not came:
            return False
        now = time.monotonic_ns()
        frames, browser.rest = split(browser.rest + came if browser.rest else came)
        for head, payload in frames:
            if head == _TEXT:
                self._take(browser, payload, now)
            elif head == _PING:
                say(browser.connection, _PONG, payload)
            elif head == _CLOSE and payload:
                browser.closed = int.from_bytes(payload[:2])
        return True

    def _sample(self, browser: Browser) -> bytes:
        """Read, and note how long the end of it had been there."""
        came, beside, *_ = browser.connection.recvmsg(READ_BYTES, socket.CMSG_SPACE(16))
        now = time.time_ns()
        for level, kind, stamp in beside:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(stamp)
                self._unread_ms.append((now - seconds * 1_000_000_000 - nanoseconds) / 1e6)
        return came

    def _take(self, browser: Browser, payload: bytes, now: int) -> None:
        self._frames += 1
        self._bytes += len(payload)
        revision = revision_of(payload)
        if payload.startswith(b'{"type":"resync"'):
            self._resyncs += 1
        else:
            way = browser.revision, revision
            _, count = self._ways.get(way, (0, 0))
            self._ways[way] = now, count + 1
            if browser.sampled:
                self._samples[payload] += 1
        browser.revision = revision

    def arrived(self) -> Arrived:
        """All of it; what the samples were told is only looked into now."""
        told: dict[int, tuple[int, int]] = {}
        for payload, count in self._samples.items():
            for begun, revision in _updates(payload):
                told[begun] = revision, count + told.get(begun, (0, 0))[1]
        return Arrived(
            ways=self._ways,
            told=told,
            sampled=self._sampled,
            unread_ms=self._unread_ms.tolist(),
            frames=self._frames,
            frame_bytes=self._bytes,
            cut=dict(self._cut),
            resyncs=self._resyncs,
        )


def _updates(payload: bytes) -> Iterator[tuple[int, int]]:
    """When each update of a batch was begun, and its revision."""
    messages = json.loads(payload)
    for message in messages if isinstance(messages, list) else ():
        if message["type"] == "progress":
            yield int(message["message"]), message["revision"]


def revision_of(payload: bytes) -> int:
    """Up to which revision a batch brings its browser, or a word about it: the last it says."""
    return int(payload[payload.rindex(b":") + 1 :].rstrip(b"]}"))


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The first byte and the payload of each whole frame of a server, and what is left."""
    found, place = [], 0
    while len(data) - place >= 2:
        length, start = data[place + 1], place + 2
        if length >= 126:
            start += 2 if length == 126 else 8
            length = int.from_bytes(data[place + 2 : start])
        if len(data) < start + length:
            break
        found.append((data[place], data[start : start + length]))
        place = start + length
    return found, data[place:]


def connected(port: int, token: str, *, sampled: bool) -> Browser:
    """Connected, authenticated and subscribed, as the dashboard is."""
    connection = socket.create_connection(("127.0.0.1", port))
    if sampled:
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    _read_until(connection, re.compile(b"\r\n\r\n"))
    _say_json(connection, {"type": "auth", "token": token})
    _read_until(connection, re.compile(b'"ready"}'))
    _say_json(connection, {"type": "subscribe", "batch": True})
    answer = _read_until(connection, _SUBSCRIBED)
    return Browser(connection, int(answer[1]), answer.string[answer.end() :], sampled)


def _read_until(connection: socket.socket, wanted: re.Pattern[bytes]) -> re.Match[bytes]:
    came = b""
    while (found := wanted.search(came)) is None:
        part = connection.recv(4096)
        if not part:
            raise ConnectionError(f"the server ended the connection after {came!r}")
        came += part
    return found


def _say_json(connection: socket.socket, message: object) -> None:
    say(connection, _TEXT, json.dumps(message).encode())


def say(connection: socket.socket, head: int, payload: bytes) -> None:
    """Send one whole frame, masked with zeros."""
    length = len(payload)
    short = length < 126
    start = bytes((head, 0x80 | length)) if short else struct.pack("!BBH", head, 0xFE, length)
    connection.sendall(start + bytes(4) + payload)
