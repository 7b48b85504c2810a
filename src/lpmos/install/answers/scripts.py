"""The shell that runs inside an installer: its words to the region, its disks, its last steps.

The rule: it needs POSIX sh and what Debian's installer has (busybox without timeouts), so that one
text serves all families; what differs stands in a family's module. A disk is found by what the
agent read in the same places of sysfs, never by its name alone, and a disk that is not there, or is
there twice, ends the install before anything is written.

Sources: POSIX.1-2017 (shell), sysfs of block devices, SPC-4 7.8.15 for page 80h, RFC 3986 for what
is encoded in a URL.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from lpmos.install.answers.order import Order
from lpmos.install.answers.quoting import shell, words
from lpmos.model.diskplan import Member
from lpmos.model.installplan import PlannedFile
from lpmos.model.trace import root_of

PLACE = "/tmp/lpmos"  # noqa: S108 - the installer's own file system, in RAM, with nobody else in it
HOOKS = f"{PLACE}/hooks.sh"
LATE_LOG = f"{PLACE}/late.log"
SECRETS = f"{PLACE}/secrets"
MASKED_CHARACTERS = 4
"""Shorter secrets would hide every line."""
SILENT_S = 1800
"""How long nothing of an installer may move before it counts as one that waits for an answer."""
MOVED_BYTES = 16 << 20
"""What a card receives, or a disk takes, of an installer that works: a network's broadcasts alone
bring some megabytes within `SILENT_S`."""

_HOOKS = r"""# What an install of LPMOS says to its region.
lpmos_progress_url=@PROGRESS@
lpmos_failed_url=@FAILED@
lpmos_installed_url=@INSTALLED@
lpmos_log_url=@LOG@
lpmos_logs=@LOGS@
lpmos_signs=@SIGNS@
lpmos_trace=@TRACE@

# Fetch a URL; the second argument is the file for the answer.
lpmos_fetch() {
    if command -v curl >/dev/null; then
        curl -fsS -m 30 -H "traceparent: $lpmos_trace" -o "$2" "$1"
        return
    fi
    wget -q --header="traceparent: $lpmos_trace" -O "$2" "$1" &
    lpmos_wget=$! lpmos_waited=0
    while kill -0 "$lpmos_wget" 2>/dev/null; do
        [ "$lpmos_waited" -lt 30 ] || { kill "$lpmos_wget"; break; }
        sleep 1
        lpmos_waited=$((lpmos_waited + 1))
    done
    wait "$lpmos_wget"
}

# Seconds since the kernel started, which no time server moves.
lpmos_seconds() {
    read -r lpmos_up lpmos_idle </proc/uptime
    echo "${lpmos_up%.*}"
}

# The same until it is answered, for up to five minutes.
lpmos_insist() {
    lpmos_end=$(($(lpmos_seconds) + 300))
    until lpmos_fetch "$1" "$2"; do
        [ "$(lpmos_seconds)" -lt "$lpmos_end" ] || return 1
        sleep 10
    done
}

# Standard input as a part of a URL's query.
lpmos_encoded() {
    tr -c '\n -~' '?' | sed -e 's/%/%25/g' -e 's/ /%20/g' -e 's/"/%22/g' -e 's/#/%23/g' \
        -e 's/&/%26/g' -e 's/+/%2B/g' -e "s/'/%27/g" -e 's/</%3C/g' -e 's/>/%3E/g' \
        -e 's/\[/%5B/g' -e 's/]/%5D/g' -e 's/\\/%5C/g' -e 's/\^/%5E/g' -e 's/`/%60/g' \
        -e 's/{/%7B/g' -e 's/|/%7C/g' -e 's/}/%7D/g' |
        awk 'NR > 1 { printf "%%0A" } { printf "%s", $0 }'
}

