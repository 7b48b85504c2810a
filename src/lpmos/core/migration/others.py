"""What goes over besides tasks: servers, machines' records, reports without a task, settings."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from lpmos.core import rendering
from lpmos.core.migration.conversion import MIGRATION
from lpmos.core.migration.entries import (
    Finding,
    RawAgent,
    RawReport,
    RawServer,
    RawSetting,
)
from lpmos.core.migration.fields import Fields, WrongTime, parse_time
from lpmos.core.migration.hardware import WrongHardware, parse_hardware
from lpmos.core.migration.identities import Identities
from lpmos.core.migration.oldtask import OldTask, Outcome
from lpmos.core.templates import VERSIONS, version_name
from lpmos.model.errors import InvalidInput
from lpmos.model.machine import (
    Installed,
    Mac,
    Machine,
    ServerEntry,
    UnmatchedReport,
    parse_idc,
    parse_mac,
    parse_sn,
)
from lpmos.model.template import NewTemplate, Template, check_template
from lpmos.store import keys, records

NO_STATUS = "unknown"
Kept = Mapping[tuple[str, str], Sequence[OldTask]]


class PlannedPut(msgspec.Struct, frozen=True, kw_only=True):
    """A document at a key of v3, written once, where there is none; `also` goes with it.

    `sources` have it now.
    """

    key: str
    value: bytes
    sources: tuple[str, ...] = ()
    also: tuple[tuple[str, bytes], ...] = ()


class Others(msgspec.Struct, frozen=True, kw_only=True):
    """All that goes over besides tasks; `added_at` is of the servers that have tasks.

    `lists` are the keys of lists of servers: who of them is not named in a finding came over.
    """

    puts: tuple[PlannedPut, ...] = ()
    lists: tuple[str, ...] = ()
    added_at: Mapping[tuple[str, str], datetime] = {}


class _Agent(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an agent's machine."""

    mac: Mac
    first_at: datetime
    last_at: datetime
    sources: tuple[str, ...]


