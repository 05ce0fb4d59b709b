/* A worker with a libc: what it reaches of WASI are stdout, the environment, clocks and randomness. */
#include "tenantry.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int constructed;
__attribute__((constructor)) static void construct(void) { constructed = 1; }

TN_FETCH(request) {
    char line[256];
    unsigned char random[8] = {0}, none[8] = {0};
    const char *greeting = getenv("GREETING");
    printf("a line on %s\n", "stdout");
    fflush(stdout);
    fprintf(stderr, "a line on stderr\n");
    FILE *file = fopen("/etc/passwd", "r");
    int refused = !file && errno != 0;
    getentropy(random, sizeof random);
    snprintf(line, sizeof line, "%s constructed=%d refused=%d random=%d year>2000=%d float=%.2f\n",
             greeting ? greeting : "none", constructed, refused, memcmp(random, none, 8) != 0,
             time(NULL) > 946684800, 2.5);
    return tn_respond_text(200, tn_str(line));
}