# lpmos_progress STAGE PERCENT TEXT...; a word that is lost holds nothing up.
lpmos_progress() {
    lpmos_stage=$1 lpmos_percent=$2
    shift 2
    lpmos_text=$(printf '%s' "$*" | lpmos_encoded)
    lpmos_query="stage=$lpmos_stage&percent=$lpmos_percent&message=$lpmos_text"
    lpmos_fetch "$lpmos_progress_url?$lpmos_query" /dev/null || true
}

# lpmos_failed TEXT [LOG]: the install ended; said once, with the end of the log, without secrets.
lpmos_failed() {
    [ ! -e @PLACE@/end ] || return 0
    : >@PLACE@/end
    lpmos_stream last
    lpmos_text=$1
    if [ -r "${2:-}" ]; then
        lpmos_tail=$(tail -n 15 "$2" | lpmos_shown | tail -c 900)
        lpmos_text=$(printf '%s\n%s' "$1" "$lpmos_tail")
    fi
    lpmos_text=$(printf '%s' "$lpmos_text" | lpmos_encoded)
    lpmos_insist "$lpmos_failed_url?message=$lpmos_text" /dev/null || true
}

# Standard input without lines that have a secret in them.
lpmos_shown() {
    [ -s @PLACE@/secrets ] || { cat; return; }
    awk 'NR == FNR { hidden[NR] = $0; next }
        { for (one in hidden) if (index($0, hidden[one])) { print "(a line with a secret)"; next } }
        1' @PLACE@/secrets -
}

# Hand the piece that waits to the region; the same one again until it is taken. What the region
# refuses weighs as much as ten calls that it did not hear.
lpmos_hand_in() {
    [ -e @PLACE@/log/piece ] || return 0
    lpmos_query=$(cat @PLACE@/log/query) lpmos_refused=1 lpmos_header="traceparent: $lpmos_trace"
    if command -v curl >/dev/null; then
        curl -fs -m 30 -o /dev/null -H "$lpmos_header" --data-binary @@PLACE@/log/piece \
            "$lpmos_log_url?$lpmos_query"
    else
        wget -q -T 30 -t 1 -O /dev/null --header="$lpmos_header" \
            --post-file=@PLACE@/log/piece "$lpmos_log_url?$lpmos_query"
    fi
    case $? in
    0) rm @PLACE@/log/piece ;;
    8 | 22) lpmos_refused=10 && return 1 ;;
    *) return 1 ;;
    esac
}

