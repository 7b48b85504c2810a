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