def servers_by_mac(servers: Sequence[RawServer]) -> dict[tuple[str, str], set[str]]:
    """The serial numbers that lists of servers give each MAC."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for server in servers:
        mac = Fields(server.entry).parsed(parse_mac, "mac", "mac_address")
        if mac is not None:
            found[server.idc, mac].add(server.sn)
    return found


def plan_servers(
    servers: Sequence[RawServer], kept: Kept, findings: list[Finding]
) -> tuple[list[PlannedPut], dict[tuple[str, str], datetime]]:
    """The entries (S1) of listed servers without a task; when those with one were added."""
    planned: dict[str, PlannedPut | None] = {}
    added: dict[tuple[str, str], datetime] = {}
    for server in servers:
        has_task = (server.idc, server.sn) in kept
        fields = Fields({**server.entry, "sn": server.sn, "idc": server.idc})
        sn, idc = fields.parsed(parse_sn, "sn"), fields.parsed(parse_idc, "idc")
        added_at = fields.time("added_at", required=not has_task)
        mac = fields.parsed(parse_mac, "mac", "mac_address", required=not has_task)
        status = fields.text("status") or NO_STATUS
        if has_task and added_at is not None:
            added[server.idc, server.sn] = added_at
        if fields.problems:
            reason = f"server {server.sn[:64]}: {'; '.join(fields.problems)}"
            findings.append(Finding(key=server.source, kind="server", reason=reason))
        elif not has_task and sn and idc and mac and added_at:
            entry = ServerEntry(sn=sn, status=status[:64], mac=mac, added_at=added_at)
            key = keys.server(idc, sn)
            planned[key] = _put(key, entry, (server.source,), findings)
    return list(filter(None, planned.values())), added


def plan_machines(
    agents: Sequence[RawAgent],
    kept: Kept,
    identities: Identities,
    findings: list[Finding],
) -> list[PlannedPut]:
    """The records (S3) of machines that reported or were installed."""
    known = _agents(agents, kept, identities, findings)
    planned = []
    for place in sorted({**kept, **known}):
        tasks, agent = kept.get(place, ()), known.get(place)
        machine = _machine(place, tasks, agent)
        if machine is not None:
            sources = agent.sources if agent else ()
            planned.append(_put(keys.meta(*place), machine, sources, findings))
    return list(filter(None, planned))


def plan_reports(
    reports: Sequence[RawReport],
    kept: Kept,
    findings: list[Finding],
    replaced: list[str],
) -> list[PlannedPut]:
    """The newest report (S7) of each machine that got no task; the others are `replaced`."""
    with_task = {(task.idc, mac) for tasks in kept.values() for task in tasks for mac in task.macs}
    newest: dict[tuple[str, str], tuple[UnmatchedReport, str]] = {}
    for raw in reports:
        report = _report(raw, findings)
        if report is None:
            continue
        place = raw.idc, report.mac_address
        before = newest.get(place)
        older = before is not None and before[0].received_at >= report.received_at
        if place in with_task or older:
            replaced.append(raw.source)
            continue
        if before is not None:
            replaced.append(before[1])
        newest[place] = report, raw.source
    puts = (
        _put(keys.unmatched(idc, report.received_at, mac), report, (source,), findings)
        for (idc, mac), (report, source) in newest.items()
    )
    return list(filter(None, puts))


def plan_settings(
    settings: Sequence[RawSetting], findings: list[Finding], at: datetime
) -> list[PlannedPut]:
    """Templates that are templates of v3, too, and the global configuration as it is."""
    found = []
    for raw in settings:
        if raw.name is None:
            value = msgspec.json.encode(raw.document)
            found.append(PlannedPut(key=keys.GLOBAL_CONFIG, value=value, sources=(raw.source,)))
        elif (template := _template(raw.name, raw, findings, at)) is not None:
            put = _put(keys.template(raw.name), template, (raw.source,), findings)
            if put is not None:
                version = keys.control(VERSIONS, version_name(raw.name, template.version))
                found.append(msgspec.structs.replace(put, also=((version, put.value),)))
    return found


def _put(
    key: str, document: msgspec.Struct, sources: tuple[str, ...], findings: list[Finding]
) -> PlannedPut | None:
    """A document that fits; the finding of one that does not names its source."""
    try:
        return PlannedPut(key=key, value=records.encode(document), sources=sources)
    except records.RecordTooLarge as error:
        named = sources[0] if sources else key
        findings.append(Finding(key=named, kind="too-large", reason=f"{key}: {error}"))
        return None


def _template(name: str, raw: RawSetting, findings: list[Finding], at: datetime) -> Template | None:
    document = raw.document if isinstance(raw.document, dict) else {"content": raw.document}
    fields = Fields(document)
    content = fields.text("content", "template", required=True)
    description = fields.text("description") or ""
    if content is not None and not fields.problems:
        try:
            check_template(name, NewTemplate(content=content))
            fields.problems += [each.message for each in rendering.problems(content)]
        except InvalidInput as error:
            fields.problems += [each.message for each in error.problems]
    if fields.problems or content is None:
        reason = f"template {name[:64]}: {'; '.join(fields.problems)}"
        findings.append(Finding(key=raw.source, kind="template", reason=reason))
        return None
    return Template(
        version=1,
        content=content,
        description=description[:500],
        updated_by=MIGRATION.name,
        updated_at=at,
    )


def _report(raw: RawReport, findings: list[Finding]) -> UnmatchedReport | None:
    fields = Fields({**raw.document, "idc": raw.idc})
    idc = fields.parsed(parse_idc, "idc")
    mac = fields.parsed(parse_mac, "mac_address", required=True)
    received_at = fields.time("received_at", required=True)
    sn = fields.parsed(parse_sn, "sn")
    hardware = None
    try:
        hardware = parse_hardware(raw.document.get("hardware") or {})
    except (WrongHardware, AttributeError) as error:
        fields.wrong("hardware", str(error))
    if fields.problems or idc is None or mac is None or received_at is None or hardware is None:
        reason = f"the report: {'; '.join(fields.problems)}"
        findings.append(Finding(key=raw.source, kind="report", reason=reason))
        return None
    error_text = fields.text("error") or "no task for this machine"
    return UnmatchedReport(
        mac_address=mac,
        region=idc,
        sn=sn,
        hardware=hardware,
        received_at=received_at,
        error=error_text[:500],
    )


def _agents(
    agents: Sequence[RawAgent], kept: Kept, identities: Identities, findings: list[Finding]
) -> dict[tuple[str, str], _Agent]:
    by_task = {task.old_id: place for place, tasks in kept.items() for task in tasks}
    known: dict[tuple[str, str], _Agent] = {}
    for raw in agents:
        fields = Fields({**raw.parts.get("info", {}), "mac": raw.mac})
        mac = fields.parsed(parse_mac, "mac")
        place = by_task.get(raw.parts.get("task_id", ""))
        idc = fields.parsed(parse_idc, "idc", "region_id", "region") or (place and place[0])
        last_at = _last_seen(raw, fields)
        first_at = fields.time("first_seen", "registered_at", "created_at") or last_at
        if idc is None and not fields.problems:
            fields.wrong("region_id", "is missing, and no task says it")
        if last_at is None and first_at is None and not fields.problems:
            fields.wrong("last_seen", "is missing")
        names = identities.names(idc, mac) if idc and mac else []
        if len(names) > 1:
            fields.wrong("mac", f"is of several machines: {', '.join(names)}")
        if fields.problems or not (idc and mac and first_at):
            reason = f"the agent: {'; '.join(fields.problems)}"
            findings.append(Finding(key=raw.sources[0], kind="agent", reason=reason))
            continue
        last = last_at or first_at
        known[idc, names[0]] = _Agent(mac=mac, first_at=first_at, last_at=last, sources=raw.sources)
    return known


def _last_seen(raw: RawAgent, fields: Fields) -> datetime | None:
    try:
        return parse_time(raw.parts["last_seen"]) if raw.parts.get("last_seen") else None
    except WrongTime as error:
        fields.wrong("last_seen", str(error))
        return None


def _machine(
    place: tuple[str, str], tasks: Sequence[OldTask], agent: _Agent | None
) -> Machine | None:
    """A machine as its reports and installs say; None where it has none of either."""
    reported = [task for task in tasks if task.hardware is not None]
    completed = [task for task in tasks if task.outcome is Outcome.COMPLETED]
    if not (reported or completed or agent):
        return None
    macs = [mac for task in reversed(tasks) for mac in task.macs]
    newest = max(reported, key=lambda task: task.changed_at, default=None)
    inventory = newest.hardware if newest else None
    times = [task.created_at for task in tasks] + ([agent.first_at] if agent else [])
    seen = [inventory.collected_at] if inventory else []
    seen += [agent.last_at] if agent else []
    changed = seen + [task.changed_at for task in completed]
    last = tasks[-1] if tasks else None
    return Machine(
        idc=place[0],
        sn=place[1],
        macs=tuple(dict.fromkeys([*macs, *([agent.mac] if agent else [])])),
        inventory=inventory,
        bmc_address=inventory.bmc_address if inventory else None,
        tags=last.tags if last else {},
        tagged_by=last.task_id if last else None,
        tenant=last.tenant if last else None,
        installed=_installed(completed),
        first_seen_at=min(times),
        reported_at=max(seen, default=None),
        updated_at=max(changed),
    )


def _installed(completed: Sequence[OldTask]) -> Installed | None:
    """What stands on the disk by the newest completed task."""
    if not completed:
        return None
    task = completed[-1]
    return Installed(
        generation=len(completed),
        task_id=task.task_id,
        os_type=task.os_type,
        os_version=task.os_version,
        installed_at=task.changed_at,
    )