# lpmos_cut FILE LAST: the next whole lines of a log make a piece; of an old heap the newest part.
lpmos_cut() {
    [ -r "$1" ] && [ ! -e @PLACE@/log/piece ] || return 1
    lpmos_name=${1##*/}
    lpmos_from=$(cat "@PLACE@/log/at-$lpmos_name" 2>/dev/null || echo 0)
    lpmos_size=$(wc -c <"$1")
    [ "$lpmos_size" -ge "$lpmos_from" ] || lpmos_from=0
    lpmos_most=1000000
    [ -z "$2" ] || lpmos_most=100000
    lpmos_heap=$((lpmos_size - lpmos_from - lpmos_most))
    [ "$lpmos_heap" -gt 0 ] || lpmos_heap=0
    lpmos_from=$((lpmos_from + lpmos_heap))
    tail -c "+$((lpmos_from + 1))" "$1" 2>/dev/null | head -n 90 | head -c 16000 >@PLACE@/log/raw
    lpmos_taken=$(wc -c <@PLACE@/log/raw)
    [ "$lpmos_taken" -gt 0 ] || return 1
    if [ -n "$(tail -c 1 @PLACE@/log/raw)" ]; then
        lpmos_whole=$(wc -l <@PLACE@/log/raw)
        if [ "$lpmos_whole" -gt 0 ]; then
            head -n "$lpmos_whole" @PLACE@/log/raw >@PLACE@/log/cut
            mv @PLACE@/log/cut @PLACE@/log/raw
            lpmos_taken=$(wc -c <@PLACE@/log/raw)
        elif [ -z "$2" ] && [ "$lpmos_taken" -lt 16000 ]; then
            return 1
        else
            echo >>@PLACE@/log/raw
        fi
    fi
    lpmos_next=$(cat @PLACE@/log/next 2>/dev/null || echo 1)
    {
        [ "$lpmos_heap" = 0 ] || echo "[WARN] $lpmos_heap bytes of $1 are left out here"
        tr -d '\000\r' <@PLACE@/log/raw | lpmos_shown
    } >@PLACE@/log/cut
    echo "file=$lpmos_name&first=$lpmos_next" >@PLACE@/log/query
    echo "$((lpmos_next + $(wc -l <@PLACE@/log/cut)))" >@PLACE@/log/next
    echo "$((lpmos_from + lpmos_taken))" >"@PLACE@/log/at-$lpmos_name"
    mv @PLACE@/log/cut @PLACE@/log/piece
}

# Hand in what the logs have; with an argument to their ends, while the region may come back, for up
# to five minutes in all.
lpmos_stream() {
    [ -d @PLACE@/log ] || return 0
    lpmos_tries=0 lpmos_end=$(($(lpmos_seconds) + 300))
    until mkdir @PLACE@/log/held 2>/dev/null; do
        [ -n "${1:-}" ] || return 0
        [ "$lpmos_tries" -lt 45 ] || break
        lpmos_tries=$((lpmos_tries + 1))
        sleep 1
    done
    lpmos_tries=0 lpmos_pieces=0
    while [ "$lpmos_pieces" -lt 12 ] || { [ -n "${1:-}" ] && [ "$lpmos_pieces" -lt 60 ]; }; do
        [ -z "${1:-}" ] || [ "$(lpmos_seconds)" -lt "$lpmos_end" ] || break
        until lpmos_hand_in; do
            lpmos_tries=$((lpmos_tries + lpmos_refused))
            [ -n "${1:-}" ] && [ "$lpmos_tries" -lt 30 ] || break 2
            [ "$(lpmos_seconds)" -lt "$lpmos_end" ] || break 2
            sleep 10
        done
        lpmos_pieces=$((lpmos_pieces + 1))
        for lpmos_log in $lpmos_logs @PLACE@/late.log; do
            if lpmos_cut "$lpmos_log" "${1:-}"; then continue 2; fi
        done
        break
    done
    rmdir @PLACE@/log/held 2>/dev/null || true
}

# What the cards received and the disks took, in steps. While an array is synchronised the disks
# say nothing of the installer.
lpmos_moved() {
    awk '{ sub(/:/, " ") } NR > 2 && $1 != "lo" { bytes += $2 }
        END { print int(bytes / @MOVED@) }' /proc/net/dev 2>/dev/null
    grep -q 'resync *=\|recovery *=\|reshape *=' /proc/mdstat 2>/dev/null ||
        awk '$3 !~ /^(loop|ram|zram|dm-|md)/ { sectors += $10 }
            END { print int(sectors / (@MOVED@ / 512)) }' /proc/diskstats 2>/dev/null
}

# Whether nothing has moved for so long that the installer has to be waiting for an answer on its
# console: no log, no state, no card, no disk. The last script does not count: its steps have limits
# of their own.
lpmos_silent() {
    lpmos_sizes=$(ls -ln $lpmos_logs $lpmos_signs 2>/dev/null)
    lpmos_life="$lpmos_now $lpmos_sizes $(lpmos_moved)"
    if [ "$lpmos_life" != "$lpmos_known" ] || [ -z "$lpmos_sizes" ] ||
        [ -e @PLACE@/late.log ]; then
        lpmos_known=$lpmos_life lpmos_since=$(lpmos_seconds)
    fi
    [ "$(($(lpmos_seconds) - lpmos_since))" -ge @SILENT@ ]
}

# Say what lpmos_state prints (STAGE PERCENT TEXT) whenever it changes, until the end.
lpmos_watch() {
    lpmos_last='' lpmos_known='' lpmos_since=$(lpmos_seconds)
    while [ ! -e @PLACE@/end ]; do
        lpmos_now=$(lpmos_state)
        if [ -n "$lpmos_now" ] && [ "$lpmos_now" != "$lpmos_last" ]; then
            lpmos_last=$lpmos_now
            lpmos_progress $lpmos_now
        fi
        lpmos_stream
        if lpmos_silent; then
            lpmos_failed "the installer says nothing any more: it may wait on its console" \
                "$(ls -t $lpmos_logs 2>/dev/null | head -n 1)"
        fi
        sleep 5
    done
}

# The first of these files that says something, in one line.
lpmos_word() {
    for lpmos_file in "$@"; do
        lpmos_said=$(tr -d '\000' <"$lpmos_file" | awk '{ $1 = $1; printf "%s", $0 }')
        [ -z "$lpmos_said" ] || break
    done 2>/dev/null
    printf '%s' "$lpmos_said"
}

lpmos_serial() {
    lpmos_word "$1/serial" "$1/device/serial"
    [ -n "$lpmos_said" ] || [ ! -r "$1/device/vpd_pg80" ] ||
        dd if="$1/device/vpd_pg80" bs=1 skip=4 2>/dev/null | tr -d '\000' |
        awk '{ $1 = $1; printf "%s", $0 }'
}

lpmos_wwn() {
    lpmos_word "$1/wwid" "$1/device/wwid" | awk '{ if (sub(/^naa[.]/, "0x")) $0 = tolower($0) } 1'
}

# lpmos_disk NAME BYTES SERIAL WWN MODEL: the one disk of this size and identity, as it is named
# now. The name itself decides nothing: another kernel gives other names.
lpmos_disk() {
    lpmos_found=
    for lpmos_block in /sys/block/*; do
        lpmos_name=${lpmos_block##*/}
        case $lpmos_name in
        loop* | ram* | zram* | sr* | fd* | dm-* | md* | nbd* | mtd*) continue ;;
        esac
        [ "$(cat "$lpmos_block/hidden" 2>/dev/null)" != 1 ] || continue
        [ "$(cat "$lpmos_block/size" 2>/dev/null)" = "$(($2 / 512))" ] || continue
        [ -z "$3" ] || [ "$(lpmos_serial "$lpmos_block")" = "$3" ] || continue
        [ -z "$4" ] || [ "$(lpmos_wwn "$lpmos_block")" = "$4" ] || continue
        [ -n "$3$4" ] || [ -z "${5:-}" ] ||
            [ "$(lpmos_word "$lpmos_block/device/model")" = "$5" ] || continue
        lpmos_found="$lpmos_found /dev/$lpmos_name"
    done
    case $lpmos_found in
    ' /dev/'*' /dev/'*)
        lpmos_failed "several disks are the one of the plan (${3:-$4}):$lpmos_found"
        return 1
        ;;
    '')
        lpmos_failed "no disk here has $2 bytes, the serial number '$3' and the WWN '$4'"
        return 1
        ;;
    esac
    echo "${lpmos_found# }"
}

