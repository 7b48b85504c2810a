"""The way of a machine from power-on to its agent's newest word, as people read it."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from lpmos.model.evidence import Evidence, Sign, Transfer
from lpmos.model.situation import Situation
from lpmos.model.task import Progress


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the way: what was seen last; `at` is None where nothing was, though it is due."""

    layer: str
    at: datetime | None
    what: str


def layers(now: Situation) -> tuple[Layer, ...]:
    """The way from power-on to the agent's newest word: what was seen of each part of it, and when.

    What comes after the newest sign and was not seen is left out but for the first: that is where
    it stands.
    """
    found = [*_boot_layers(now.seen), *_file_layers(now), *_agent_layers(now)]
    last = max((number for number, layer in enumerate(found) if layer.at), default=-1)
    if now.task.finished:
        return tuple(layer for layer in found if layer.at)
    return tuple(found[: last + 2])


def _boot_layers(seen: Evidence) -> Sequence[Layer]:
    return (
        _layer("dhcp", seen.asked, f"asked for an address: {{}}{_asker(seen.asked)}"),
        _layer("address", seen.given, "was given {}"),
        _layer("loader", seen.loader, "was sent {}"),
        _layer("ipxe", seen.entry, "iPXE asked what to do"),
        _layer("script", seen.script, "was told: {}"),
    )


def _asker(asked: Sign | None) -> str:
    if asked is None or asked.by is None:
        return ""
    if asked.by == "netboot":
        return " (network boot)"
    return " (network boot; another DHCP server gives the address)"


def _file_layers(now: Situation) -> Sequence[Layer]:
    """The agent's files; who goes on to an installer or its own disk needs none any more."""
    found = _sent("kernel", now.seen.kernel), _sent("initramfs", now.seen.initramfs)
    over = now.task.handover is not None or now.task.handed_over_at is not None
    return [layer for layer in found if layer.at or not over]


def _agent_layers(now: Situation) -> Sequence[Layer]:
    task, step = now.task, now.step
    reported = task.reported_at
    called = Layer(
        layer="agent",
        at=now.seen.agent.at if now.seen.agent else reported,
        what=now.seen.agent.detail
        if now.seen.agent
        else "reported its hardware"
        if reported
        else "no call of the agent",
    )
    if step is None:
        return (called,)
    return called, Layer(layer=step.step, at=step.timestamp, what=_of_step(step))


def _of_step(step: Progress) -> str:
    rate = step.bytes_per_second
    parts = [f"{step.percent:.0f} %", step.message, _in_words(rate) if rate else ""]
    return ", ".join(part for part in parts if part)


def _in_words(bytes_per_s: float) -> str:
    if bytes_per_s < 1e6:
        return f"{bytes_per_s / 1e3:.0f} kB/s"
    return f"{bytes_per_s / 1e6:.1f} MB/s"


def _layer(name: str, sign: Sign | None, text: str) -> Layer:
    if sign is None:
        return Layer(layer=name, at=None, what="not seen")
    return Layer(layer=name, at=sign.at, what=text.format(sign.detail).strip())


def _sent(name: str, file: Transfer | None) -> Layer:
    if file is None:
        return Layer(layer=name, at=None, what="not asked for")
    size = f"{file.size_bytes / 1e6:.1f} MB"
    if file.done_at is None:
        return Layer(layer=name, at=file.at, what=f"asked for; not all of its {size} has gone out")
    took = (file.done_at - file.at).total_seconds()
    return Layer(layer=name, at=file.done_at, what=f"{size} in {took:.1f} s")
