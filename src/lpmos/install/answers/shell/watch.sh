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
