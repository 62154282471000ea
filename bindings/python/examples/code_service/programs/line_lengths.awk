# A histogram of line lengths, ten columns to the bar.
{ bucket[int(length($0) / 10)]++; if (length($0) > longest) longest = length($0) }

END {
    for (i = 0; i <= int(longest / 10); i++) {
        bar = ""
        for (n = 0; n < bucket[i]; n++) bar = bar "*"
        printf "%2d-%2d %3d %s\n", i * 10, i * 10 + 9, bucket[i], bar
    }
    print "lines " NR ", longest " longest
}
