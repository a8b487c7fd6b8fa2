/* A device that visits the broker again and again, with the session that its TLS stack saved the
 * time before. What the stacks have in common is here and in device.c; each stack has a
 * file of its own with the two functions that do the work. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* Whom to visit, and who comes. The files are PEM. The version is "1.2", "1.3", or
 * "1.3-without-tickets". */
struct device {
    const char *host, *port, *server_ca, *chain, *key, *version;
};

/* Sets up all that is the same in each visit. */
void prepare(const struct device *device);

/* Makes one connection to 127.0.0.1, expects a certificate for the host there, exchanges CONNECT
 * and CONNACK, saves the session as bytes, and says with one of the four below how it went. It
 * offers the session that is saved, unless it comes anew. What is refused or fails leaves the saved
 * session as it was. */
void visit(const struct device *device, int anew);

/* It was let in; this is the ticket that its session has now, of no bytes where it has none. */
void say_full(const unsigned char *ticket, size_t length);
void say_resumed(const unsigned char *ticket, size_t length);
/* The broker sent this fatal alert. */
void say_refused(int alert);
/* Anything else went wrong; the code is the stack's own. */
void say_failed(int code);

/* MQTT 3.1.1: a clean session, a minute of keep-alive, a client identifier of no bytes. */
static const unsigned char CONNECT[] = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0};
/* No session was there before, and the connection is accepted. */
static const unsigned char CONNACK[] = {0x20, 2, 0, 0};

/* For what cannot fail unless the machine or this program is broken. */
#define MUST(is_so)                                                                                \
    do {                                                                                           \
        if (!(is_so)) {                                                                            \
            fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #is_so);                  \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
