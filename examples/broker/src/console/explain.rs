//! The operation that says what a client is shown, and why.
//!
//! The cloud does not know it, so the library does not read it from parameters.

use std::str::FromStr;

use mqtls::sni::{Answer, Candidate, NotShown};
use mqtls::{Caller, Instances};
use rustls::pki_types::DnsName;
use rustls::{AlertDescription, CipherSuite, SignatureScheme};
use serde_json::{Value, json};
use thiserror::Error;

use super::answer::{Outcome, request_id};
use super::instance;
use super::line::Mode;
use super::typed::{INSTANCE, Typed};
use crate::door;
use crate::pki::FIRST_INSTANCE;
use crate::schemes::{ECDSA, RSA};

/// `explain`: asks the instance as a handshake would, and changes and counts nothing.
pub(super) fn explain(from: Typed, _: Mode, to: &Instances, _: &Caller) -> Outcome {
    from.check_names(&[INSTANCE, SERVER_NAME, CLIENT])?;
    let asked: Option<Asked> = from.optional(SERVER_NAME)?;
    let asked = asked.as_ref().map(|Asked(name)| name.as_str());
    let keys: Keys = from.optional(CLIENT)?.unwrap_or(Keys::Any);
    let instance = instance::named(&from, to)?;
    let (schemes, suites) = keys.offered();
    // The same name may lead elsewhere: what this instance would show is then of no use to know.
    let leads_to = asked.and_then(|name| to.route(name, &schemes, &suites));
    let leads_to = leads_to.as_ref().map_or(FIRST_INSTANCE, |it| it.instance().id().as_str());
    let explanation = instance.sni().explain(asked, &schemes, &suites);
    let generation = explanation.as_ref().map(|explanation| explanation.generation);
    let (answer, candidates) = match explanation {
        Some(explanation) => (explanation.answer.map_err(Refused::from), explanation.candidates),
        None => (Err(Refused::nothing_to_show()), vec![]),
    };
    Ok(json!({
        "RequestId": request_id(),
        INSTANCE: instance.id().as_str(),
        "LeadsTo": leads_to,
        "Generation": generation,
        "Shown": answer.as_ref().ok().map(shown),
        "Refused": answer.as_ref().err().map(Refused::told),
        "Candidates": candidates.iter().map(candidate).collect::<Vec<_>>(),
    }))
}

fn shown(answer: &Answer) -> Value {
    json!({
        "Rule": format!("{:?}", answer.rule),
        "CertificateId": answer.certificate_id.as_str(),
        "KeyType": answer.certificate.key_type().to_string(),
        "Sha256": answer.certificate.sha256().to_string(),
    })
}

fn candidate(candidate: &Candidate) -> Value {
    json!({
        "Rule": format!("{:?}", candidate.rule),
        "CertificateId": candidate.certificate_id.as_str(),
        "Verdict": format!("{:?}", candidate.verdict),
    })
}

/// A client that is shown nothing.
struct Refused {
    reason: String,
    alert: AlertDescription,
}

impl Refused {
    /// As all are while there is no certificate at all: the name leads nowhere.
    fn nothing_to_show() -> Self {
        let reason = "the instance has no certificates yet".to_owned();
        Self { reason, alert: AlertDescription::UnrecognisedName }
    }

    fn told(&self) -> Value {
        json!({
            "Reason": self.reason,
            "Alert": format!("{:?}", self.alert),
            "AlertNumber": u8::from(self.alert),
        })
    }
}

impl From<NotShown> for Refused {
    fn from(why: NotShown) -> Self {
        Self { reason: why.to_string(), alert: why.alert() }
    }
}

/// A server name as a client may ask for it. The instance reads it as it reads a client's: it may be
/// one for which no entry could stand.
struct Asked(String);

impl FromStr for Asked {
    type Err = NoServerName;

    fn from_str(text: &str) -> Result<Self, NoServerName> {
        DnsName::try_from(text).map_or(Err(NoServerName), |_| Ok(Self(text.to_owned())))
    }
}

#[derive(Debug, Error)]
#[error("a client asks for a DNS name, or, with an address, for no name at all")]
struct NoServerName;

