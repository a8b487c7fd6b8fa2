/* A device on mbedTLS 2.28, which knows TLS 1.2 and nothing later. */
#include "device.h"

#include <string.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>

static mbedtls_ssl_config config;
static mbedtls_x509_crt server_ca, chain;
static mbedtls_pk_context key;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_bytes;

static unsigned char saved[16384];
static size_t saved_length;

/* How many certificates of the server were verified in this handshake. */
static int verified;

/* The library has no function that says whether a session was resumed. But it has to verify the
 * server's certificate in each full handshake and is shown none in a resumed one, so whether it
 * asked this tells. To compare session identifiers would be to guess at how it decides itself: it
 * makes one up for each ticket that it sends, and takes a server that repeats it to resume. */
static int on_verify(void *unused, mbedtls_x509_crt *certificate, int depth, uint32_t *flags)
{
    (void)unused, (void)certificate, (void)depth, (void)flags;
    verified++;
    return 0;
}

void prepare(const struct device *device)
{
    MUST(strcmp(device->version, "1.2") == 0);
    mbedtls_ssl_config_init(&config);
    mbedtls_x509_crt_init(&server_ca);
    mbedtls_x509_crt_init(&chain);
    mbedtls_pk_init(&key);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random_bytes);
    MUST(mbedtls_ctr_drbg_seed(&random_bytes, mbedtls_entropy_func, &entropy, NULL, 0) == 0);
    MUST(mbedtls_x509_crt_parse_file(&server_ca, device->server_ca) == 0);
    MUST(mbedtls_x509_crt_parse_file(&chain, device->chain) == 0);
    MUST(mbedtls_pk_parse_keyfile(&key, device->key, NULL) == 0);
    MUST(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT) == 0);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random_bytes);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&config, &server_ca, NULL);
    mbedtls_ssl_conf_verify(&config, on_verify, NULL);
    MUST(mbedtls_ssl_conf_own_cert(&config, &chain, &key) == 0);
}

static void restore(mbedtls_ssl_context *ssl)
{
    mbedtls_ssl_session session;
    mbedtls_ssl_session_init(&session);
    MUST(mbedtls_ssl_session_load(&session, saved, saved_length) == 0);
    MUST(mbedtls_ssl_set_session(ssl, &session) == 0);
    mbedtls_ssl_session_free(&session);
}

/* Zero, or the library's code for what went wrong. */
static int exchange(mbedtls_ssl_context *ssl)
{
    unsigned char answer[sizeof CONNACK];
    int result = mbedtls_ssl_handshake(ssl);
    if (result != 0)
        return result;
    result = mbedtls_ssl_write(ssl, CONNECT, sizeof CONNECT);
    if (result < 0)
        return result;
    result = mbedtls_ssl_read(ssl, answer, sizeof answer);
    if (result < 0)
        return result;
    MUST(result == sizeof CONNACK && memcmp(answer, CONNACK, sizeof CONNACK) == 0);
    return 0;
}

void visit(const struct device *device, int anew)
{
    mbedtls_net_context net;
    mbedtls_ssl_context ssl;
    mbedtls_net_init(&net);
    mbedtls_ssl_init(&ssl);
    MUST(mbedtls_net_connect(&net, "127.0.0.1", device->port, MBEDTLS_NET_PROTO_TCP) == 0);
    MUST(mbedtls_ssl_setup(&ssl, &config) == 0);
    MUST(mbedtls_ssl_set_hostname(&ssl, device->host) == 0);
    mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
    if (saved_length > 0 && !anew)
        restore(&ssl);

    verified = 0;
    int result = exchange(&ssl);
    if (result == 0) {
        const mbedtls_ssl_session *session = mbedtls_ssl_get_session_pointer(&ssl);
        MUST(mbedtls_ssl_session_save(session, saved, sizeof saved, &saved_length) == 0);
        (verified > 0 ? say_full : say_resumed)(session->ticket, session->ticket_len);
    } else if (result == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
        /* No function has the alert; it is the second byte of the message read last. */
        say_refused(ssl.in_msg[1]);
    } else {
        say_failed(result);
    }
    mbedtls_ssl_close_notify(&ssl);
    mbedtls_ssl_free(&ssl);
    mbedtls_net_free(&net);
}
