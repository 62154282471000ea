# Compiles a C program inside the sandbox, as two files and with warnings as errors, and runs it.
set -eu
cat > check.h <<'HEADER'
unsigned long crc_of(const char *text);
HEADER
gcc -std=c99 -O1 -Wall -Wextra -Werror -c crc.c -o crc.o
cat > main.c <<'MAIN'
#include <stdio.h>
#include "check.h"

int main(int count, char **arguments) {
    for (int i = 1; i < count; i++) printf("%s %08lx\n", arguments[i], crc_of(arguments[i]));
    return count > 1 ? 0 : 2;
}
MAIN
gcc -std=c99 -O1 -Wall -Wextra -Werror main.c crc.o -o crc
./crc 123456789 'The quick brown fox jumps over the lazy dog'
status=0
./crc || status=$?
echo "no arguments: exit $status"
