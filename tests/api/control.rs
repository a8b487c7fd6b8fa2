//! Operations as their pages document them.

use std::collections::BTreeSet;
use std::sync::Arc;

use mqtls::control::{
    ANSWERS, Cause, ErrorCode, OperationPage, ParameterError, Parameters, RequestId,
};
use mqtls::instance::CreateError;
use mqtls::{
    ActiveCaCertificate, CaStatus, Caller, DeleteCaCertificate, GetCaCertificate,
    InactivateCaCertificate, InstanceSpec, Instances, ListCaCertificate, Memory, OperationError,
    RegisterCa, SetSniConfig,
};
use rustls::crypto::CryptoProvider;

use crate::support::{Door, TestCa, provider};

const NO_INSTANCE: &str = "Specified instance is not found";
const NOT_OWNED: &str = "Failed to validate the instance permission";
const NO_PERMISSION: &str = "Failed to verify API permissions.";
const BAD_PARAMETER: &str =
    "Failed to validate the parameters. The parameters may be missing or invalid.";
const NO_CA: &str = "Failed to find the CA by the SN. Please check sn is valid.";

#[test]
fn every_documented_answer_stands_in_the_table_to_the_letter() {
    let set_sni_config: &[(u16, &str, &str)] = &[
        (400, "MqttInstanceNotFound", NO_INSTANCE),
        (400, "MqttOwnerCheckError", NOT_OWNED),
        (403, "PermissionCheckFailed", NO_PERMISSION),
    ];
    let active_ca_certificate: &[(u16, &str, &str)] = &[
        (400, "ParameterFieldCheckFailed", BAD_PARAMETER),
        (500, "ParameterFieldCheckFailed", BAD_PARAMETER),
        (500, "FindCaBySnError", NO_CA),
        (500, "MqttInstanceNotFound", NO_INSTANCE),
        (403, "PermissionCheckFailed", NO_PERMISSION),
        (403, "MqttOwnerCheckError", NOT_OWNED),
    ];
    for (page, documented) in [
        (OperationPage::SetSniConfig, set_sni_config),
        (OperationPage::ActiveCaCertificate, active_ca_certificate),
    ] {
        let answers = ANSWERS.iter().filter(|answer| answer.page == page);
        let codes: Vec<_> = answers.clone().map(|answer| answer.code.to_string()).collect();
        let answers = answers
            .zip(&codes)
            .map(|(answer, code)| (answer.http_status, code.as_str(), answer.code.message()));
        let answers: Vec<_> = answers.take(documented.len()).collect();
        assert_eq!(answers, documented, "{page:?}");
    }
}

#[test]
fn answers_of_the_sibling_operations_and_our_own_follow_their_documents_too() {
    let others = [
        ("SnNotUnique", "Sn is not unique in global"),
        (
            "CertificateContentError",
            "Certificate content error,  please check ca/verification certificate content. \
             BasicConstraints extension should be set to true in CA certificate",
        ),
        ("CaNumExceed", "CA certificate num exceed"),
        ("InternalError", "An error occurred while processing your request. Try again later."),
    ];
    for (code, message) in others {
        let answers = ANSWERS.iter().filter(|answer| answer.code.to_string() == code);
        let answers: Vec<_> = answers.collect();
        assert!(!answers.is_empty(), "{code}");
        for answer in answers {
            assert_eq!((answer.http_status, answer.code.message()), (500, message), "{code}");
        }
    }
}

#[test]
fn a_bad_parameter_answers_400_on_both_pages_though_a_500_is_listed() {
    for page in [OperationPage::SetSniConfig, OperationPage::ActiveCaCertificate] {
        assert_eq!(page.http_status(ErrorCode::ParameterFieldCheckFailed), 400);
    }
    let error = ActiveCaCertificate::from_parameters(&parameters(&[])).unwrap_err();
    assert_answer(&error, "ActiveCaCertificate", 400, "ParameterFieldCheckFailed", BAD_PARAMETER);
    let error = SetSniConfig::from_parameters(&parameters(&[])).unwrap_err();
    assert_answer(&error, "SetSniConfig", 400, "ParameterFieldCheckFailed", BAD_PARAMETER);
    let error = Door::open().set_sni("nowhere", "").unwrap_err();
    assert_answer(&error, "SetSniConfig", 400, "ParameterFieldCheckFailed", BAD_PARAMETER);
}

