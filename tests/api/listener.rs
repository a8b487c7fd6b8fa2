//! From an accepted stream to a connection: how long it may take, what each side gets to know,
//! and what is said about it.

use std::sync::Arc;
use std::time::Duration;

use mqtls::instance::Outcome;
use mqtls::trust::{Refusal, SubjectAltName};
use mqtls::{
    Acceptor, CaStatus, Caller, ClientAuth, Connection, DeleteCaCertificate, Refused, RegisterCa,
    Sha256,
};
use rcgen::{DnType, DnValue, SanType, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, ClientConfig, ProtocolVersion, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tracing::Level;

use crate::support::{
    Door, Identity, Log, Logged, NOW, Peer, TestCa, VERSIONS, client, hello_by_hand, key, provider,
    record,
};

const HELLO_DEADLINE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

#[tokio::test(start_paused = true)]
async fn c01_a_slow_client_is_cut_at_its_deadline_and_others_are_not_kept() {
    let door = Door::open_with(ClientAuth::Optional);
    let start = Instant::now();

    let (_silent, far) = tokio::io::duplex(64);
    let silent = knock(&door.acceptor, far);

    let (mut near, far) = tokio::io::duplex(64);
    let dripping = knock(&door.acceptor, far);
    let dripped = tokio::spawn(async move {
        for byte in record(22, 0x0301, &hello_by_hand(0x0303, None)) {
            if near.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });

    let mut stalls = Vec::new();
    for version in VERSIONS {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let stalling = knock(&door.acceptor, far);
        let mut hello = Peer::of(client(None, version));
        near.write_all(&hello.flight()).await.unwrap();
        hello.read_some(&mut near).await;
        stalls.push((stalling, near));
    }

    door.knock(None, VERSIONS[0]).await.admitted().await;
    door.knock(None, VERSIONS[1]).await.admitted().await;
    assert!(start.elapsed() < Duration::from_millis(100));

    for slow in [silent, dripping] {
        assert!(matches!(slow.await.unwrap(), Err(Refused::HelloTimeout)));
        assert_in_time(start, HELLO_DEADLINE);
    }
    for (stalling, mut near) in stalls {
        assert!(matches!(stalling.await.unwrap(), Err(Refused::HandshakeTimeout)));
        assert_in_time(start, DEADLINE);
        assert_eq!(near.read(&mut [0; 1]).await.unwrap(), 0, "the stream is closed");
    }
    dripped.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn c01_the_whole_deadline_also_ends_the_hello() {
    let door = Door::open();
    let acceptor = door.acceptor.clone().deadline(Duration::from_secs(2));
    let start = Instant::now();
    let (_near, far) = tokio::io::duplex(64);
    assert!(matches!(acceptor.accept(far).await, Err(Refused::HelloTimeout)));
    assert_in_time(start, Duration::from_secs(2));

    let acceptor = door.acceptor.clone().hello_deadline(Duration::from_secs(1));
    let start = Instant::now();
    let (_near, far) = tokio::io::duplex(64);
    assert!(matches!(acceptor.accept(far).await, Err(Refused::HelloTimeout)));
    assert_in_time(start, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn c01_no_setting_is_too_large() {
    let door = Door::open_with(ClientAuth::Disabled);
    let forever = || {
        let acceptor = door.acceptor.clone().deadline(Duration::MAX).hello_deadline(Duration::MAX);
        acceptor.patience(Duration::MAX).permits(usize::MAX).waiting(usize::MAX).hellos(usize::MAX)
    };
    let (near, far) = pipes(4096);
    let connector = TlsConnector::from(Arc::new(client(None, VERSIONS[1])));
    let acceptor = forever();
    let (server, connected) =
        tokio::join!(acceptor.accept(far), connector.connect(server_name(), near));
    server.unwrap();
    connected.unwrap();
    assert_eq!(forever().drain(Duration::MAX).await.cut, 0);

    let start = Instant::now();
    let (_silent, far) = tokio::io::duplex(64);
    assert!(matches!(forever().accept(far).await, Err(Refused::Draining)));
    let start_over = Acceptor::new(&door.instance).deadline(Duration::MAX);
    let start_over = start_over.hello_deadline(Duration::MAX);
    let (_silent, far) = tokio::io::duplex(64);
    assert!(matches!(start_over.accept(far).await, Err(Refused::HelloTimeout)));
    assert_in_time(start, Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn c01_a_client_that_never_reads_its_alert_is_left_after_a_second() {
    let door = Door::unconfigured(ClientAuth::Required, provider());
    let start = Instant::now();
    let (mut near, far) = tokio::io::duplex(4);
    let refused = knock(&door.acceptor, far);
    near.write_all(&record(22, 0x0301, &hello_by_hand(0x0303, None))).await.unwrap();
    assert!(matches!(refused.await.unwrap(), Err(Refused::UnrecognizedName(None))));
    assert_in_time(start, Duration::from_secs(1));
}

#[tokio::test]
async fn c02_a_hello_in_pieces_of_one_byte_reaches_the_same_instance() {
    for version in VERSIONS {
        let door = Door::open_with(ClientAuth::Disabled);
        let (near, far) = pipes(1);
        let connector = TlsConnector::from(Arc::new(client(None, version)));
        let connecting = connector.connect(server_name(), near);
        let (server, connected) = tokio::join!(door.acceptor.accept(far), connecting);
        assert_eq!(server.unwrap().instance(), door.instance.id());
        connected.unwrap();

        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let server = knock(&door.acceptor, far);
        let mut hello = Peer::of(client(None, version));
        let whole = hello.flight();
        let (header, message) = whole.split_at(5);
        assert_eq!(
            (header[0], usize::from(header[3]) << 8 | usize::from(header[4])),
            (22, message.len())
        );
        for byte in message {
            near.write_all(&record(22, 0x0301, &[*byte])).await.unwrap();
        }
        hello.read_some(&mut near).await;
        hello.go_on(&mut near).await;
        let connection = server.await.unwrap().unwrap();
        assert_eq!(connection.instance(), door.instance.id());
        assert_eq!(connection.server_name(), Some(&"localhost".parse().unwrap()));
    }
}

#[tokio::test]
async fn c02_what_is_no_tls_that_is_spoken_here_is_refused_and_counted() {
    const PROTOCOL_VERSION: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 70];
    let door = Door::open();
    let not_tls: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n",
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04dev1",
        b"\0\0\0\0\0\0\0\0",
        &[0xff; 600],
    ];
    let mut count = 0;
    for bytes in not_tls {
        let (refused, _) = door.answer_to(bytes).await;
        assert!(matches!(refused, Refused::Tls(rustls::Error::InvalidMessage(_))), "{refused:?}");
        count += 1;
        assert_eq!(door.instances.stats().of(Outcome::ProtocolError), count);
    }
    for version in [0x0300, 0x0301, 0x0302] {
        let hello = record(22, 0x0301, &hello_by_hand(version, None));
        let (refused, answer) = door.answer_to(&hello).await;
        assert!(matches!(refused, Refused::Tls(rustls::Error::PeerIncompatible(_))), "{refused:?}");
        assert_eq!(answer, PROTOCOL_VERSION, "{version:#x}");
        count += 1;
        assert_eq!(door.instances.stats().of(Outcome::ProtocolError), count);
    }
    let (refused, answer) = door.answer_to(&record(22, 0x0301, &hello_by_hand(0x0303, None))).await;
    assert!(matches!(refused, Refused::Gone(_)), "{refused:?}");
    assert_eq!(answer[..3], [22, 3, 3], "TLS 1.2 is spoken");
}

#[tokio::test(start_paused = true)]
async fn c03_a_permit_is_taken_by_a_hello_waited_for_and_given_back() {
    let door = Door::open_with(ClientAuth::Disabled);
    let acceptor = door.acceptor.clone().permits(1).patience(6 * DEADLINE);
    let silent: Vec<_> = (0..3).map(|_| tokio::io::duplex(64)).collect();
    let silent: Vec<_> =
        silent.into_iter().map(|(near, far)| (near, knock(&acceptor, far))).collect();

    let start = Instant::now();
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let holder = knock(&acceptor.clone().deadline(Duration::from_secs(60)), far);
    let mut holding = Peer::of(client(None, VERSIONS[0]));
    near.write_all(&holding.flight()).await.unwrap();
    holding.read_some(&mut near).await;
    assert!(start.elapsed() < Duration::from_millis(100), "silent clients hold no permit");

    let (mut waiting_near, far) = tokio::io::duplex(64 * 1024);
    let mut late = Peer::of(client(None, VERSIONS[0]));
    waiting_near.write_all(&late.flight()).await.unwrap();
    assert!(matches!(acceptor.accept(far).await, Err(Refused::HandshakeTimeout)));
    assert_in_time(start, DEADLINE);
    assert_eq!(waiting_near.read(&mut [0; 1]).await.unwrap(), 0, "not one byte was said to it");

    let (mut waiting_near, far) = tokio::io::duplex(64 * 1024);
    let waiting = knock(&acceptor, far);
    let mut patient = Peer::of(client(None, VERSIONS[0]));
    waiting_near.write_all(&patient.flight()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished());
    holding.go_on(&mut near).await;
    holder.await.unwrap().unwrap();
    patient.read_some(&mut waiting_near).await;
    patient.go_on(&mut waiting_near).await;
    waiting.await.unwrap().unwrap();
    assert_in_time(start, DEADLINE + Duration::from_secs(3));
    for (_near, silent) in silent {
        assert!(matches!(silent.await.unwrap(), Err(Refused::HelloTimeout)));
    }
}

#[tokio::test]
async fn alpn_is_offered_and_never_demanded() {
    let cases: [(&[&str], Option<&str>); 9] = [
        (&["mqtt"], Some("mqtt")),
        (&["x-amzn-mqtt-ca"], Some("x-amzn-mqtt-ca")),
        (&["x-amzn-mqtt-ca", "mqtt"], Some("mqtt")),
        (&["h2", "mqtt"], Some("mqtt")),
        (&["h2", "http/1.1"], None),
        (&["MQTT"], None),
        (&["mqttx"], None),
        (&["mqt"], None),
        (&[], None),
    ];
    let door = Door::open_with(ClientAuth::Disabled);
    for version in VERSIONS {
        for (offered, agreed) in cases {
            let mut config = client(None, version);
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let visit = door.visit(config, "localhost").await;
            let seen = visit.client.as_ref().unwrap().get_ref().1.alpn_protocol();
            assert_eq!(seen, agreed.map(str::as_bytes), "{offered:?}");
            let connection = visit.admitted().await;
            assert_eq!(connection.alpn(), agreed.map(str::as_bytes), "{offered:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_knows_its_instance_its_name_and_its_device() {
    for (version, protocol) in
        VERSIONS.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
    {
        let door = Door::open_with(ClientAuth::Optional);
        let ca = TestCa::root("fleet");
        door.register(&ca, CaStatus::Active).unwrap();
        let device = ca.device_with("device-1", |params| {
            params.distinguished_name.push(DnType::OrganizationName, "Acme");
            params.serial_number = Some(vec![0x0a, 0x0b].into());
            params.subject_alt_names = vec![
                SanType::DnsName("device-1.a.com".try_into().unwrap()),
                SanType::Rfc822Name("device@a.com".try_into().unwrap()),
                SanType::URI("spiffe://a.com/device-1".try_into().unwrap()),
                SanType::IpAddress([192, 0, 2, 1].into()),
            ];
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2027, 1, 1);
        });
        let visit = door.visit(client(Some(&device), version), "Some.Where.example").await;
        let connection = visit.admitted().await;
        assert_eq!(connection.instance(), door.instance.id());
        assert_eq!(connection.server_name(), Some(&"some.where.example".parse().unwrap()));
        assert_eq!(connection.tls_version(), Some(protocol));
        assert_eq!(connection.alpn(), None);
        let shown = connection.device().unwrap();
        assert_eq!(shown.subject(), "CN=device-1, O=Acme");
        assert_eq!(shown.common_name(), Some("device-1"));
        assert_eq!(shown.serial().to_string(), "0a0b");
        assert_eq!(shown.sha256(), Sha256::of(device.end_entity()));
        assert_eq!(shown.ca_serial(), &ca.serial());
        assert_eq!(shown.validity().not_before.as_secs(), NOW);
        assert_eq!(
            shown.subject_alt_names(),
            [
                SubjectAltName::Dns("device-1.a.com".to_owned()),
                SubjectAltName::Email("device@a.com".to_owned()),
                SubjectAltName::Uri("spiffe://a.com/device-1".to_owned()),
                SubjectAltName::Ip([192, 0, 2, 1].into()),
            ]
        );

        let connection = door.visit(client(None, version), "192.0.2.1").await.admitted().await;
        assert!(connection.device().is_none());
        assert_eq!(connection.server_name(), None, "an address is no server name");
    }
}

#[tokio::test]
async fn any_stream_of_bytes_is_accepted() {
    let door = Door::open_with(ClientAuth::Disabled);
    for version in VERSIONS {
        let (near, far) = pipes(4096);
        let far: Box<dyn Stream> = Box::new(far);
        let connector = TlsConnector::from(Arc::new(client(None, version)));
        let connecting = connector.connect(server_name(), near);
        let (server, client) = tokio::join!(door.acceptor.accept(far), connecting);
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        server.write_all(b"!").await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
    }
}

#[tokio::test(start_paused = true)]
async fn each_outcome_before_the_device_is_judged_is_counted_once_where_it_belongs() {
    for version in VERSIONS {
        let door = Door::unconfigured(ClientAuth::Required, provider());
        let mut tally = Tally::of(&door);
        door.knock(None, version).await.server.unwrap_err();
        tally.expect(Outcome::UnrecognizedName);
        door.put("default", &door.server_ca.server(&["localhost"]));
        door.set_sni("default", "").unwrap();

        let (_silent, far) = tokio::io::duplex(64);
        door.acceptor.accept(far).await.unwrap_err();
        tally.expect(Outcome::HelloTimeout);

        let (mut near, far) = tokio::io::duplex(64 * 1024);
        near.write_all(&Peer::of(client(None, version)).flight()).await.unwrap();
        door.acceptor.accept(far).await.unwrap_err();
        tally.expect(Outcome::HandshakeTimeout);

        door.answer_to(b"no TLS at all").await;
        tally.expect(Outcome::ProtocolError);
        door.answer_to(b"").await;
        tally.expect(Outcome::ClientGone);
        door.answer_to(&Peer::of(client(None, version)).flight()).await;
        tally.expect(Outcome::ClientGone);

        let trusts_nobody = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connecting = TlsConnector::from(Arc::new(trusts_nobody)).connect(server_name(), near);
        let (server, client_error) = tokio::join!(door.acceptor.accept(far), connecting);
        client_error.unwrap_err();
        match server.unwrap_err() {
            Refused::Tls(rustls::Error::AlertReceived(AlertDescription::UnknownCA)) => {}
            other => panic!("{other:?}"),
        }
        tally.expect(Outcome::ClientAlert);

        let server = door.server_ca.server_over(key(&rcgen::PKCS_ED25519), &["localhost"], |_| {});
        door.put("ed25519", &server);
        door.set_sni("ed25519", "").unwrap();
        let hello = record(22, 0x0301, &hello_by_hand(0x0303, None));
        door.answer_to(&hello).await;
        tally.expect(Outcome::NoUsableCertificate);
    }
}

#[tokio::test(start_paused = true)]
async fn each_verdict_on_a_device_is_counted_once_where_it_belongs() {
    for version in VERSIONS {
        let fleet = Fleet::new();
        let door = &fleet.door;
        let mut tally = Tally::of(door);
        door.knock(Some(&fleet.device), version).await.admitted().await;
        tally.expect(Outcome::Admitted);

        let visit = door.knock(None, version).await;
        assert_eq!(visit.client.unwrap_err(), Some(AlertDescription::CertificateRequired));
        assert!(matches!(visit.server.unwrap_err(), Refused::NoDeviceCertificate));
        tally.expect(Outcome::NoDeviceCertificate);

        for (identity, refusal, outcome) in fleet.refused() {
            let config = showing(&identity, &identity, version);
            let found = door.visit(config, "localhost").await.not_believed();
            assert_eq!(found, refusal);
            tally.expect(outcome);
        }

        let config = showing(&fleet.device, &fleet.stranger, version);
        let visit = door.visit(config, "localhost").await;
        assert!(visit.client.is_err());
        match visit.server.unwrap_err() {
            Refused::Device(refusal) => assert_eq!(refusal, Refusal::NotProven),
            other => panic!("{other:?}"),
        }
        tally.expect(Outcome::NotProven);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_above_debug_is_said_because_of_a_peer_alone() {
    let fleet = Fleet::new();
    let unconfigured = Door::unconfigured(ClientAuth::Required, provider());
    let log = Log::start();
    for version in VERSIONS {
        fleet.door.knock(Some(&fleet.device), version).await.admitted().await;
        fleet.door.knock(None, version).await.server.unwrap_err();
        unconfigured.knock(Some(&fleet.device), version).await.server.unwrap_err();
        for (identity, _, _) in fleet.refused() {
            let config = showing(&identity, &identity, version);
            fleet.door.visit(config, "localhost").await.server.unwrap_err();
        }
        let config = showing(&fleet.device, &fleet.stranger, version);
        fleet.door.visit(config, "localhost").await.server.unwrap_err();
        fleet.door.answer_to(b"no TLS at all").await;
        fleet.door.answer_to(b"").await;
    }
    let logged = log.so_far();
    for what in ["message=admitted", "message=refused", "connection instance=", "server_name="] {
        assert!(logged.iter().any(|logged| logged.text.contains(what)), "{what}: {logged:?}");
    }
    for logged in logged {
        assert!(logged.level >= Level::DEBUG, "{logged:?}");
    }
}

#[tokio::test]
async fn what_an_operator_changes_is_said_at_info() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    let log = Log::start();
    door.register(&ca, CaStatus::Active).unwrap();
    door.deactivate(&ca);
    door.activate(&ca);
    door.delete(&ca);
    door.set_sni("default", "").unwrap();
    door.set_sni("nowhere", "").unwrap_err();
    let at_info: Vec<Logged> =
        log.so_far().into_iter().filter(|logged| logged.level == Level::INFO).collect();
    let actions = [
        ("RegisterCaCertificate", "applied"),
        ("InactivateCaCertificate", "applied"),
        ("ActiveCaCertificate", "applied"),
        ("DeleteCaCertificate", "applied"),
        ("SetSniConfig", "applied"),
        ("SetSniConfig", "refused"),
    ];
    assert_eq!(at_info.len(), actions.len(), "{at_info:?}");
    for (Logged { text, .. }, (action, outcome)) in at_info.iter().zip(actions) {
        assert!(text.contains(&format!("message=operation {outcome}")), "{text}");
        assert!(text.contains(&format!("action={action:?}")), "{text}");
        assert!(text.contains("request_id=") && text.contains("instance=mqtt-test"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_certificate_says_reaches_the_log_escaped() {
    const NASTY: &str = "evil\n2026-01-01 INFO admitted\x1b[2J\r\u{202e}";
    let door = Door::open();
    let ca = TestCa::root_with("fleet", |params| {
        params.distinguished_name.push(DnType::OrganizationName, NASTY);
    });
    let log = Log::start();
    RegisterCa {
        mqtt_instance_id: door.instance.id().clone(),
        name: NASTY.to_owned(),
        status: CaStatus::Active,
        certificate: ca.certificate(),
    }
    .apply(&door.instances, &Caller::local())
    .unwrap();
    let device = ca.device_with("", |params| {
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(NASTY.to_owned()));
        params.subject_alt_names =
            vec![SanType::URI(NASTY.replace('\u{202e}', "").try_into().unwrap())];
    });
    let stranger = TestCa::root(NASTY).device(NASTY);
    for version in VERSIONS {
        let connection = door.knock(Some(&device), version).await.admitted().await;
        assert_eq!(connection.device().unwrap().common_name(), Some(NASTY));
        door.knock(Some(&stranger), version).await.not_believed();
        let mut config = client(Some(&device), version);
        config.alpn_protocols = vec![b"mqtt".to_vec(), NASTY.as_bytes().to_vec()];
        door.visit(config, "localhost").await.admitted().await;
    }
    let sn = ca.serial();
    let operation = DeleteCaCertificate { mqtt_instance_id: door.instance.id().clone(), sn };
    operation.apply(&door.instances, &Caller::local()).unwrap();

    let logged = log.so_far();
    let escaped = logged.iter().filter(|logged| logged.text.contains("evil\\n2026"));
    assert!(escaped.count() > 4, "{logged:?}");
    for Logged { text, .. } in logged {
        let raw = text.chars().find(|c| c.is_control() || *c == '\u{202e}');
        assert_eq!(raw, None, "{text:?}");
    }
}

#[tokio::test]
async fn a_refused_client_reads_its_alert_although_it_has_sent_more_than_was_read() {
    const ILLEGAL_PARAMETER: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 47];
    let mut more = record(22, 0x0301, &hello_by_hand(0x0303, None));
    more.extend([0x5a; 12 * 1024]);
    let door = Door::unconfigured(ClientAuth::Required, provider());
    assert_eq!(told_over_tcp(&door, &more).await, UNRECOGNIZED_NAME);

    let bad_name = crate::support::host_names(&[b"a..com"]);
    let mut more = record(22, 0x0301, &hello_by_hand(0x0303, Some(&bad_name)));
    more.extend([0x5a; 12 * 1024]);
    assert_eq!(told_over_tcp(&door, &more).await, ILLEGAL_PARAMETER);

    let door = Door::open();
    let stranger = TestCa::root("stranger").device("device-1");
    let (listener, near) = loopback().await;
    let server = async {
        let (far, _) = listener.accept().await.unwrap();
        door.acceptor.accept(far).await
    };
    let client = async {
        let config = client(Some(&stranger), &rustls::version::TLS13);
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(server_name(), near).await.unwrap();
        stream.write_all(&[0; 12 * 1024]).await.unwrap();
        stream.flush().await.unwrap();
        let told = stream.read_u8().await.unwrap_err();
        for _ in 0..2 {
            stream.get_mut().0.write_all(&[0x5a; 1024]).await.unwrap();
        }
        told
    };
    let (server, read) = tokio::join!(server, client);
    match read.downcast::<rustls::Error>().unwrap() {
        rustls::Error::AlertReceived(alert) => assert_eq!(alert, AlertDescription::UnknownCA),
        other => panic!("{other}"),
    }
    assert!(matches!(server.unwrap_err(), Refused::Device(Refusal::UnknownIssuer)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_told_at_once_and_left_after_a_second_if_it_does_not_close() {
    let door = Door::unconfigured(ClientAuth::Required, provider());
    let start = Instant::now();
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let server = knock(&door.acceptor, far);
    near.write_all(&record(22, 0x0301, &hello_by_hand(0x0303, None))).await.unwrap();
    let mut told = Vec::new();
    near.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, UNRECOGNIZED_NAME);
    assert_in_time(start, Duration::ZERO);
    let refused = server.await.unwrap().unwrap_err();
    assert!(matches!(refused, Refused::UnrecognizedName(None)), "{refused:?}");
    assert_in_time(start, Duration::from_secs(1));
}

/// The outcomes that a door ought to have counted.
pub(crate) struct Tally<'a> {
    door: &'a Door,
    expected: Vec<Outcome>,
}

impl<'a> Tally<'a> {
    pub(crate) fn of(door: &'a Door) -> Self {
        Self { door, expected: Vec::new() }
    }

    /// Asserts that this one was counted since the last call, and nothing else.
    pub(crate) fn expect(&mut self, outcome: Outcome) {
        self.expected.push(outcome);
        let times =
            |outcome| self.expected.iter().filter(|known| **known == outcome).count() as u64;
        let stats = self.door.instances.stats();
        for (counted, count) in stats.iter() {
            assert_eq!(count, times(counted), "{counted:?} after {outcome:?}");
        }
        assert_eq!(stats.refused() + times(Outcome::Admitted), self.expected.len() as u64);
    }
}

/// Devices that are refused, each for a reason of its own, and one that is not.
struct Fleet {
    door: Door,
    ca: TestCa,
    retired: TestCa,
    expired: TestCa,
    device: Identity,
    stranger: Identity,
}

impl Fleet {
    fn new() -> Self {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        let retired = TestCa::root("retired");
        let expired = TestCa::root_with("expired", |params| {
            params.not_after = date_time_ymd(2025, 12, 31);
        });
        door.register(&ca, CaStatus::Active).unwrap();
        door.register(&retired, CaStatus::Inactive).unwrap();
        door.clock.set(NOW - 30 * 24 * 60 * 60);
        door.register(&expired, CaStatus::Active).unwrap();
        door.clock.set(NOW);
        let device = ca.device("device-1");
        let stranger = TestCa::root("stranger").device("device-1");
        Self { door, ca, retired, expired, device, stranger }
    }

    fn refused(&self) -> Vec<(Identity, Refusal, Outcome)> {
        let mut long = self.device.clone();
        long.chain.extend((0..9).map(|_| self.ca.der.clone()));
        let mut unreadable = self.device.clone();
        unreadable.chain[0] = CertificateDer::from(b"garbage".to_vec());
        let old = self.ca.device_with("device-3", |params| {
            params.not_after = date_time_ymd(2025, 12, 31);
        });
        let retired = self.retired.device("device-4");
        let expired = self.expired.device("device-5");
        let seconds = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let too_old = webpki::Error::CertExpired {
            time: seconds(NOW),
            not_after: seconds(NOW - 24 * 60 * 60),
        };
        vec![
            (self.stranger.clone(), Refusal::UnknownIssuer, Outcome::UnknownIssuer),
            (retired, Refusal::InactiveCa(self.retired.serial()), Outcome::InactiveCa),
            (expired, Refusal::CaExpired(self.expired.serial()), Outcome::CaNotValid),
            (long, Refusal::TooManyIntermediates(9), Outcome::ChainOverLimit),
            (unreadable, Refusal::Unreadable, Outcome::ChainUnreadable),
            (old, Refusal::Invalid(too_old), Outcome::ChainInvalid),
        ]
    }
}

/// A client that shows one device's chain, whatever is in it, and signs with a key that may be
/// another one's.
fn showing(
    shown: &Identity,
    signs: &Identity,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let mut config = client(None, version);
    let key = any_supported_type(&signs.key_der()).unwrap();
    config.client_auth_cert_resolver =
        Arc::new(Always(Arc::new(CertifiedKey::new(shown.chain.clone(), key))));
    config
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Both ends of a connection of which the client's half holds so many bytes at a time.
fn pipes(upstream: usize) -> (impl Stream, impl Stream) {
    let (from_client, to_server) = tokio::io::simplex(upstream);
    let (from_server, to_client) = tokio::io::simplex(64 * 1024);
    (tokio::io::join(from_server, to_server), tokio::io::join(from_client, to_client))
}

pub(crate) fn knock(
    acceptor: &Acceptor,
    far: DuplexStream,
) -> JoinHandle<Result<Connection<DuplexStream>, Refused>> {
    let acceptor = acceptor.clone();
    tokio::spawn(async move { acceptor.accept(far).await })
}

/// Everything that the server says, over TCP, to a client that sends these bytes, reads an alert,
/// and has still more to send.
async fn told_over_tcp(door: &Door, bytes: &[u8]) -> Vec<u8> {
    let (listener, mut near) = loopback().await;
    let server = async {
        let (far, _) = listener.accept().await.unwrap();
        door.acceptor.accept(far).await.unwrap_err()
    };
    let client = async move {
        let mut told = vec![0; 7];
        near.write_all(bytes).await.unwrap();
        near.read_exact(&mut told).await.unwrap();
        for _ in 0..2 {
            near.write_all(&[0x5a; 1024]).await.unwrap();
        }
        near.read_to_end(&mut told).await.unwrap();
        told
    };
    tokio::join!(server, client).1
}

async fn loopback() -> (TcpListener, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener, near)
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

pub(crate) fn assert_in_time(start: Instant, expected: Duration) {
    let late = start.elapsed().checked_sub(expected).unwrap();
    assert!(late < Duration::from_millis(50), "{late:?} late");
}
