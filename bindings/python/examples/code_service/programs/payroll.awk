# Sums hours per person and week day from lines of "name day hours"; the total row must agree with both.
BEGIN { split("Mon Tue Wed Thu Fri", days) }

NF != 3 || $3 !~ /^[0-9.]+$/ { bad++; next }

{
    hours[$1, $2] += $3
    person[$1] += $3
    day[$2] += $3
    all += $3
    if (!($1 in seen)) { seen[$1] = ++people; name[people] = $1 }
}

END {
    # A small insertion sort: the order of "for in" is nobody's promise.
    for (i = 2; i <= people; i++)
        for (j = i; j > 1 && name[j] < name[j - 1]; j--) { t = name[j]; name[j] = name[j - 1]; name[j - 1] = t }
    for (i = 1; i <= people; i++) {
        line = sprintf("%-6s", name[i])
        for (d = 1; d <= 5; d++) line = line sprintf(" %5.1f", hours[name[i], days[d]])
        printf "%s | %5.1f\n", line, person[name[i]]
    }
    line = sprintf("%-6s", "all")
    for (d = 1; d <= 5; d++) { line = line sprintf(" %5.1f", day[days[d]]); check += day[days[d]] }
    printf "%s | %5.1f\n", line, all
    print "bad lines " bad + 0 ", sums " (check == all ? "agree" : "DIFFER")
}