#[test]
fn an_unknown_instance_is_400_for_set_sni_config_and_500_for_the_others() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, CaStatus::Active).unwrap();
    for (name, status, apply) in operations(&ca) {
        let error = apply(&door.instances, "elsewhere").unwrap_err();
        assert_answer(&error, name, status, "MqttInstanceNotFound", NO_INSTANCE);
        match error.cause() {
            Cause::NoSuchInstance(id) => assert_eq!(id.as_str(), "elsewhere"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_unknown_serial_number_is_find_ca_by_sn_error() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&TestCa::root("other"), CaStatus::Active).unwrap();
    let on_one_ca = [
        "ActiveCaCertificate",
        "InactivateCaCertificate",
        "DeleteCaCertificate",
        "GetCaCertificate",
    ];
    for (name, _, apply) in operations(&ca) {
        let outcome = apply(&door.instances, "mqtt-test");
        if on_one_ca.contains(&name) {
            let error = outcome.unwrap_err();
            assert_answer(&error, name, 500, "FindCaBySnError", NO_CA);
            match error.cause() {
                Cause::NoSuchCa(sn) => assert_eq!(*sn, ca.serial()),
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(door.instance.trust().len(), 2, "the other one, and the one registered last");
}

#[test]
fn every_request_has_an_id_of_its_own_in_the_documented_shape() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for instance in ["mqtt-test", "elsewhere"] {
        for (_, _, apply) in operations(&ca).into_iter().chain(operations(&ca)) {
            let id = match apply(&door.instances, instance) {
                Ok(id) => id,
                Err(error) => error.request_id(),
            };
            ids.insert(id.to_string());
            count += 1;
        }
    }
    for parameters in [parameters(&[]), parameters(&[("Sn", "01")])] {
        ids.insert(
            ActiveCaCertificate::from_parameters(&parameters).unwrap_err().request_id().to_string(),
        );
        count += 1;
    }
    assert_eq!(ids.len(), count);
    for id in ids {
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
        let in_shape = |c: char| c == '-' || c.is_ascii_digit() || ('A'..='F').contains(&c);
        assert!(id.chars().all(in_shape), "{id}");
    }
}

const ID: (&str, &str) = ("MqttInstanceId", "mqtt-test");
const DEFAULT: (&str, &str) = ("DefaultCertificate", "1533-cn-hangzhou");
const SNI: (&str, &str) = ("SniConfig", "*.a.com#15-cn-hangzhou");
const SN: (&str, &str) = ("Sn", "00f26900ba87");

#[test]
fn parameters_in_any_order_make_an_operation() {
    sni(&[ID, DEFAULT, SNI]).unwrap();
    sni(&[SNI, DEFAULT, ID]).unwrap();
    sni(&[ID, DEFAULT]).unwrap();
    for on_ca in ON_CA {
        on_ca(&[ID, SN]).unwrap();
        on_ca(&[SN, ID]).unwrap();
    }
    list(&[ID]).unwrap();
    list(&[ID, ("PageSize", "1")]).unwrap();
    list(&[ID, ("PageSize", "100")]).unwrap();
}

#[test]
fn a_missing_an_unknown_and_a_repeated_parameter_are_refused() {
    const OF_SNI: &str = "MqttInstanceId, DefaultCertificate, SniConfig";
    const OF_CA: &str = "MqttInstanceId, Sn";
    const OF_LIST: &str = "MqttInstanceId, PageSize";
    let missing = |name| ParameterError::Missing(name).to_string();
    let unknown =
        |position, known: &str| format!("parameter number {position} is not one of {known}");
    let repeated = |name| ParameterError::Repeated(name).to_string();
    let cases = [
        (sni(&[DEFAULT, SNI]), missing("MqttInstanceId")),
        (sni(&[ID, SNI]), missing("DefaultCertificate")),
        (sni(&[ID, DEFAULT, SN]), unknown(3, OF_SNI)),
        (sni(&[ID, DEFAULT, ("sniConfig", "")]), unknown(3, OF_SNI)),
        (sni(&[ID, DEFAULT, DEFAULT]), repeated("DefaultCertificate")),
        (sni(&[ID, DEFAULT, SNI, ("SniConfig", "")]), repeated("SniConfig")),
        (list(&[]), missing("MqttInstanceId")),
        (list(&[ID, SN]), unknown(2, OF_LIST)),
        (list(&[ID, ("PageSize", "2"), ("PageSize", "2")]), repeated("PageSize")),
    ];
    let on_ca = ON_CA.into_iter().flat_map(|on_ca| {
        [
            (on_ca(&[SN]), missing("MqttInstanceId")),
            (on_ca(&[ID]), missing("Sn")),
            (on_ca(&[ID, SN, ("Status", "1")]), unknown(3, OF_CA)),
            (on_ca(&[ID, SN, SN]), repeated("Sn")),
        ]
    });
    cases.into_iter().chain(on_ca).for_each(|(outcome, cause)| assert_refused(outcome, &cause));
}

#[test]
fn a_bad_value_of_a_parameter_is_refused_with_its_reason() {
    let empty = "the identifier is empty";
    let size = "a page holds 1 to 100 records";
    let cases = [
        (sni(&[("MqttInstanceId", ""), DEFAULT]), empty),
        (sni(&[ID, ("DefaultCertificate", "")]), empty),
        (sni(&[ID, ("DefaultCertificate", ".x")]), "the identifier starts with a dot"),
        (
            sni(&[ID, DEFAULT, ("SniConfig", "*#x;a.com")]),
            "entry 1: a wildcard needs a name after it: the default certificate answers all other \
             names; entry 2: no certificate id follows the name: write name#certificate-id",
        ),
        (list(&[ID, ("PageSize", "0")]), size),
        (list(&[ID, ("PageSize", "101")]), size),
        (list(&[ID, ("PageSize", "-1")]), size),
        (list(&[ID, ("PageSize", "")]), size),
    ];
    let on_ca = ON_CA.map(|on_ca| {
        let outcome = on_ca(&[("MqttInstanceId", "a.b"), SN]);
        (outcome, "the identifier holds '.', which is not allowed in it")
    });
    cases.into_iter().chain(on_ca).for_each(|(outcome, cause)| assert_refused(outcome, cause));
    for (on_ca, sn) in
        ON_CA.into_iter().flat_map(|on_ca| ["", "no hex", "-01"].map(|sn| (on_ca, sn)))
    {
        let error = on_ca(&[ID, ("Sn", sn)]).unwrap_err();
        assert!(matches!(error.cause(), Cause::Serial(_)), "{sn:?}");
        assert_refused(Err(error), "");
    }
}

#[test]
fn parameters_are_what_the_operation_then_does() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, CaStatus::Inactive).unwrap();
    let pairs = [("MqttInstanceId", "mqtt-test"), ("DefaultCertificate", "default")];
    let operation = SetSniConfig::from_parameters(&parameters(&pairs)).unwrap();
    assert!(operation.sni_config.is_empty(), "an absent SniConfig has no entries");
    let response = operation.apply(&door.instances, &Caller::local()).unwrap();
    assert!(response.success);
    assert_eq!(response.access_denied_detail, None);

    let sn = ca.serial().to_string();
    let pairs = [("MqttInstanceId", "mqtt-test"), ("Sn", sn.as_str())];
    let operation = ActiveCaCertificate::from_parameters(&parameters(&pairs)).unwrap();
    let response = operation.apply(&door.instances, &Caller::local()).unwrap();
    assert_eq!(response.sn, ca.serial());
    assert!(response.changed);
    assert_eq!(status(&door, &ca), CaStatus::Active);
    let operation = InactivateCaCertificate::from_parameters(&parameters(&pairs)).unwrap();
    operation.apply(&door.instances, &Caller::local()).unwrap();
    assert_eq!(status(&door, &ca), CaStatus::Inactive);
    let operation = DeleteCaCertificate::from_parameters(&parameters(&pairs)).unwrap();
    operation.apply(&door.instances, &Caller::local()).unwrap();
    assert!(door.instance.trust().is_empty());
}

#[test]
fn setting_the_status_that_a_ca_has_is_a_success_that_changes_nothing() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    door.register(&ca, CaStatus::Active).unwrap();
    assert!(!door.activate(&ca).changed);
    assert_eq!(status(&door, &ca), CaStatus::Active);
    assert!(door.deactivate(&ca).changed);
    assert!(!door.deactivate(&ca).changed);
    assert_eq!(status(&door, &ca), CaStatus::Inactive);
    assert!(door.activate(&ca).changed);
    assert_eq!(status(&door, &ca), CaStatus::Active);
}

