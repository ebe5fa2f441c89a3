/* SPDX-License-Identifier: MIT
 *
 * Content that tells by itself whether it is whole: see concurrency.c.
 *
 *   CRC32--- NUMBER-- SIZE-\n…       sealed: the checksum is of all that follows it
 *   rWHO NUMBER---- CRC32--- ~~~~~~~\n   a record that was appended
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "concurrency.h"

enum { CHECKSUM = 9 };

static unsigned crc32_of(const char *text, size_t n)
{
    unsigned crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Write without the NUL that sprintf() ends with. */
static void put_text(char *to, const char *text)
{
    memcpy(to, text, strlen(text));
}

size_t seal(char *text, unsigned number, unsigned *seed)
{
    char head[32];
    size_t size = (unsigned)rand_r(seed) % PAYLOAD;
    memset(text + SEAL, 'a' + (int)(number % 26), size);
    snprintf(head, sizeof head, "%08x %08u %05zu\n", 0u, number, size);
    put_text(text, head);
    snprintf(head, sizeof head, "%08x ", crc32_of(text + CHECKSUM, SEAL + size - CHECKSUM));
    put_text(text, head);
    return SEAL + size;
}

unsigned unseal(int fd, const char *name)
{
    char text[SEAL + PAYLOAD + 1];
    unsigned crc, number;
    size_t size;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n < 0 ? 0 : n] = '\0';
    must("fields", name, sscanf(text, "%8x %8u %5zu", &crc, &number, &size), 3);
    must("size", name, n, (long)(SEAL + size));
    must("checksum", name, crc, crc32_of(text + CHECKSUM, SEAL + size - CHECKSUM));
    return number;
}

void make_record(char *record, int who, unsigned number)
{
    char text[64];
    snprintf(text, sizeof text, "r%02d %010u ", who, number);
    unsigned crc = crc32_of(text, strlen(text));
    snprintf(text + strlen(text), 24, "%08x ~~~~~~~\n", crc);
    memcpy(record, text, RECORD);
}

bool read_record(const char *record, const char *name, int *who, unsigned *number)
{
    char again[RECORD];
    if (memcmp(record, "base", 4) == 0)
        return false;
    must("record", name, sscanf(record, "r%2d %10u", who, number), 2);
    make_record(again, *who, *number);
    must("record", name, memcmp(record, again, RECORD), 0);
    return true;
}
