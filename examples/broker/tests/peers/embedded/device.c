/* The part of a device that knows no TLS: its arguments, when it visits, and what it says. */
#include "device.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static unsigned char last_ticket[4096];
static size_t last_length;

/* For each line that it reads it makes a visit, "again" or "anew", until its input ends. */
int main(int count, char **words)
{
    MUST(count == 7);
    struct device device = {words[1], words[2], words[3], words[4], words[5], words[6]};
    /* By lines also into a pipe, or else who reads waits for the last one. */
    MUST(setvbuf(stdout, NULL, _IOLBF, BUFSIZ) == 0);
    /* A write to a closed connection is an error like another. */
    MUST(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    prepare(&device);
    char line[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        int anew = strcmp(line, "anew\n") == 0;
        MUST(anew || strcmp(line, "again\n") == 0);
        /* It does not wait for ever for a broker that says nothing. */
        alarm(30);
        visit(&device, anew);
        alarm(0);
    }
    return 0;
}

/* Compares it with the ticket that the session before had. */
static void say_admitted(const char *how, const unsigned char *ticket, size_t length)
{
    int is_old = length == last_length && memcmp(ticket, last_ticket, length) == 0;
    printf("%s, %s ticket\n", how, length == 0 ? "no" : is_old ? "old" : "new");
    MUST(length <= sizeof last_ticket);
    memcpy(last_ticket, ticket, length);
    last_length = length;
}

void say_full(const unsigned char *ticket, size_t length)
{
    say_admitted("full", ticket, length);
}

void say_resumed(const unsigned char *ticket, size_t length)
{
    say_admitted("resumed", ticket, length);
}

void say_refused(int alert) { printf("refused, alert %d\n", alert); }

void say_failed(int code) { printf("failed, %d\n", code); }