# Names of all that stands on the block $1, or on a partition of it.
lpmos_holders() {
    for lpmos_held in "/sys/class/block/$1"/holders/* "/sys/class/block/$1/$1"*/holders/*; do
        [ -e "$lpmos_held" ] || continue
        echo "${lpmos_held##*/}"
        lpmos_holders "${lpmos_held##*/}"
    done
}

# The disks below the block $1.
lpmos_below() {
    set -- "$1" $(ls "/sys/class/block/$1/slaves" 2>/dev/null)
    if [ "$#" -gt 1 ]; then
        shift
        for lpmos_slave in "$@"; do lpmos_below "$lpmos_slave"; done
        return
    fi
    lpmos_leaf=$(readlink -f "/sys/class/block/$1")
    [ ! -e "$lpmos_leaf/partition" ] || lpmos_leaf=${lpmos_leaf%/*}
    echo "/dev/${lpmos_leaf##*/}"
}

# lpmos_alone DISK...: what is assembled on these disks stands on no other disk, which would be
# emptied with them.
lpmos_alone() {
    for lpmos_one in "$@"; do
        for lpmos_top in $(lpmos_holders "${lpmos_one##*/}"); do
            for lpmos_under in $(lpmos_below "$lpmos_top"); do
                case " $* " in
                *" $lpmos_under "*) ;;
                *)
                    lpmos_failed "$lpmos_top on $lpmos_one stands on $lpmos_under, too"
                    return 1
                    ;;
                esac
            done
        done
    done
}

