//! What the fuzz targets start from, and what they found worth keeping, never fails again.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn kept_sni_configs_hold() {
    each("sni_config", |_, input| targets::sni_config::run(input));
}

#[test]
fn kept_serials_hold() {
    each("serial", |_, input| targets::serial::run(input));
}

#[test]
fn kept_name_patterns_hold() {
    each("name_pattern", |_, input| targets::name_pattern::run(input));
}

#[test]
fn kept_pem_texts_hold() {
    each("pem", |_, input| targets::pem::run(input));
}

#[test]
fn kept_der_holds() {
    each("der", |_, input| targets::der::run(input));
}

#[test]
fn kept_client_chains_hold() {
    each("client_chain", |name, input| {
        let believed = targets::client_chain::run(input);
        // Seeds are named after what becomes of them.
        match name.split('_').next() {
            Some("believed") => assert!(believed, "{name}"),
            Some("refused") => assert!(!believed, "{name}"),
            Some(_) | None => {}
        }
    });
}

#[test]
fn kept_revocation_lists_hold() {
    each("revocation_list", |name, input| {
        let taken = targets::revocation_list::run(input);
        match name.split('_').next() {
            Some("taken") => assert!(taken, "{name}"),
            Some("refused") => assert!(!taken, "{name}"),
            Some(_) | None => {}
        }
    });
}

#[test]
fn kept_tickets_hold() {
    use targets::ticket::Outcome;
    each("ticket", |name, input| {
        let outcome = targets::ticket::run(input);
        match name.split('_').next() {
            Some("declined") => assert_eq!(outcome, Outcome::Declined, "{name}"),
            Some("unused") => assert_eq!(outcome, Outcome::Unused, "{name}"),
            Some("refused") => assert_eq!(outcome, Outcome::Refused, "{name}"),
            Some("resumed") => assert_eq!(outcome, Outcome::Resumed, "{name}"),
            Some(_) | None => {}
        }
    });
}

/// Runs every file of a target through it, telling which one failed.
fn each(target: &str, run: impl Fn(&str, &[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for kind in ["seeds", "corpus"] {
        let folder = fuzz.join(kind).join(target);
        let mut count = 0;
        for file in fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let input = fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                run(&name, &input);
            }));
            assert!(outcome.is_ok(), "fuzz/{kind}/{target}/{name}");
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }
}
