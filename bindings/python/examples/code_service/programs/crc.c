/* CRC-32 as zip and PNG use it, with a table that is built on first use. */
#include "check.h"

static unsigned long table[256];

static void build_table(void) {
    for (unsigned long n = 0; n < 256; n++) {
        unsigned long value = n;
        for (int bit = 0; bit < 8; bit++) value = value & 1 ? 0xEDB88320UL ^ (value >> 1) : value >> 1;
        table[n] = value;
    }
}

unsigned long crc_of(const char *text) {
    unsigned long crc = 0xFFFFFFFFUL;
    if (table[1] == 0) build_table();
    for (; *text; text++) crc = table[(crc ^ (unsigned char)*text) & 0xFF] ^ (crc >> 8);
    return crc ^ 0xFFFFFFFFUL;
}
