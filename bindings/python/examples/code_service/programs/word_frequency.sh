# The classic pipeline: the commonest words of a text, with the tools every Unix has.
set -eu
export LC_ALL=C

words() {
    tr -cs 'A-Za-z' '\n' < "$1" | tr 'A-Z' 'a-z' | sed '/^$/d'
}

words "$1" | sort | uniq -c | sort -k1,1nr -k2,2 | head -n 5 | while read -r count word; do
    printf '%s %s\n' "$word" "$count"
done
printf 'total %s\n' "$(words "$1" | wc -l | tr -d ' ')"
