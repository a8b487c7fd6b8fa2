//! Where the server's certificates come from, and what is made of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mqtls::certificate::{
    EncryptedKeyError, KeyType, MaterialError, Password, PemError, ServerCertificateError,
    SourceError,
};
use mqtls::{
    CaCertificate, CertificateId, CertificateMaterial, CertificateSource, Directory, InstanceId,
    Memory, NamePattern, ServerCertificate, Sha256,
};
use proptest::prelude::*;
use rcgen::date_time_ymd;
use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tempfile::TempDir;

use crate::support::{Identity, TestCa, key, pem, provider, rsa_key};

const LIMIT: u64 = 1 << 20;

#[test]
fn a_directory_serves_what_lies_in_the_instances_folder() {
    let (root, source) = folder();
    let identity = server();
    fs::write(root.path().join("mqtt-a/one.pem"), identity.pem()).unwrap();
    let material = source.load(&instance("mqtt-a"), &id("one"), None).unwrap();
    let certificate = ServerCertificate::new(&material, &provider()).unwrap();
    assert_eq!(certificate.sha256(), Sha256::of(identity.end_entity()));

    for (of, name) in [("mqtt-b", "one"), ("mqtt-c", "one"), ("mqtt-a", "two"), ("mqtt-a", "One")] {
        match source.load(&instance(of), &id(name), None).unwrap_err() {
            SourceError::NotFound(missing) => assert_eq!(missing, id(name), "{of}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_directory_reads_files_anew_and_of_at_most_a_mebibyte() {
    let (root, source) = folder();
    let file = root.path().join("mqtt-a/one.pem");
    let text = server().pem();
    let padding = usize::try_from(LIMIT).unwrap() - text.len();
    let at_limit = " ".repeat(padding - 1) + "\n" + &text;
    assert_eq!(at_limit.len() as u64, LIMIT);
    fs::write(&file, &at_limit).unwrap();
    source.load(&instance("mqtt-a"), &id("one"), None).unwrap();

    fs::write(&file, at_limit + "\n").unwrap();
    match source.load(&instance("mqtt-a"), &id("one"), None).unwrap_err() {
        SourceError::TooLarge { id: of, limit } => assert_eq!((of, limit), (id("one"), LIMIT)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_reads_a_pair_as_kubernetes_mounts_it() {
    let (root, source) = folder();
    let [first, second] = [server(), server()];
    let load = |name: &str| source.load(&instance("mqtt-a"), &id(name), None);
    let shown = |name: &str| {
        let certificate = ServerCertificate::new(&load(name).unwrap(), &provider());
        certificate.map(|certificate| certificate.sha256())
    };
    // A mount: a folder for each version, a link to the one that counts, and a link to each file.
    let mount = root.path().join("mqtt-a/mounted");
    fs::create_dir(&mount).unwrap();
    for (version, identity) in [("..2026_1", &first), ("..2026_2", &second)] {
        fs::create_dir(mount.join(version)).unwrap();
        write_pair(&mount.join(version), identity, identity);
    }
    link(Path::new("..2026_1"), &mount.join("..data"));
    for file in ["tls.crt", "tls.key"] {
        link(&Path::new("..data").join(file), &mount.join(file));
    }
    assert_eq!(shown("mounted"), Ok(Sha256::of(first.end_entity())));
    link(Path::new("..2026_2"), &mount.join("..data_tmp"));
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    assert_eq!(shown("mounted"), Ok(Sha256::of(second.end_entity())));

    // The same without links, and half exchanged.
    let plain = root.path().join("mqtt-a/plain");
    fs::create_dir(&plain).unwrap();
    write_pair(&plain, &first, &first);
    assert_eq!(shown("plain"), Ok(Sha256::of(first.end_entity())));
    write_pair(&plain, &second, &first);
    assert_eq!(shown("plain"), Err(ServerCertificateError::OtherKey));
    fs::remove_file(plain.join("tls.key")).unwrap();
    assert!(matches!(load("plain"), Err(SourceError::NotFound(_))));
    // One file is asked for before a pair.
    fs::write(root.path().join("mqtt-a/mounted.pem"), first.pem()).unwrap();
    assert_eq!(shown("mounted"), Ok(Sha256::of(first.end_entity())));
}

#[test]
fn a_pair_lies_in_the_instances_folder_and_is_no_file() {
    let (root, source) = folder();
    let load = |name: &str| source.load(&instance("mqtt-a"), &id(name), None);
    fs::write(root.path().join("mqtt-a/file"), "no folder").unwrap();
    assert!(matches!(load("file"), Err(SourceError::NotFound(_))));
    let theirs = root.path().join("mqtt-b/pair");
    fs::create_dir(&theirs).unwrap();
    write_pair(&theirs, &server(), &server());
    link(Path::new("../mqtt-b/pair"), &root.path().join("mqtt-a/pair"));
    assert!(matches!(load("pair"), Err(SourceError::Outside(_))));
    let ours = root.path().join("mqtt-a/ours");
    fs::create_dir(&ours).unwrap();
    link(Path::new("../../mqtt-b/pair"), &ours.join("..data"));
    assert!(matches!(load("ours"), Err(SourceError::Outside(_))));
}

fn write_pair(folder: &Path, chain: &Identity, key: &Identity) {
    let chain: String = chain.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    // As some tools write it: without an end of the last line.
    fs::write(folder.join("tls.crt"), chain.trim_end()).unwrap();
    fs::write(folder.join("tls.key"), key.key.serialize_pem()).unwrap();
}

#[test]
fn a_directory_takes_regular_files_only() {
    let (root, source) = folder();
    fs::create_dir(root.path().join("mqtt-a/folder.pem")).unwrap();
    let pipe = root.path().join("mqtt-a/pipe.pem");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for name in ["folder", "pipe"] {
        match source.load(&instance("mqtt-a"), &id(name), None).unwrap_err() {
            SourceError::NotAFile(of) => assert_eq!(of, id(name)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_directory_follows_links_within_the_instances_folder_and_no_further() {
    let (root, source) = folder();
    let path = |path: &str| root.path().join(path);
    let text = server().pem();
    fs::create_dir(path("mqtt-a/versions")).unwrap();
    fs::write(path("mqtt-a/versions/7.pem"), &text).unwrap();
    fs::write(path("mqtt-b/theirs.pem"), &text).unwrap();
    fs::write(path("outside.pem"), &text).unwrap();
    fs::create_dir(path("mqtt-a-2")).unwrap();
    fs::write(path("mqtt-a-2/near.pem"), &text).unwrap();
    link(Path::new("versions/7.pem"), &path("mqtt-a/relative.pem"));
    link(&path("mqtt-a/versions/7.pem"), &path("mqtt-a/absolute.pem"));
    link(Path::new("relative.pem"), &path("mqtt-a/twice.pem"));
    link(Path::new("../mqtt-a/versions/7.pem"), &path("mqtt-a/round.pem"));
    link(Path::new("nowhere.pem"), &path("mqtt-a/dangling.pem"));
    link(Path::new("../mqtt-b/theirs.pem"), &path("mqtt-a/tenant.pem"));
    link(&path("mqtt-b/theirs.pem"), &path("mqtt-a/tenant-absolute.pem"));
    link(Path::new("../outside.pem"), &path("mqtt-a/root.pem"));
    link(Path::new("../mqtt-a-2/near.pem"), &path("mqtt-a/prefix.pem"));
    link(Path::new("tenant.pem"), &path("mqtt-a/tenant-twice.pem"));
    link(&path("mqtt-b"), &path("mqtt-linked"));

    for name in ["relative", "twice"] {
        source.load(&instance("mqtt-a"), &id(name), None).unwrap();
    }
    let outside =
        ["absolute", "round", "tenant", "tenant-absolute", "root", "prefix", "tenant-twice"];
    let outside = outside.map(|name| ("mqtt-a", name));
    for (of, name) in outside.into_iter().chain([("mqtt-linked", "theirs")]) {
        match source.load(&instance(of), &id(name), None).unwrap_err() {
            SourceError::Outside(stray) => assert_eq!(stray, id(name)),
            other => panic!("{other:?}"),
        }
    }
    let dangling = source.load(&instance("mqtt-a"), &id("dangling"), None).unwrap_err();
    assert!(matches!(dangling, SourceError::NotFound(_)), "{dangling:?}");
    let looped = path("mqtt-a/loop.pem");
    link(Path::new("loop.pem"), &looped);
    let looped = source.load(&instance("mqtt-a"), &id("loop"), None).unwrap_err();
    assert!(matches!(looped, SourceError::Io { .. }), "{looped:?}");
}

/// A tenant who may write into one folder exchanges a file of its own for a link to another
/// tenant's while the source looks.
#[test]
fn a_file_that_is_exchanged_while_it_is_read_is_never_another_instances() {
    const ROUNDS: usize = 10_000;
    let (root, source) = folder();
    let path = |name: &str| root.path().join(name);
    let (ours, theirs) = (server(), server());
    fs::write(path("mqtt-b/one.pem"), theirs.pem()).unwrap();
    fs::write(path("mqtt-a/ours"), ours.pem()).unwrap();
    let exchange = || {
        let next = path("mqtt-a/next");
        for _ in 0..ROUNDS {
            fs::hard_link(path("mqtt-a/ours"), &next).unwrap();
            fs::rename(&next, path("mqtt-a/one.pem")).unwrap();
            link(Path::new("../mqtt-b/one.pem"), &next);
            fs::rename(&next, path("mqtt-a/one.pem")).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let exchanging = scope.spawn(exchange);
        while !exchanging.is_finished() {
            if let Ok(material) = source.load(&instance("mqtt-a"), &id("one"), None) {
                let shown = ServerCertificate::new(&material, &provider()).unwrap().sha256();
                assert_eq!(shown, Sha256::of(ours.end_entity()));
            }
        }
    });
}

#[test]
fn no_id_leads_out_of_the_folder() {
    let strays = ["..", "../mqtt-b/one", "/etc/passwd", "a/b", "..\\one", ".hidden", "one\0", ""];
    for stray in strays {
        assert!(stray.parse::<CertificateId>().is_err(), "{stray:?}");
        assert!(stray.parse::<InstanceId>().is_err(), "{stray:?}");
    }
    let (root, source) = folder();
    fs::write(root.path().join("mqtt-a/a..b.pem"), server().pem()).unwrap();
    source.load(&instance("mqtt-a"), &id("a..b"), None).unwrap();
}

#[test]
fn a_directory_opens_on_a_folder_only() {
    let (root, _) = folder();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, kind) in [
        (&file, std::io::ErrorKind::NotADirectory),
        (&root.path().join("nowhere"), std::io::ErrorKind::NotFound),
    ] {
        let error = Directory::open(path).unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.downcast_ref::<std::io::Error>().unwrap().kind(), kind);
        assert_eq!(error.root, *path);
    }
}

#[test]
fn a_directory_says_what_is_wrong_with_the_text() {
    let (root, source) = folder();
    fs::write(root.path().join("mqtt-a/one.pem"), "no PEM").unwrap();
    match source.load(&instance("mqtt-a"), &id("one"), None).unwrap_err() {
        SourceError::Material { id: of, source } => {
            assert_eq!((of, source), (id("one"), PemError::NoSection.into()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_memory_keeps_what_it_was_given_for_each_instance() {
    let source = Memory::new();
    let load = |of: &str, name: &str| source.load(&instance(of), &id(name), None);
    let sha256 = |material: &CertificateMaterial| {
        ServerCertificate::new(material, &provider()).unwrap().sha256()
    };
    let (first, second) = (server(), server());
    source.insert(instance("mqtt-a"), id("one"), first.material());
    assert_eq!(sha256(&load("mqtt-a", "one").unwrap()), Sha256::of(first.end_entity()));
    for (of, name) in [("mqtt-b", "one"), ("mqtt-a", "two")] {
        let error = load(of, name).unwrap_err();
        assert!(
            matches!(&error, SourceError::NotFound(missing) if *missing == id(name)),
            "{error:?}"
        );
    }
    source.insert(instance("mqtt-a"), id("one"), second.material());
    assert_eq!(sha256(&load("mqtt-a", "one").unwrap()), Sha256::of(second.end_entity()));

    let password = Password::from("hunter2".to_owned());
    match source.load(&instance("mqtt-a"), &id("one"), Some(&password)).unwrap_err() {
        SourceError::Material { source, .. } => {
            assert_eq!(source, MaterialError::PasswordForPlainKey);
        }
        other => panic!("{other:?}"),
    }
    assert!(source.remove(&instance("mqtt-a"), &id("one")));
    assert!(!source.remove(&instance("mqtt-a"), &id("one")));
    assert!(matches!(load("mqtt-a", "one").unwrap_err(), SourceError::NotFound(_)));
}

#[test]
fn the_key_may_stand_before_between_or_after_the_chain() {
    let root = TestCa::root("root");
    let sub = root.child("sub");
    let identity = sub.server(&["a.com"]).with_chain(&[&sub]);
    let [leaf, issuer] = &identity.chain[..] else { panic!("{:?}", identity.chain) };
    let (leaf, issuer) = (pem("CERTIFICATE", leaf), pem("CERTIFICATE", issuer));
    let key = identity.key.serialize_pem();
    let crlf = format!("{leaf}{issuer}{key}").replace('\n', "\r\n");
    let texts = [
        format!("{key}{leaf}{issuer}"),
        format!("{leaf}{key}{issuer}"),
        format!("{leaf}{issuer}{key}"),
        format!("subject=CN = a.com\n{leaf}\n\nissuer=CN = root\n{issuer}{key}\n\n"),
        crlf,
    ];
    for text in texts {
        let material = CertificateMaterial::from_pem(text.as_bytes(), None).unwrap();
        let certificate = ServerCertificate::new(&material, &provider()).unwrap();
        assert_eq!(certificate.certified_key().cert, identity.chain);
    }
    let text = format!("{issuer}{leaf}{key}");
    let turned = CertificateMaterial::from_pem(text.as_bytes(), None).unwrap();
    let error = ServerCertificate::new(&turned, &provider()).unwrap_err();
    assert_eq!(error, ServerCertificateError::OtherKey, "the end entity comes first");
}

#[test]
fn a_key_may_be_pkcs8_pkcs1_or_sec1_and_have_its_parameters_before_it() {
    let sec1 = include_bytes!("../../testdata/key_after_ec_parameters.pem");
    let material = CertificateMaterial::from_pem(sec1, None).unwrap();
    let certificate = ServerCertificate::new(&material, &provider()).unwrap();
    assert_eq!(certificate.key_type(), KeyType::Ecdsa);

    let identity = TestCa::root("root").server_over(rsa_key(), &["a.com"], |_| {});
    // RFC 5958: a PKCS#8 key is a PKCS#1 key behind 26 bytes that say so.
    let pkcs1 = pem("RSA PRIVATE KEY", &identity.key.serialized_der()[26..]);
    let text = pem("CERTIFICATE", identity.end_entity()) + &pkcs1;
    let material = CertificateMaterial::from_pem(text.as_bytes(), None).unwrap();
    let certificate = ServerCertificate::new(&material, &provider()).unwrap();
    assert_eq!(certificate.key_type(), KeyType::Rsa);
}

#[test]
fn a_text_that_is_no_chain_with_one_key_is_refused() {
    let identity = server();
    let leaf = pem("CERTIFICATE", identity.end_entity());
    let key = identity.key.serialize_pem();
    let malformed = key.replace("-----END PRIVATE KEY-----", "");
    let no_base64 = format!("{leaf}-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n");
    let public = pem("PUBLIC KEY", b"public");
    let trusted = pem("TRUSTED CERTIFICATE", b"trusted");
    let cases: [(String, MaterialError); 16] = [
        (String::new(), PemError::NoSection.into()),
        ("no PEM".to_owned(), PemError::NoSection.into()),
        (leaf.clone(), MaterialError::NoKey),
        (key.clone(), MaterialError::NoCertificate),
        (format!("{leaf}{key}{key}"), MaterialError::SeveralKeys(2)),
        (format!("{key}{leaf}{key}{key}"), MaterialError::SeveralKeys(3)),
        (format!("{leaf}{malformed}"), PemError::Malformed { position: 2 }.into()),
        (no_base64, PemError::Malformed { position: 2 }.into()),
        (format!("{leaf}{key}and more"), PemError::TrailingData.into()),
        (format!("{leaf}{key}{public}"), MaterialError::UnexpectedSection(SectionKind::PublicKey)),
        (
            format!("{trusted}{key}"),
            PemError::UnknownSection("TRUSTED CERTIFICATE".to_owned()).into(),
        ),
        (
            leaf.clone() + include_str!("../../testdata/key_encrypted_pkcs8.pem"),
            EncryptedKeyError::NoPassword.into(),
        ),
        (
            leaf.clone() + include_str!("../../testdata/key_encrypted_legacy.pem"),
            PemError::LegacyEncryption.into(),
        ),
        (
            key.clone() + include_str!("../../testdata/key_encrypted_pkcs8.pem"),
            MaterialError::SeveralKeys(2),
        ),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n!\n-----END ENCRYPTED PRIVATE KEY-----".into(),
            PemError::Malformed { position: 1 }.into(),
        ),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n".into(),
            PemError::Malformed { position: 1 }.into(),
        ),
    ];
    for (text, reason) in cases {
        let error = CertificateMaterial::from_pem(text.as_bytes(), None).unwrap_err();
        assert_eq!(error, reason, "{text}");
    }
    let error = CertificateMaterial::from_pem((leaf + &key).as_bytes(), Some(&password("hunter2")));
    assert_eq!(error.unwrap_err(), MaterialError::PasswordForPlainKey);
}

#[test]
fn n10_a_password_opens_an_encrypted_key_and_no_other_does() {
    let pairs = [
        &include_bytes!("../../testdata/pair_encrypted_pbkdf2.pem")[..],
        include_bytes!("../../testdata/pair_encrypted_scrypt.pem"),
    ];
    for text in pairs {
        let open = |password: Option<&str>| {
            CertificateMaterial::from_pem(text, password.map(self::password).as_ref())
        };
        let opened = ServerCertificate::new(&open(Some("hunter2")).unwrap(), &provider()).unwrap();
        assert_eq!(opened.key_type(), KeyType::Ecdsa);
        for wrong in ["hunter3", "", "hunter2 ", "HUNTER2"] {
            let error = MaterialError::from(EncryptedKeyError::WrongPassword);
            assert_eq!(open(Some(wrong)).unwrap_err(), error, "{wrong:?}");
        }
        assert_eq!(open(None).unwrap_err(), EncryptedKeyError::NoPassword.into());
    }
}

#[test]
fn n10_what_no_password_opens_here_is_told_with_what_to_do() {
    let hunter2 = password("hunter2");
    let cases: [(&[u8], MaterialError, &str); 4] = [
        (
            include_bytes!("../../testdata/pair_encrypted_hmac_sha1.pem"),
            EncryptedKeyError::Unsupported.into(),
            "openssl pkcs8 -topk8 -v2 aes-256-cbc",
        ),
        (
            include_bytes!("../../testdata/pair_encrypted_pbes1.pem"),
            EncryptedKeyError::Unsupported.into(),
            "openssl pkcs8 -topk8 -v2 aes-256-cbc",
        ),
        (
            include_bytes!("../../testdata/pair_encrypted_costly.pem"),
            EncryptedKeyError::TooCostly.into(),
            "costlier",
        ),
        (
            include_bytes!("../../testdata/pair.p12"),
            MaterialError::Pkcs12,
            "openssl pkcs12 -in old.p12 -out new.pem",
        ),
    ];
    for (text, reason, advice) in cases {
        let error = CertificateMaterial::from_pem(text, Some(&hunter2)).unwrap_err();
        assert_eq!(error, reason);
        assert!(error.to_string().contains(advice), "{error}");
    }
    let legacy = include_bytes!("../../testdata/key_encrypted_legacy.pem");
    let error = CertificateMaterial::from_pem(legacy, Some(&hunter2)).unwrap_err();
    assert!(error.to_string().contains("openssl pkcs8 -topk8 -v2 aes-256-cbc"), "{error}");
}

proptest! {
    /// Real files with a piece cut out, doubled or overwritten: refused or read, never a panic.
    #[test]
    fn no_text_panics(
        file in 0..4_usize,
        start in any::<prop::sample::Index>(),
        length in 0..200_usize,
        put in prop::collection::vec(any::<u8>(), 0..40),
        doubled in any::<bool>(),
    ) {
        let files = [
            &include_bytes!("../../testdata/pair_encrypted_pbkdf2.pem")[..],
            include_bytes!("../../testdata/key_after_ec_parameters.pem"),
            include_bytes!("../../testdata/key_encrypted_legacy.pem"),
            include_bytes!("../../testdata/pair.p12"),
        ];
        let whole = files[file];
        let start = start.index(whole.len());
        let end = (start + length).min(whole.len());
        let kept = if doubled { &whole[start.saturating_sub(length)..] } else { &whole[end..] };
        let text = [&whole[..start], &put, kept].concat();
        let _outcome = CertificateMaterial::from_pem(&text, None);
        let _outcome = CaCertificate::from_pem(&text).map(drop);
        let _outcome = CaCertificate::from_der(&text).map(drop);
    }
}

fn password(text: &str) -> Password {
    Password::from(text.to_owned())
}

#[test]
fn a_pair_in_der_is_taken_as_a_pair() {
    let identity = server();
    let material = identity.material();
    let certificate = ServerCertificate::new(&material, &provider()).unwrap();
    assert_eq!(certificate.sha256(), Sha256::of(identity.end_entity()));
    let error = CertificateMaterial::from_der(vec![], identity.key_der()).unwrap_err();
    assert_eq!(error, MaterialError::NoCertificate);
}

#[test]
fn a_pair_that_does_not_fit_or_cannot_be_read_is_refused() {
    let identity = server();
    let other = server();
    let leaf = identity.end_entity().clone();
    let trailing = CertificateDer::from([leaf.as_ref(), b"\0"].concat());
    let garbage = CertificateDer::from(b"garbage".to_vec());
    let no_key = PrivateKeyDer::Pkcs8(b"no key".to_vec().into());
    let rsa = Identity { key: rsa_key().into(), ..identity.clone() };
    let key = || identity.key_der();
    let malformed = |position| ServerCertificateError::Malformed { position };
    let cases = [
        (vec![leaf.clone()], other.key_der(), ServerCertificateError::OtherKey),
        (vec![leaf.clone()], rsa.key_der(), ServerCertificateError::OtherKey),
        (vec![leaf.clone()], no_key, ServerCertificateError::UnusableKey),
        (vec![trailing], key(), malformed(1)),
        (vec![garbage.clone()], key(), malformed(1)),
        (vec![leaf.clone(), garbage], key(), malformed(2)),
    ];
    for (chain, key, reason) in cases {
        let material = CertificateMaterial::from_der(chain, key).unwrap();
        assert_eq!(ServerCertificate::new(&material, &provider()).unwrap_err(), reason);
    }
    let material = CertificateMaterial::from_der(vec![leaf], key()).unwrap();
    ServerCertificate::new(&material, &provider()).unwrap();
}

#[test]
fn a_certificates_facts_are_what_it_says() {
    let ca = TestCa::root("root");
    let cases = [
        (key(&rcgen::PKCS_ECDSA_P256_SHA256), KeyType::Ecdsa),
        (key(&rcgen::PKCS_ECDSA_P384_SHA384), KeyType::Ecdsa),
        (key(&rcgen::PKCS_ED25519), KeyType::EdDsa),
        (rsa_key(), KeyType::Rsa),
    ];
    for (key, key_type) in cases {
        let identity = ca.server_over(key, &["A.com", "*.b.com", "192.0.2.1"], |params| {
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2027, 1, 1);
        });
        let certificate = ServerCertificate::new(&identity.material(), &provider()).unwrap();
        assert_eq!(certificate.key_type(), key_type);
        let names = ["a.com", "*.b.com"].map(|name| name.parse::<NamePattern>().unwrap());
        assert_eq!(certificate.names(), names, "an address is no server name");
        assert_eq!(certificate.sha256(), Sha256::of(identity.end_entity()));
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let validity = certificate.validity();
        assert_eq!(validity.not_before, at(1_767_225_600));
        assert_eq!(validity.not_after, at(1_798_761_600));
        assert!(!validity.is_early(at(1_767_225_600)) && validity.is_early(at(1_767_225_599)));
        assert!(!validity.is_expired(at(1_798_761_600)) && validity.is_expired(at(1_798_761_601)));
    }
    let nameless = ca.server_over(key(&rcgen::PKCS_ECDSA_P256_SHA256), &[], |_| {});
    let nameless = ServerCertificate::new(&nameless.material(), &provider()).unwrap();
    assert!(nameless.names().is_empty());
}

/// A root with a folder each for `mqtt-a` and `mqtt-b`.
fn folder() -> (TempDir, Directory) {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("mqtt-a")).unwrap();
    fs::create_dir(root.path().join("mqtt-b")).unwrap();
    let source = Directory::open(root.path()).unwrap();
    (root, source)
}

fn link(target: &Path, at: &Path) {
    std::os::unix::fs::symlink(target, at).unwrap();
}

fn server() -> Identity {
    TestCa::root("root").server(&["a.com"])
}

fn instance(text: &str) -> InstanceId {
    text.parse().unwrap()
}

fn id(text: &str) -> CertificateId {
    text.parse().unwrap()
}
