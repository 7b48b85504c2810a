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