#[test]
fn a_name_of_a_ca_has_at_most_128_bytes() {
    let door = Door::open();
    let ca = TestCa::root("fleet");
    let register = |name: String| {
        let operation = RegisterCa {
            mqtt_instance_id: door.instance.id().clone(),
            name,
            status: CaStatus::Active,
            certificate: ca.certificate(),
        };
        operation.apply(&door.instances, &Caller::local())
    };
    let error = register("é".repeat(64) + "e").unwrap_err();
    assert!(matches!(error.cause(), Cause::CaName(129)), "{}", error.cause());
    assert_answer(&error, "RegisterCaCertificate", 400, "ParameterFieldCheckFailed", BAD_PARAMETER);
    assert!(door.instance.trust().is_empty());
    register("é".repeat(64)).unwrap();
    assert_eq!(door.instance.trust().get(&ca.serial()).unwrap().name(), "é".repeat(64));
}

#[test]
fn a_list_is_paged_in_the_order_of_registration() {
    let door = Door::open();
    let cas: Vec<TestCa> = (0..5).map(|at| TestCa::root(&format!("fleet {at}"))).collect();
    let page = |after, size: u8| {
        let mqtt_instance_id = door.instance.id().clone();
        let operation =
            ListCaCertificate { mqtt_instance_id, after, page_size: size.try_into().unwrap() };
        operation.apply(&door.instances, &Caller::local()).unwrap()
    };
    let empty = page(None, 100);
    assert_eq!((empty.total, empty.authorities.len(), empty.next), (0, 0, None));

    for (at, ca) in cas.iter().enumerate() {
        let status = if at == 1 { CaStatus::Inactive } else { CaStatus::Active };
        door.register(ca, status).unwrap();
    }
    let pages = |size| {
        let mut pages = Vec::new();
        let mut next = None;
        loop {
            let page = page(next, size);
            assert_eq!(page.total, cas.len());
            pages.push(page.authorities.into_iter().map(|ca| ca.sn).collect::<Vec<_>>());
            next = page.next;
            if next.is_none() {
                return pages;
            }
        }
    };
    let serials: Vec<_> = cas.iter().map(TestCa::serial).collect();
    for size in [1, 2, 4, 5, 6, 100] {
        let expected: Vec<_> = serials.chunks(size.into()).map(<[_]>::to_vec).collect();
        assert_eq!(pages(size), expected, "{size}");
    }

    let first = page(None, 2);
    let [_, second] = &first.authorities[..] else { panic!("{first:?}") };
    assert_eq!((second.name.as_str(), second.status), ("fleet", CaStatus::Inactive));
    assert_eq!(second.certificate.der(), &cas[1].der);
    door.delete(&cas[1]);
    door.delete(&cas[2]);
    door.register(&cas[1], CaStatus::Active).unwrap();
    let rest = page(first.next, 100);
    let rest: Vec<_> = rest.authorities.into_iter().map(|ca| ca.sn).collect();
    assert_eq!(rest, [serials[3].clone(), serials[4].clone(), serials[1].clone()]);
}