/// Which of the server's key types a client can check.
#[derive(Debug, Clone, Copy)]
enum Keys {
    /// All that the crypto provider knows.
    Any,
    Rsa,
    Ecdsa,
}

impl Keys {
    /// What its ClientHello offers.
    fn offered(self) -> (Vec<SignatureScheme>, Vec<CipherSuite>) {
        let provider = door::provider();
        let mut schemes = provider.signature_verification_algorithms.supported_schemes();
        schemes.retain(|scheme| self.can_check(*scheme));
        let suites = provider.cipher_suites.iter().map(|suite| suite.suite()).collect();
        (schemes, suites)
    }

    fn can_check(self, scheme: SignatureScheme) -> bool {
        match self {
            Self::Any => true,
            Self::Rsa => RSA.contains(&scheme),
            Self::Ecdsa => ECDSA.contains(&scheme),
        }
    }
}

impl FromStr for Keys {
    type Err = NoKeys;

    fn from_str(text: &str) -> Result<Self, NoKeys> {
        match text {
            "any" => Ok(Self::Any),
            "rsa" => Ok(Self::Rsa),
            "ecdsa" => Ok(Self::Ecdsa),
            _ => Err(NoKeys),
        }
    }
}

#[derive(Debug, Error)]
#[error("a client is one of rsa, ecdsa and any, by the keys that it can check")]
struct NoKeys;

