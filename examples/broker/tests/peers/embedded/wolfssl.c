/* A device on wolfSSL, with TLS 1.2 or TLS 1.3. */
#include "device.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

static WOLFSSL_CTX *context;

static unsigned char saved[16384];
static int saved_length;

void prepare(const struct device *device)
{
    int takes_no_tickets = strcmp(device->version, "1.3-without-tickets") == 0;
    int is_1_3 = takes_no_tickets || strcmp(device->version, "1.3") == 0;
    MUST(is_1_3 || strcmp(device->version, "1.2") == 0);
    MUST(wolfSSL_Init() == WOLFSSL_SUCCESS);
    /* Each of the two methods speaks its own version and no other. */
    context = wolfSSL_CTX_new(is_1_3 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method());
    MUST(context != NULL);
    MUST(wolfSSL_CTX_load_verify_locations(context, device->server_ca, NULL) == WOLFSSL_SUCCESS);
    MUST(wolfSSL_CTX_use_certificate_chain_file(context, device->chain) == WOLFSSL_SUCCESS);
    MUST(wolfSSL_CTX_use_PrivateKey_file(context, device->key, WOLFSSL_FILETYPE_PEM) ==
         WOLFSSL_SUCCESS);
    wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER, NULL);
    MUST(wolfSSL_CTX_UseSessionTicket(context) == WOLFSSL_SUCCESS);
    /* It offers psk_ke alone then, with which rustls does not resume: it sends no tickets. Not to
     * ask for session tickets would not do, for that is about TLS 1.2. */
    if (takes_no_tickets)
        MUST(wolfSSL_CTX_no_dhe_psk(context) == 0);
}

static int reach(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    MUST(descriptor >= 0);
    MUST(connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0);
    return descriptor;
}

static void restore(WOLFSSL *ssl)
{
    const unsigned char *bytes = saved;
    WOLFSSL_SESSION *session = wolfSSL_d2i_SSL_SESSION(NULL, &bytes, saved_length);
    MUST(session != NULL);
    MUST(wolfSSL_set_session(ssl, session) == WOLFSSL_SUCCESS);
    wolfSSL_SESSION_free(session);
}

/* With TLS 1.3 the tickets are behind the handshake: it has read them when CONNACK is there. */
static void save(WOLFSSL *ssl)
{
    unsigned char *bytes = saved;
    WOLFSSL_SESSION *session = wolfSSL_get1_session(ssl);
    MUST(session != NULL);
    MUST(wolfSSL_i2d_SSL_SESSION(session, NULL) <= (int)sizeof saved);
    saved_length = wolfSSL_i2d_SSL_SESSION(session, &bytes);
    MUST(saved_length > 0);
    wolfSSL_SESSION_free(session);
}

/* Whether it was let in. With TLS 1.3 a refusal comes behind the handshake, too. */
static int exchange(WOLFSSL *ssl)
{
    unsigned char answer[sizeof CONNACK];
    if (wolfSSL_connect(ssl) != WOLFSSL_SUCCESS)
        return 0;
    if (wolfSSL_write(ssl, CONNECT, sizeof CONNECT) != sizeof CONNECT)
        return 0;
    int length = wolfSSL_read(ssl, answer, sizeof answer);
    if (length < 0)
        return 0;
    MUST(length == sizeof CONNACK && memcmp(answer, CONNACK, sizeof CONNACK) == 0);
    return 1;
}

void visit(const struct device *device, int anew)
{
    int connection = reach(device->port);
    WOLFSSL *ssl = wolfSSL_new(context);
    MUST(ssl != NULL);
    MUST(wolfSSL_check_domain_name(ssl, device->host) == WOLFSSL_SUCCESS);
    MUST(wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, device->host, strlen(device->host)) ==
         WOLFSSL_SUCCESS);
    MUST(wolfSSL_set_fd(ssl, connection) == WOLFSSL_SUCCESS);
    if (saved_length > 0 && !anew)
        restore(ssl);

    WOLFSSL_ALERT_HISTORY alerts;
    unsigned char ticket[4096];
    word32 length = sizeof ticket;
    if (exchange(ssl)) {
        MUST(wolfSSL_get_SessionTicket(ssl, ticket, &length) == WOLFSSL_SUCCESS);
        if (length > 0)
            save(ssl);
        (wolfSSL_session_reused(ssl) ? say_resumed : say_full)(ticket, length);
    } else if (wolfSSL_get_alert_history(ssl, &alerts) == WOLFSSL_SUCCESS &&
               alerts.last_rx.level == alert_fatal) {
        say_refused(alerts.last_rx.code);
    } else {
        say_failed(wolfSSL_get_error(ssl, 0));
    }
    wolfSSL_shutdown(ssl);
    wolfSSL_free(ssl);
    close(connection);
}