#[test]
fn an_instance_is_created_once_and_only_where_tls_can_be_served() {
    let door = Door::open();
    let spec = |id: &str| InstanceSpec::new(id.parse().unwrap());
    match door.instances.create(spec("mqtt-test")).unwrap_err() {
        CreateError::Exists(id) => assert_eq!(&id, door.instance.id()),
        other => panic!("{other:?}"),
    }
    let known = door.instances.get(door.instance.id()).unwrap();
    assert!(Arc::ptr_eq(&known, &door.instance), "the old one stays");
    door.instances.create(spec("mqtt-other")).unwrap();

    let mut without_suites = CryptoProvider::clone(&provider());
    without_suites.cipher_suites.clear();
    let instances = Instances::new(Arc::new(without_suites), Memory::new());
    let error = instances.create(spec("mqtt-test")).unwrap_err();
    assert!(matches!(error, CreateError::Provider(_)), "{error:?}");
    assert!(instances.get(&"mqtt-test".parse().unwrap()).is_none());
}

type Apply = Box<dyn Fn(&Instances, &str) -> Result<RequestId, OperationError>>;

/// Every operation by its name, with its status for an unknown instance. Registering comes last.
fn operations(ca: &TestCa) -> Vec<(&'static str, u16, Apply)> {
    macro_rules! on_one_ca {
        ($operation:ident) => {{
            let sn = ca.serial();
            let apply = move |instances: &Instances, id: &str| {
                let operation =
                    $operation { mqtt_instance_id: id.parse().unwrap(), sn: sn.clone() };
                operation.apply(instances, &Caller::local()).map(|response| response.request_id)
            };
            (stringify!($operation), 500, Box::new(apply) as Apply)
        }};
    }
    let certificate = ca.certificate();
    vec![
        (
            "SetSniConfig",
            400,
            Box::new(|instances, id| {
                let operation = SetSniConfig {
                    mqtt_instance_id: id.parse().unwrap(),
                    default_certificate: "default".parse().unwrap(),
                    sni_config: "a.com#default".parse().unwrap(),
                };
                operation.apply(instances, &Caller::local()).map(|response| response.request_id)
            }),
        ),
        on_one_ca!(ActiveCaCertificate),
        on_one_ca!(InactivateCaCertificate),
        on_one_ca!(GetCaCertificate),
        on_one_ca!(DeleteCaCertificate),
        (
            "ListCaCertificate",
            500,
            Box::new(|instances, id| {
                let operation = ListCaCertificate {
                    mqtt_instance_id: id.parse().unwrap(),
                    after: None,
                    page_size: 7.try_into().unwrap(),
                };
                operation.apply(instances, &Caller::local()).map(|response| response.request_id)
            }),
        ),
        (
            "RegisterCaCertificate",
            500,
            Box::new(move |instances, id| {
                let operation = RegisterCa {
                    mqtt_instance_id: id.parse().unwrap(),
                    name: "fleet".to_owned(),
                    status: CaStatus::Active,
                    certificate: certificate.clone(),
                };
                operation.apply(instances, &Caller::local()).map(|response| response.request_id)
            }),
        ),
    ]
}