const SERVER_NAME: &str = "ServerName";
const CLIENT: &str = "Client";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::desk::Desk;
    use crate::pki::SECOND_INSTANCE;

    /// The answer about a client that is shown a certificate.
    fn shown(desk: &Desk, instance: &str, leads_to: &str, at: [&str; 3], rest: Value) -> Value {
        let [rule, id, key_type] = at;
        json!({
            "MqttInstanceId": instance,
            "LeadsTo": leads_to,
            "Generation": 1,
            "Shown": {
                "Rule": rule,
                "CertificateId": id,
                "KeyType": key_type,
                "Sha256": desk.sha256(instance, id),
            },
            "Refused": null,
            "Candidates": rest,
        })
    }

    fn candidates<const N: usize>(all: [[&str; 3]; N]) -> Value {
        let candidate = |[rule, id, verdict]: [&str; 3]| json!({ "Rule": rule, "CertificateId": id, "Verdict": verdict });
        all.map(candidate).to_vec().into()
    }

    #[test]
    fn what_is_shown_is_told_with_its_rule_and_what_became_of_every_candidate() {
        let desk = Desk::set();
        let of_exact = |ecdsa, rsa| {
            candidates([
                ["Exact", "exact", ecdsa],
                ["Exact", "exact-rsa", rsa],
                ["Wildcard", "wildcard", "NotAsked"],
                ["Default", "default", "NotAsked"],
            ])
        };
        let exact = ["Exact", "exact", "ECDSA"];
        let default = ["Default", "default", "ECDSA"];
        let only_default = || candidates([["Default", "default", "Shown"]]);
        let ecdsa_first = || of_exact("Shown", "LessPreferred");
        for (parameters, at, rest) in [
            ("ServerName=eu.mqtt.example.test", exact, ecdsa_first()),
            ("ServerName=EU.mqtt.example.test Client=any", exact, ecdsa_first()),
            (
                "ServerName=eu.mqtt.example.test Client=ecdsa",
                exact,
                of_exact("Shown", "Unsuitable"),
            ),
            (
                "ServerName=eu.mqtt.example.test Client=rsa",
                ["Exact", "exact-rsa", "RSA"],
                of_exact("Unsuitable", "Shown"),
            ),
            (
                "ServerName=a.mqtt.example.test",
                ["Wildcard", "wildcard", "ECDSA"],
                candidates([["Wildcard", "wildcard", "Shown"], ["Default", "default", "NotAsked"]]),
            ),
            ("ServerName=b.a.mqtt.example.test", default, only_default()),
            ("ServerName=a_name.of.nobody", default, only_default()),
            ("", default, only_default()),
        ] {
            let expected = shown(&desk, FIRST_INSTANCE, FIRST_INSTANCE, at, rest);
            assert_eq!(desk.done(&format!("explain {parameters}")), expected, "{parameters}");
        }
    }

    #[test]
    fn a_name_is_explained_by_the_instance_that_is_named_and_told_to_lead_to_its_own() {
        let desk = Desk::set();
        let name = "ServerName=eu.second.example.test";
        let at = ["Default", "default", "ECDSA"];
        let expected = shown(
            &desk,
            FIRST_INSTANCE,
            SECOND_INSTANCE,
            at,
            candidates([["Default", "default", "Shown"]]),
        );
        assert_eq!(desk.done(&format!("explain {name}")), expected);
        let at = ["Wildcard", "wildcard", "ECDSA"];
        let rest =
            candidates([["Wildcard", "wildcard", "Shown"], ["Default", "default", "NotAsked"]]);
        let expected = shown(&desk, SECOND_INSTANCE, SECOND_INSTANCE, at, rest);
        assert_eq!(desk.done(&format!("explain {name} MqttInstanceId=mqtt-second")), expected);
    }

    #[test]
    fn who_is_refused_is_told_with_the_reason_and_the_alert() {
        let desk = Desk::set();
        let line =
            "explain ServerName=eu.second.example.test Client=rsa MqttInstanceId=mqtt-second";
        let expected = json!({
            "MqttInstanceId": "mqtt-second",
            "LeadsTo": "mqtt-second",
            "Generation": 1,
            "Shown": null,
            "Refused": {
                "Reason": "no certificate suits the client's signature schemes and cipher suites",
                "Alert": "HandshakeFailure",
                "AlertNumber": 40,
            },
            "Candidates": candidates([
                ["Wildcard", "wildcard", "Unsuitable"],
                ["Default", "default", "Unsuitable"],
            ]),
        });
        assert_eq!(desk.done(line), expected);
    }

    #[test]
    fn an_instance_without_certificates_refuses_everybody() {
        let desk = Desk::set();
        let id = "mqtt-empty".parse().unwrap();
        desk.door.instances.create(mqtls::InstanceSpec::new(id)).unwrap();
        let done = desk.done("explain ServerName=a.b MqttInstanceId=mqtt-empty");
        assert_eq!(done["Refused"]["AlertNumber"], 112, "{done}");
        assert_eq!((&done["Shown"], &done["Generation"]), (&Value::Null, &Value::Null));
        assert_eq!(done["Candidates"], json!([]));
    }

    #[test]
    fn what_no_client_could_ask_is_refused_with_a_reason() {
        let desk = Desk::set();
        let bad = "ParameterFieldCheckFailed";
        for (parameters, code, status, reason) in [
            (
                "ServerName=",
                bad,
                400,
                "ServerName has no value of its kind: a client asks for a DNS",
            ),
            ("ServerName=127.0.0.1", bad, 400, "with an address"),
            ("ServerName=::1", bad, 400, "with an address"),
            ("ServerName=*.mqtt.example.test", bad, 400, "ServerName"),
            ("ServerName=a..b", bad, 400, "ServerName"),
            ("Client=RSA", bad, 400, "one of rsa, ecdsa and any"),
            ("Client=", bad, 400, "one of rsa, ecdsa and any"),
            ("Name=a.b", bad, 400, "not one of MqttInstanceId, ServerName, Client"),
            ("MqttInstanceId=a/b", bad, 400, "MqttInstanceId"),
            ("MqttInstanceId=no", "MqttInstanceNotFound", 500, "there is no instance no"),
        ] {
            let answer = desk.answer(&format!("explain {parameters}"));
            assert_eq!(answer["Code"], code, "{parameters}: {answer}");
            assert_eq!(answer["HttpStatus"], status, "{parameters}");
            assert!(answer["Reason"].as_str().unwrap().contains(reason), "{answer}");
            assert_eq!(answer["RequestId"].as_str().unwrap().len(), 36, "{parameters}");
        }
    }

    #[test]
    fn nothing_is_counted() {
        let desk = Desk::set();
        let before = desk.done("certificates");
        desk.done("explain ServerName=eu.mqtt.example.test");
        assert_eq!(desk.done("certificates"), before);
    }
}
