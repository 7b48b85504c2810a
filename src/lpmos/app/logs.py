"""How log lines look: structured, one line each, the region's label first where there is one."""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(level: str, form: str) -> None:
    """Set up logging of this process to standard error, libraries included.

    Args:
        level: debug, info, warning or error.
        form: text for people, json for programs.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render: list[Processor] = (
        [structlog.processors.JSONRenderer()]
        if form == "json"
        else [
            _label,
            _audit_line,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0),
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    _find_out_no_more_than_is_printed()
    # One line for each request is the access log of the part itself, where it keeps one.
    for noisy in ("aiohttp.access", "uvicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _find_out_no_more_than_is_printed() -> None:
    """No line says where in the code, thread or process it was written: do not look it up either.

    That is a tenth of what a line costs (logging HOWTO of Python, "Optimization").
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _audit_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """An entry of the audit log in the words that a person looks for; JSON has all of it."""
    entry = event.get("entry")
    if isinstance(entry, dict) and event.get("logger") == "audit":
        told = entry["event"]
        del event["entry"]
        event.update(seq=entry["seq"], action=told["action"], target=told["target"])
        event.update(by=told["actor"]["name"], outcome=told.get("outcome", "done"))
    return event


def _label(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """`[dc1] ` before the text of every line of a region."""
    if idc := event.pop("idc", None):
        event["event"] = f"[{idc}] {event['event']}"
    return event