fn assert_answer(
    error: &OperationError,
    action: &str,
    http_status: u16,
    code: &str,
    message: &str,
) {
    let answer = (error.action(), error.http_status(), error.code().to_string(), error.message());
    assert_eq!(answer, (action, http_status, code.to_owned(), message));
}

type Pairs<'a> = &'a [(&'a str, &'a str)];
type FromParameters = fn(Pairs<'_>) -> Result<(), OperationError>;

/// The operations that take an instance and a serial number.
const ON_CA: [FromParameters; 3] = [
    |pairs| ActiveCaCertificate::from_parameters(&parameters(pairs)).map(drop),
    |pairs| InactivateCaCertificate::from_parameters(&parameters(pairs)).map(drop),
    |pairs| DeleteCaCertificate::from_parameters(&parameters(pairs)).map(drop),
];

fn sni(pairs: Pairs<'_>) -> Result<(), OperationError> {
    SetSniConfig::from_parameters(&parameters(pairs)).map(drop)
}

fn list(pairs: Pairs<'_>) -> Result<(), OperationError> {
    ListCaCertificate::from_parameters(&parameters(pairs)).map(drop)
}

/// Asserts a bad parameter, for this reason unless that is empty.
fn assert_refused(outcome: Result<(), OperationError>, cause: &str) {
    let error = outcome.unwrap_err();
    if !cause.is_empty() {
        assert_eq!(error.cause().to_string(), cause);
    }
    assert_answer(&error, error.action(), 400, "ParameterFieldCheckFailed", BAD_PARAMETER);
}

fn status(door: &Door, ca: &TestCa) -> CaStatus {
    door.instance.trust().get(&ca.serial()).unwrap().status()
}

fn parameters(pairs: Pairs<'_>) -> Parameters {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
