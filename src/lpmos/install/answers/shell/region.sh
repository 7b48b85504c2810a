# What an install of LPMOS says to its region.
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
