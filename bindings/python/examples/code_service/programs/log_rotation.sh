# Rotates a log five times, keeping three old ones, and checks that no line is lost before its time.
set -eu
keep=3

rotate() {
    number=$keep
    rm -f "log.$number"
    while [ "$number" -gt 1 ]; do
        previous=$((number - 1))
        [ -e "log.$previous" ] && mv "log.$previous" "log.$number"
        number=$previous
    done
    [ -e log ] && mv log log.1
    : > log
}

day=1
while [ "$day" -le 5 ]; do
    hour=0
    while [ "$hour" -lt 24 ]; do
        printf 'day %d hour %02d\n' "$day" "$hour" >> log
        hour=$((hour + 1))
    done
    rotate
    day=$((day + 1))
done

for file in log log.1 log.2 log.3; do
    printf '%s: %s lines, first: %s\n' "$file" "$(wc -l < "$file" | tr -d ' ')" "$(head -n 1 "$file")"
done
[ ! -e log.4 ] && echo 'nothing older'
trap 'echo cleaned up' EXIT
rm log log.*