# lpmos_part DISK NUMBER: the device of a partition.
lpmos_part() {
    case $1 in
    *[0-9]) echo "${1}p$2" ;;
    *) echo "$1$2" ;;
    esac
}
"""


def hooks(order: Order, logs: Iterable[str] = (), signs: Iterable[str] = ()) -> str:
    """The functions that all scripts of an install share; `logs` and `signs` as in `start`."""
    urls = {
        "PROGRESS": shell(order.urls.progress),
        "FAILED": shell(order.urls.failed),
        "INSTALLED": shell(order.urls.installed),
        "LOG": shell(order.urls.log),
        "LOGS": shell(" ".join(logs)),
        "SIGNS": shell(" ".join(signs)),
        "TRACE": shell(str(root_of(order.task))),
        "PLACE": PLACE,
        "SILENT": str(SILENT_S),
        "MOVED": str(MOVED_BYTES),
    }
    return re.sub("@([A-Z]+)@", lambda found: urls[found[1]], _HOOKS)


def start(
    order: Order,
    state: str,
    logs: Iterable[str],
    *,
    signs: Iterable[str] = (),
    background: str = "",
) -> str:
    """What the first script begins with: the functions, the first word, and the watching.

    Args:
        order: what is installed.
        state: shell lines that print `STAGE PERCENT TEXT`, run every few seconds.
        logs: the installer's own log files, which are handed in as they grow; patterns too.
        signs: more files that grow while it works, which are not handed in.
        background: the command before one that shall outlive the script; else it is the shell's.
    """
    watch = f"{background} sh {PLACE}/watch.sh" if background else f"sh {PLACE}/watch.sh"
    return "\n".join(
        [
            f"mkdir -p {PLACE}/log",
            f"cat >{HOOKS} <<'LPMOS_HOOKS'",
            f"{hooks(order, logs, signs)}LPMOS_HOOKS",
            f". {HOOKS}",
            *_hidden(order),
            f"cat >{PLACE}/watch.sh <<'LPMOS_WATCH'",
            f". {HOOKS}",
            "lpmos_state() {",
            state.strip("\n"),
            "}",
            "lpmos_watch",
            "LPMOS_WATCH",
            "lpmos_progress partitioning 1 the installer runs",
            f"{watch} </dev/null >/dev/null 2>&1 3>&-{'' if background else ' &'}",
            "",
        ]
    )


def find_disks(order: Order) -> str:
    """Shell lines that set `$lpmos_disk1` and so on to the names that the plan's disks have now.

    Where something assembled on them stands on another disk, too, they end the install.
    """
    found = "".join(
        f"lpmos_disk{number}=$(lpmos_disk {words(_identity(disk))}) || exit 1\n"
        for number, disk in enumerate(order.disks.disks, 1)
    )
    names = " ".join(f"$lpmos_disk{number}" for number in range(1, len(order.disks.disks) + 1))
    return f"{found}lpmos_alone {names} || exit 1\n"


def _identity(disk: Member) -> tuple[str, ...]:
    named = (disk.serial, disk.wwn, disk.model)
    return (disk.device, str(disk.size_bytes), *(word or "" for word in named))


def named_disks(order: Order, files: str) -> str:
    """Shell lines that put these names into files, in place of those that `placeholder` gives."""
    edits = " ".join(
        f'-e "s|{placeholder(number)}|$lpmos_disk{number}|g"'
        for number in range(1, len(order.disks.disks) + 1)
    )
    return f"sed {edits} {files}\n"


def placeholder(number: int) -> str:
    """What stands for a disk, counted from 1, until it is found."""
    return f"/dev/lpmos-disk-{number:02d}"


class Ending(NamedTuple):
    """How a family's last script is its own.

    `target` is the shell's word for the new system's root, `run` the command before one that runs
    in it; `before` and `after` are shell lines around all else, a failing one ends the install.
    """

    target: str
    run: str = 'chroot "$target"'
    files: tuple[PlannedFile, ...] = ()
    before: str = ""
    after: str = ""


def late(order: Order, own: Ending) -> str:
    """The last script: files, the task's own steps, the first boot's word, and the end."""
    lines = [
        f". {HOOKS}",
        f"target={own.target}",
        "lpmos_progress configuring 90 the files of this machine",
        *_hidden(order),
        "(",
        "set -eu",
        own.before.strip("\n"),
        *(_written(file) for file in own.files),
        *_steps(order, own.run),
        "lpmos_progress configuring 98 what tells that this system came up",
        f"lpmos_insist {shell(order.urls.first_boot)} {PLACE}/first-boot.sh",
        f'sh {PLACE}/first-boot.sh "$target"',
        own.after.strip("\n"),
        f") >{LATE_LOG} 2>&1",
        'if [ "$?" != 0 ]; then',
        f'    lpmos_failed "the installed system could not be finished" {LATE_LOG}',
        "    exit 1",
        "fi",
        f": >{PLACE}/end",
        "lpmos_stream last",
        'lpmos_insist "$lpmos_installed_url" /dev/null',
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _hidden(order: Order) -> list[str]:
    """The line that keeps what no log that is handed in may show; none where there is nothing."""
    hidden = [text for text in order.secrets.texts if len(text) >= MASKED_CHARACTERS]
    return [f"printf '%s\\n' {words(_lines(hidden))} >{SECRETS}"] if hidden else []


def failure(log: str) -> str:
    """The script for an installer that gave up; it says nothing where that was said before."""
    return f'. {HOOKS}\nlpmos_failed "the installer gave up" {log}\n'


def authorized_keys(order: Order) -> tuple[PlannedFile, ...]:
    """Who may log in as root."""
    keys = "".join(f"{key}\n" for key in order.task.ssh_keys)
    if not keys:
        return ()
    return (PlannedFile(path="/root/.ssh/authorized_keys", content=keys, mode=0o600),)


def _written(file: PlannedFile) -> str:
    path = f'"$target"{shell(file.path)}'
    folder = f'"$target"{shell(file.path.rpartition("/")[0])}'
    private = f"chmod 700 {folder}; " if folder.endswith("/.ssh'") else ""
    return (
        f"mkdir -p {folder}; {private}printf %s {shell(file.content)} >{path};"
        f" chmod {file.mode:o} {path}"
    )


def _steps(order: Order, run: str) -> list[str]:
    """Each step is a file of the new system while it runs, as its own shell reads it."""
    place = "/var/lib/lpmos-step.sh"
    lines = []
    for number, step in enumerate(order.steps):
        percent = 91 + 6 * number // len(order.steps)
        lines += [
            f"lpmos_progress configuring {percent} {shell(step.title)}",
            f'printf %s {shell(step.script)} >"$target{place}"; chmod 700 "$target{place}"',
            f"{run} timeout {step.timeout_s} /bin/sh {place} ||"
            f" {{ echo {shell(f'failed: {step.title}')}; exit 1; }}",
            f'rm -f "$target{place}"',
        ]
    return lines


def _lines(texts: Iterable[str]) -> list[str]:
    found = (line for text in texts for line in text.split("\n"))
    return [line for line in found if len(line) >= MASKED_CHARACTERS]
