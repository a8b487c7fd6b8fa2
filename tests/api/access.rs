//! Whose word decides what an account may do, in which order, and what the answers tell.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use mqtls::CaStatus::{Active, Inactive};
use mqtls::control::{
    AccessDenied, AccessDeniedDetail, AccessRequest, Authoriser, Cause, PrincipalType, RequestId,
};
use mqtls::sni::SniTable;
use mqtls::trust::Authority;
use mqtls::{
    AccountId, ActiveCaCertificate, ActiveDeviceCertificate, CaStatus, Caller, DeleteCaCertificate,
    DeleteDeviceCertificate, DeviceCertificate, DeviceStatus, Edition, GetCaCertificate,
    GetDeviceCertificate, InactivateCaCertificate, InactivateDeviceCertificate, InstanceId,
    InstanceSpec, Instances, ListCaCertificate, ListDeviceCertificate, ListDeviceCertificateByCaSn,
    LoadRevocationList, Memory, OperationError, Region, RegisterCa, RegisterDeviceCertificate,
    RevocationList, SerialNumber, SetSniConfig, Sha256,
};
use rustls::version::TLS13;

use crate::line::Line;
use crate::support::{Door, Identity, Log, Logged, TestCa, provider};

#[tokio::test]
async fn what_is_granted_is_done_after_one_question() {
    for row in ROWS {
        let mut scene = Scene::open().await;
        let desk = Desk::that_grants();
        (row.apply)(&scene.wish(HERE), &desk.caller()).unwrap();
        assert_eq!(desk.asked(), [row.question(HERE)], "{}", row.name);
        let changed = scene.state() != scene.before;
        assert_eq!(changed, row.changes, "{}", row.name);
        if !row.changes {
            scene.assert_untouched().await;
        }
    }
}

#[tokio::test]
async fn what_is_denied_is_answered_in_full_and_nothing_changes() {
    let implicit = AccessDenied::implicit();
    let explicit = AccessDenied::explicit()
        .policy_type("ControlPolicy")
        .encoded_diagnostic_message("AQFma6gWZmuoFkMx");
    let words = [
        (implicit, ["", "ImplicitDeny", "AccountLevelIdentityBasedPolicy"]),
        (explicit, ["AQFma6gWZmuoFkMx", "ExplicitDeny", "ControlPolicy"]),
    ];
    for (row, (denied, [message, kind, policy])) in
        ROWS.iter().flat_map(|row| words.clone().map(|words| (row, words)))
    {
        let mut scene = Scene::open().await;
        let desk = Desk::that_answers(Err(denied));
        let error = (row.apply)(&scene.wish(HERE), &desk.caller()).unwrap_err();
        row.assert_answer(&error, 403, "PermissionCheckFailed", NO_PERMISSION);
        let mut detail = AccessDeniedDetail::default();
        row.name.clone_into(&mut detail.auth_action);
        DISPLAY_NAME.clone_into(&mut detail.auth_principal_display_name);
        ACCOUNT.clone_into(&mut detail.auth_principal_owner_id);
        "SubUser".clone_into(&mut detail.auth_principal_type);
        message.clone_into(&mut detail.encoded_diagnostic_message);
        kind.clone_into(&mut detail.no_permission_type);
        policy.clone_into(&mut detail.policy_type);
        assert_eq!(error.access_denied_detail(), Some(&detail));
        let cause = format!("the caller may not do this: {kind} by {policy:?}");
        assert_eq!(error.cause().to_string(), cause);
        assert_eq!(desk.asked(), [row.question(HERE)], "{}", row.name);
        scene.assert_untouched().await;
    }
}

#[tokio::test]
async fn a_denial_is_the_same_whatever_there_is() {
    for row in ROWS {
        let scene = Scene::open().await;
        let told: Vec<String> = EVERYWHERE
            .map(|(id, _)| {
                let desk = Desk::that_answers(Err(AccessDenied::implicit()));
                let error = (row.apply)(&scene.wish(id), &desk.caller()).unwrap_err();
                assert_eq!(desk.asked(), [row.question(id)], "{}", row.name);
                row.assert_answer(&error, 403, "PermissionCheckFailed", NO_PERMISSION);
                told(&error, id)
            })
            .into();
        assert!(told.iter().all(|text| *text == told[0]), "{}: {told:?}", row.name);
    }
}

/// What goes or comes while the authoriser makes up its mind is gone or there afterwards.
#[tokio::test]
async fn nothing_is_looked_up_before_the_authoriser_has_answered() {
    for row in ROWS {
        let scene = Scene::open().await;
        let instances = scene.door.instances.clone();
        let removes = Desk::that_does(move || assert!(instances.remove(&id(HERE)).is_some()));
        let error = (row.apply)(&scene.wish(HERE), &removes.caller()).unwrap_err();
        row.assert_answer(&error, row.refusal_status, "MqttInstanceNotFound", NO_INSTANCE);

        let instances = scene.door.instances.clone();
        let creates = Desk::that_does(move || {
            drop(instances.create(InstanceSpec::new(id(NOWHERE)).region(region(REGION))).unwrap());
        });
        let error = (row.apply)(&scene.wish(NOWHERE), &creates.caller()).unwrap_err();
        row.assert_answer(&error, row.owner_status, "MqttOwnerCheckError", NOT_OWNED);
    }
}

#[tokio::test]
async fn an_instance_that_is_not_the_callers_is_an_owner_check_error_that_names_nobody() {
    for (row, there) in ROWS.iter().flat_map(|row| [OF_OTHERS, OF_NOBODY].map(|id| (row, id))) {
        let mut scene = Scene::open().await;
        let desk = Desk::that_grants();
        let error = (row.apply)(&scene.wish(there), &desk.caller()).unwrap_err();
        row.assert_answer(&error, row.owner_status, "MqttOwnerCheckError", NOT_OWNED);
        assert_eq!(error.access_denied_detail(), None);
        match error.cause() {
            Cause::NotOwner(named) => assert_eq!(*named, id(there)),
            other => panic!("{other}"),
        }
        let text = told(&error, there);
        assert!(!text.contains(OTHER_ACCOUNT) && !text.contains(REGION), "{text}");
        assert_eq!(desk.asked(), [row.question(there)], "{}", row.name);
        scene.assert_untouched().await;

        // Nor does the other account reach what is this one's.
        let theirs = Caller::account(account(OTHER_ACCOUNT), region(REGION), Desk::that_grants());
        let error = (row.apply)(&scene.wish(HERE), &theirs).unwrap_err();
        row.assert_answer(&error, row.owner_status, "MqttOwnerCheckError", NOT_OWNED);
        scene.assert_untouched().await;
    }
}

#[tokio::test]
async fn an_instance_in_another_region_or_in_none_is_not_there() {
    for row in ROWS {
        let mut scene = Scene::open().await;
        for there in [NOWHERE, IN_ANOTHER_REGION, OF_OTHERS_ELSEWHERE, IN_NO_REGION] {
            let desk = Desk::that_grants();
            let error = (row.apply)(&scene.wish(there), &desk.caller()).unwrap_err();
            row.assert_answer(&error, row.refusal_status, "MqttInstanceNotFound", NO_INSTANCE);
            assert_eq!(desk.asked(), [row.question(there)], "{}", row.name);
            assert!(matches!(error.cause(), Cause::NoSuchInstance(named) if *named == id(there)));
            let cause = format!("there is no instance {there}");
            assert_eq!(error.cause().to_string(), cause);
            // The very same as from a set that holds nothing.
            let empty = Instances::new(provider(), Memory::new());
            let wish = Wish { instances: &empty, ..scene.wish(there) };
            let nowhere = (row.apply)(&wish, &desk.caller()).unwrap_err();
            assert_eq!(told(&error, there), told(&nowhere, there));
        }
        scene.assert_untouched().await;
    }
}

#[tokio::test]
async fn a_stranger_who_is_granted_everything_learns_no_serial_number() {
    for (row, there) in ROWS.iter().flat_map(|row| [OF_OTHERS, OF_NOBODY].map(|id| (row, id))) {
        let scene = Scene::open().await;
        let caller = Desk::that_grants().caller();
        let ask = |ca: &TestCa| {
            let wish = Wish { old: ca, idle: ca, new: ca, ..scene.wish(there) };
            told(&(row.apply)(&wish, &caller).unwrap_err(), there)
        };
        let ask_of_device = |device: &Identity| {
            let wish = Wish { device, idle_device: device, ..scene.wish(there) };
            told(&(row.apply)(&wish, &caller).unwrap_err(), there)
        };
        let unknown = ask(&TestCa::root("unknown"));
        for device in [&scene.device, &scene.idle_device, &scene.old.device("unknown")] {
            assert_eq!(ask_of_device(device), unknown, "{}", row.name);
        }
        for known in [&scene.old, &scene.idle] {
            let registered = scene.door.instances.get(&id(there)).unwrap();
            assert!(registered.trust().get(&known.serial()).is_some());
            assert_eq!(ask(known), unknown, "{}", row.name);
        }
    }
    // Nor anything else that only the instance could say.
    let scene = Scene::open().await;
    let operation = RegisterCa {
        mqtt_instance_id: id(OF_OTHERS),
        name: "n".repeat(129),
        status: Active,
        certificate: scene.new.certificate(),
    };
    let caller = Desk::that_grants().caller();
    let error = operation.apply(&scene.door.instances, &caller).unwrap_err();
    assert_eq!(error.code().to_string(), "MqttOwnerCheckError");
}

#[tokio::test]
async fn the_embedder_is_asked_nothing_and_reaches_every_instance() {
    for (row, (there, exists)) in ROWS.iter().flat_map(|row| EVERYWHERE.map(|at| (row, at))) {
        let scene = Scene::open().await;
        for caller in [Caller::local(), Caller::local().principal(PrincipalType::SubUser, "me")] {
            let outcome = (row.apply)(&scene.wish(there), &caller);
            match outcome {
                Ok(_) => assert!(exists),
                Err(error) if exists => {
                    // The second time: what is deleted is gone, what is registered is there.
                    let again = ["FindCaBySnError", "FindDeviceBySnError", "SnNotUnique"];
                    assert!(again.contains(&error.code().to_string().as_str()), "{error}");
                }
                Err(error) => {
                    let status = row.refusal_status;
                    row.assert_answer(&error, status, "MqttInstanceNotFound", NO_INSTANCE);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_panic_in_the_authoriser_grants_nothing_and_breaks_nothing() {
    for row in ROWS {
        let mut scene = Scene::open().await;
        let desk = Desk::that_does(|| panic!("the policies are on fire"));
        let outcome =
            catch_unwind(AssertUnwindSafe(|| (row.apply)(&scene.wish(HERE), &desk.caller())));
        let panic = outcome.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the policies are on fire"));
        scene.assert_untouched().await;
        (row.apply)(&scene.wish(HERE), &Desk::that_grants().caller()).unwrap();
        (row.apply)(&scene.wish(OF_OTHERS), &Caller::local()).unwrap();
    }
}

#[tokio::test]
async fn the_names_of_a_configuration_are_told_in_canonical_form_and_its_passwords_not() {
    let scene = Scene::open().await;
    let desk = Desk::that_answers(Err(AccessDenied::implicit()));
    let operation = SetSniConfig {
        mqtt_instance_id: id(HERE),
        default_certificate: "default".parse().unwrap(),
        sni_config: "EU.Example.COM.#a;*.A.example.com#b#hunter2;eu.example.com#c".parse().unwrap(),
    };
    operation.apply(&scene.door.instances, &desk.caller()).unwrap_err();
    let [question] = &desk.asked()[..] else { panic!() };
    assert_eq!(question.names, ["eu.example.com", "*.a.example.com", "eu.example.com"]);
    let shown = desk.shown();
    assert!(shown.contains("eu.example.com") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn an_account_is_its_own_principal_unless_another_one_is_named() {
    let door = Door::open();
    let desk = Desk::that_answers(Err(AccessDenied::implicit()));
    let caller = Caller::account(account(ACCOUNT), region(REGION), Arc::clone(&desk) as _);
    let principals = [
        (caller.clone(), PrincipalType::Account, ACCOUNT, "Account"),
        (
            caller.clone().principal(PrincipalType::SubUser, "2063"),
            PrincipalType::SubUser,
            "2063",
            "SubUser",
        ),
        (
            caller.principal(PrincipalType::AssumedRoleUser, "role/ci"),
            PrincipalType::AssumedRoleUser,
            "role/ci",
            "AssumedRoleUser",
        ),
    ];
    for (caller, kind, name, text) in principals {
        let operation =
            GetCaCertificate { mqtt_instance_id: id(HERE), sn: TestCa::root("fleet").serial() };
        let error = operation.apply(&door.instances, &caller).unwrap_err();
        let detail = error.access_denied_detail().unwrap();
        assert_eq!(detail.auth_principal_type, text);
        assert_eq!(detail.auth_principal_display_name, name);
        assert_eq!(detail.auth_principal_owner_id, ACCOUNT);
        let question = desk.asked().pop().unwrap();
        assert_eq!((question.principal_type, question.display_name.as_str()), (kind, name));
        assert_eq!((question.account.as_str(), question.region.as_str()), (ACCOUNT, REGION));
    }
}

#[tokio::test]
async fn refusals_and_changes_are_logged_with_the_caller_escaped() {
    let named = "operator\naction=\"forged\"";
    let is_named = |text: &str| {
        text.contains(&format!("account: AccountId({ACCOUNT})"))
            && text.contains(&format!("{named:?}"))
    };
    let denied = AccessDenied::explicit().policy_type("a\nb").encoded_diagnostic_message("AQFma6");
    for row in ROWS {
        for (there, answer, cause) in [
            (HERE, Err(denied.clone()), "ExplicitDeny by \"a\\nb\""),
            (OF_OTHERS, Ok(()), "does not belong"),
            (NOWHERE, Ok(()), "there is no instance"),
            (HERE, Ok(()), "operation applied"),
        ] {
            let scene = Scene::open().await;
            let desk = Desk::that_answers(answer);
            let caller = desk.caller().principal(PrincipalType::SubUser, named);
            let log = Log::start();
            let outcome = (row.apply)(&scene.wish(there), &caller);
            let logged = log.so_far();
            assert!(logged.iter().all(|event| !event.text.contains(OTHER_ACCOUNT)), "{logged:?}");
            assert!(logged.iter().all(|event| !event.text.contains("AQFma6")), "{logged:?}");
            let wanted = |event: &&Logged| {
                event.text.contains("message=operation ") && event.text.contains(cause)
            };
            let event = logged.iter().find(wanted);
            if outcome.is_ok() && !row.changes {
                assert!(event.is_none(), "{logged:?}");
                continue;
            }
            let event = event.unwrap_or_else(|| panic!("{}: {logged:?}", row.name));
            let request_id = match &outcome {
                Ok(request_id) => *request_id,
                Err(error) => error.request_id(),
            };
            assert_eq!(event.level, tracing::Level::INFO);
            assert!(is_named(&event.text), "{}", event.text);
            assert!(!event.text.contains('\n'), "{}", event.text);
            for part in [
                format!("action={:?}", row.name),
                format!("request_id={request_id}"),
                format!("instance={there}"),
            ] {
                assert!(event.text.contains(&part), "{part}: {}", event.text);
            }
        }
    }
}

#[test]
fn what_a_caller_shows_of_itself() {
    assert_eq!(format!("{:?}", Caller::local()), "Local");
    let caller = Desk::that_grants().caller();
    assert_eq!(
        format!("{caller:?}"),
        "Account { account: AccountId(1245000000034343), region: Region(cn-hangzhou), \
         principal_type: SubUser, display_name: \"2063000000000533\", .. }"
    );
}

#[test]
fn an_instance_tells_where_and_whose_it_is() {
    let door = Door::open();
    let plain = &door.instance;
    assert_eq!((plain.region(), plain.owner()), (None, None));
    assert_eq!(plain.edition(), Edition::Platinum);
    for edition in [Edition::Standard, Edition::Professional, Edition::Platinum] {
        let door = Door::open_as(|spec| {
            spec.region(region(REGION)).owner(account(ACCOUNT)).edition(edition)
        });
        assert_eq!(door.instance.region(), Some(&region(REGION)));
        assert_eq!(door.instance.owner(), Some(&account(ACCOUNT)));
        assert_eq!(door.instance.edition(), edition);
    }
}

/// An operation, and how it is asked for and refused.
struct Row {
    name: &'static str,
    action: &'static str,
    all_resources: bool,
    names: &'static [&'static str],
    /// For an instance that is not there.
    refusal_status: u16,
    owner_status: u16,
    changes: bool,
    apply: fn(&Wish<'_>, &Caller) -> Result<RequestId, OperationError>,
}

impl Row {
    /// What the authoriser is to be asked, once.
    fn question(&self, instance: &str) -> Question {
        let resource = if self.all_resources {
            "*".to_owned()
        } else {
            format!("acs:mq:cn-hangzhou:1245000000034343:{instance}")
        };
        Question {
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            principal_type: PrincipalType::SubUser,
            display_name: DISPLAY_NAME.to_owned(),
            action: self.action,
            dependent_action: "mq:MqttInstanceAccess",
            resource,
            instance: instance.to_owned(),
            names: self.names.iter().map(ToString::to_string).collect(),
        }
    }

    fn assert_answer(&self, error: &OperationError, status: u16, code: &str, message: &str) {
        let code_told = error.code().to_string();
        let answer = (error.action(), error.http_status(), code_told.as_str(), error.message());
        assert_eq!(answer, (self.name, status, code, message));
    }
}

/// A call of `SetSniConfig`.
macro_rules! on_the_map {
    ($changes:literal, |$operation:ident, $wish:ident, $caller:ident| $call:expr) => {
        Row {
            name: "SetSniConfig",
            action: "mq:SetSniConfig",
            all_resources: true,
            names: &["x.example.com", "*.example.com"],
            refusal_status: 400,
            owner_status: 400,
            changes: $changes,
            apply: |$wish, $caller| {
                let $operation = SetSniConfig {
                    mqtt_instance_id: id($wish.id),
                    default_certificate: "default".parse().unwrap(),
                    sni_config: "X.Example.com#default;*.EXAMPLE.com.#default".parse().unwrap(),
                };
                $call.map(|done| done.request_id)
            },
        }
    };
}

macro_rules! on_instance {
    ($operation:ident, $action:literal, $changes:literal, $apply:expr) => {
        Row {
            name: stringify!($operation),
            action: $action,
            all_resources: false,
            names: &[],
            refusal_status: 500,
            owner_status: 403,
            changes: $changes,
            apply: $apply,
        }
    };
}

macro_rules! on_one_ca {
    ($operation:ident, $action:literal, $ca:ident, $changes:literal, $apply:ident) => {
        on_instance!($operation, $action, $changes, |wish, caller| {
            let sn = wish.$ca.serial();
            let operation = $operation { mqtt_instance_id: id(wish.id), sn };
            operation.$apply(wish.instances, caller).map(|done| done.request_id)
        })
    };
}

macro_rules! on_one_device {
    ($operation:ident, $action:literal, $device:ident, $changes:literal, $apply:ident) => {
        on_instance!($operation, $action, $changes, |wish, caller| {
            let (ca_sn, device_sn) = (wish.old.serial(), wish.$device.serial());
            let operation = $operation { mqtt_instance_id: id(wish.id), ca_sn, device_sn };
            operation.$apply(wish.instances, caller).map(|done| done.request_id)
        })
    };
}

const ROWS: &[Row] = &[
    on_the_map!(true, |operation, wish, caller| operation.apply(wish.instances, caller)),
    on_the_map!(true, |operation, wish, caller| operation.apply_if(
        wish.generation(),
        wish.instances,
        caller
    )),
    on_the_map!(false, |operation, wish, caller| operation.plan(wish.instances, caller)),
    on_one_ca!(ActiveCaCertificate, "mq:ActiveCaCertificate", idle, true, apply),
    on_one_ca!(InactivateCaCertificate, "mq:UnregisterCaCertificate", old, true, apply),
    on_one_ca!(InactivateCaCertificate, "mq:UnregisterCaCertificate", old, false, dry_run),
    on_one_ca!(DeleteCaCertificate, "mq:DeleteCaCertificate", old, true, apply),
    on_one_ca!(DeleteCaCertificate, "mq:DeleteCaCertificate", old, false, dry_run),
    on_one_ca!(GetCaCertificate, "mq:GetCaCertificate", old, false, apply),
    on_instance!(ListCaCertificate, "mq:ListCaCertificate", false, |wish, caller| {
        let (mqtt_instance_id, after) = (id(wish.id), None);
        let page_size = 7.try_into().unwrap();
        let operation = ListCaCertificate { mqtt_instance_id, after, page_size };
        operation.apply(wish.instances, caller).map(|done| done.request_id)
    }),
    Row {
        name: "RegisterCaCertificate",
        action: "mq:RegisterCa",
        all_resources: false,
        names: &[],
        refusal_status: 500,
        owner_status: 403,
        changes: true,
        apply: |wish, caller| {
            let operation = RegisterCa {
                mqtt_instance_id: id(wish.id),
                name: "fleet".to_owned(),
                status: Active,
                certificate: wish.new.certificate(),
            };
            operation.apply(wish.instances, caller).map(|done| done.request_id)
        },
    },
    on_instance!(LoadRevocationList, "mq:LoadRevocationList", true, |wish, caller| {
        wish.load().apply(wish.instances, caller).map(|done| done.request_id)
    }),
    on_instance!(LoadRevocationList, "mq:LoadRevocationList", false, |wish, caller| {
        wish.load().dry_run(wish.instances, caller).map(|done| done.request_id)
    }),
    on_one_device!(GetDeviceCertificate, "mq:GetDeviceCertificate", device, false, apply),
    on_instance!(ListDeviceCertificate, "mq:ListDeviceCertificate", false, |wish, caller| {
        let (mqtt_instance_id, after) = (id(wish.id), None);
        let page_size = 7.try_into().unwrap();
        let operation = ListDeviceCertificate { mqtt_instance_id, after, page_size };
        operation.apply(wish.instances, caller).map(|done| done.request_id)
    }),
    on_instance!(
        ListDeviceCertificateByCaSn,
        "mq:ListDeviceCertificateByCaSn",
        false,
        |wish, caller| {
            let operation = ListDeviceCertificateByCaSn {
                mqtt_instance_id: id(wish.id),
                ca_sn: wish.old.serial(),
                after: None,
                page_size: 7.try_into().unwrap(),
            };
            operation.apply(wish.instances, caller).map(|done| done.request_id)
        }
    ),
    on_one_device!(ActiveDeviceCertificate, "mq:ActiveDeviceCertificate", idle_device, true, apply),
    on_one_device!(
        InactivateDeviceCertificate,
        "mq:UnregisterDeviceCertificate",
        device,
        true,
        apply
    ),
    on_one_device!(
        InactivateDeviceCertificate,
        "mq:UnregisterDeviceCertificate",
        device,
        false,
        dry_run
    ),
    on_one_device!(DeleteDeviceCertificate, "mq:DeleteDeviceCertificate", device, true, apply),
    on_one_device!(DeleteDeviceCertificate, "mq:DeleteDeviceCertificate", device, false, dry_run),
    on_instance!(
        RegisterDeviceCertificate,
        "mq:RegisterDeviceCertificate",
        true,
        |wish, caller| {
            let operation = registration(wish.id, wish.old, wish.new_device, DeviceStatus::Active);
            operation.apply(wish.instances, caller).map(|done| done.request_id)
        }
    ),
];

fn registration(
    instance: &str,
    ca: &TestCa,
    device: &Identity,
    status: DeviceStatus,
) -> RegisterDeviceCertificate {
    RegisterDeviceCertificate {
        mqtt_instance_id: id(instance),
        ca_sn: ca.serial(),
        status,
        certificate: DeviceCertificate::from_der(device.chain.clone()).unwrap(),
    }
}

/// What an operation is tried on.
struct Wish<'a> {
    instances: &'a Instances,
    id: &'a str,
    /// Registered and active.
    old: &'a TestCa,
    /// Registered and inactive.
    idle: &'a TestCa,
    /// Not registered.
    new: &'a TestCa,
    /// On record under the active CA, active.
    device: &'a Identity,
    /// On record under the active CA, inactive.
    idle_device: &'a Identity,
    /// Not on record.
    new_device: &'a Identity,
    /// By the active CA, which revokes a device with it.
    list: &'a RevocationList,
}

impl Wish<'_> {
    /// Which certificate map is in force.
    fn generation(&self) -> u64 {
        let table = self.instances.get(&id(self.id)).and_then(|instance| instance.sni().table());
        table.map_or(0, |table| table.generation())
    }

    fn load(&self) -> LoadRevocationList {
        LoadRevocationList {
            mqtt_instance_id: id(self.id),
            sn: self.old.serial(),
            revocation_list: self.list.clone(),
        }
    }
}

/// Instances here, there and elsewhere, with the same certificates, CAs and devices each; a device of
/// the active CA is connected to the caller's own.
struct Scene {
    door: Door,
    old: TestCa,
    idle: TestCa,
    new: TestCa,
    device: Identity,
    idle_device: Identity,
    new_device: Identity,
    list: RevocationList,
    line: Line,
    before: Vec<State>,
}

impl Scene {
    async fn open() -> Self {
        let mine = |spec: InstanceSpec| spec.region(region(REGION)).owner(account(ACCOUNT));
        let door = Door::open_as(mine);
        let elsewhere = region("cn-shanghai");
        let others = account(OTHER_ACCOUNT);
        let doors = [
            door.beside_as(OF_OTHERS, |spec| spec.region(region(REGION)).owner(others.clone())),
            door.beside_as(OF_NOBODY, |spec| spec.region(region(REGION))),
            door.beside_as(IN_ANOTHER_REGION, |spec| mine(spec).region(elsewhere.clone())),
            door.beside_as(OF_OTHERS_ELSEWHERE, |spec| {
                spec.region(elsewhere.clone()).owner(others.clone())
            }),
            door.beside_as(IN_NO_REGION, |spec| spec.owner(account(ACCOUNT))),
        ];
        let [old, idle, new] = ["old", "idle", "new"].map(TestCa::root);
        let [device, idle_device, new_device] = ["device", "idle", "new"].map(|it| old.device(it));
        for door in doors.iter().chain([&door]) {
            door.register(&old, Active).unwrap();
            door.register(&idle, Inactive).unwrap();
            for (device, status) in
                [(&device, DeviceStatus::Active), (&idle_device, DeviceStatus::Inactive)]
            {
                let operation = registration(door.instance.id().as_str(), &old, device, status);
                operation.apply(&door.instances, &Caller::local()).unwrap();
            }
        }
        let list = old.list(1, &[device.serial()], |_| {});
        let list = RevocationList::from_der(&list).unwrap();
        let line = Line::up(&door, Some(&device), &TLS13).await;
        let before = vec![];
        let mut scene =
            Self { door, old, idle, new, device, idle_device, new_device, list, line, before };
        scene.before = scene.state();
        scene
    }

    fn wish<'a>(&'a self, id: &'a str) -> Wish<'a> {
        Wish {
            instances: &self.door.instances,
            id,
            old: &self.old,
            idle: &self.idle,
            new: &self.new,
            device: &self.device,
            idle_device: &self.idle_device,
            new_device: &self.new_device,
            list: &self.list,
        }
    }

    fn state(&self) -> Vec<State> {
        let there = EVERYWHERE.into_iter().filter(|(_, exists)| *exists);
        there
            .map(|(there, _)| {
                let instance = self.door.instances.get(&id(there)).unwrap();
                let page = instance.trust().list(None, 100);
                let status = |ca: &Arc<Authority>| {
                    let list = ca.revocation_list().map(|list| list.sha256());
                    (ca.certificate().serial().clone(), ca.status(), list)
                };
                let devices = instance.trust().list_devices(None, 100).devices;
                let devices = devices.iter().map(|it| (it.serial().clone(), it.status()));
                State {
                    table: instance.sni().table().unwrap(),
                    statuses: page.authorities.iter().map(status).collect(),
                    devices: devices.collect(),
                    connections: instance.connections(),
                }
            })
            .collect()
    }

    async fn assert_untouched(&mut self) {
        assert_eq!(self.state(), self.before);
        self.line.exchange().await;
    }
}

/// What must not move.
#[derive(Debug)]
struct State {
    table: Arc<SniTable>,
    statuses: Vec<(SerialNumber, CaStatus, Option<Sha256>)>,
    devices: Vec<(SerialNumber, DeviceStatus)>,
    connections: usize,
}

/// To the pointer, where it is the table.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
            && self.statuses == other.statuses
            && self.devices == other.devices
            && self.connections == other.connections
    }
}

/// Writes down what it is asked.
struct Desk {
    answer: Box<dyn Fn() -> Result<(), AccessDenied> + Send + Sync>,
    asked: Mutex<Vec<Question>>,
    shown: Mutex<String>,
}

impl Desk {
    fn that_grants() -> Arc<Self> {
        Self::that_answers(Ok(()))
    }

    fn that_answers(answer: Result<(), AccessDenied>) -> Arc<Self> {
        Self::with(move || answer.clone())
    }

    fn that_does(act: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Self::with(move || {
            act();
            Ok(())
        })
    }

    fn with(answer: impl Fn() -> Result<(), AccessDenied> + Send + Sync + 'static) -> Arc<Self> {
        let answer = Box::new(answer);
        Self { answer, asked: Mutex::default(), shown: Mutex::default() }.into()
    }

    /// A user of the account, about whom this desk decides.
    fn caller(self: &Arc<Self>) -> Caller {
        Caller::account(account(ACCOUNT), region(REGION), Arc::clone(self) as _)
            .principal(PrincipalType::SubUser, DISPLAY_NAME)
    }

    fn asked(&self) -> Vec<Question> {
        self.asked.lock().unwrap().clone()
    }

    /// How the last request writes itself.
    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }
}

impl Authoriser for Desk {
    fn authorise(&self, request: &AccessRequest<'_>) -> Result<(), AccessDenied> {
        self.asked.lock().unwrap().push(Question {
            account: request.account().to_string(),
            region: request.region().to_string(),
            principal_type: request.principal_type(),
            display_name: request.principal_display_name().to_owned(),
            action: request.action(),
            dependent_action: request.dependent_action(),
            resource: request.resource().to_string(),
            instance: request.instance().to_string(),
            names: request.names().map(ToString::to_string).collect(),
        });
        *self.shown.lock().unwrap() = format!("{request:?}");
        (self.answer)()
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Question {
    account: String,
    region: String,
    principal_type: PrincipalType,
    display_name: String,
    action: &'static str,
    dependent_action: &'static str,
    resource: String,
    instance: String,
    names: Vec<String>,
}

/// All that an error tells, but for the request's id and the instance's.
fn told(error: &OperationError, id: &str) -> String {
    let answer = (error.action(), error.http_status(), error.code(), error.message());
    let detail = error.access_denied_detail();
    let cause = error.cause();
    let text = format!("{error} {error:?} {answer:?} {detail:?} {cause} {cause:?}");
    text.replace(&error.request_id().to_string(), "REQUEST").replace(id, "INSTANCE")
}

fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn region(text: &str) -> Region {
    text.parse().unwrap()
}

const NO_INSTANCE: &str = "Specified instance is not found";
const NOT_OWNED: &str = "Failed to validate the instance permission";
const NO_PERMISSION: &str = "Failed to verify API permissions.";

const ACCOUNT: &str = "1245000000034343";
const OTHER_ACCOUNT: &str = "1999999999999999";
const DISPLAY_NAME: &str = "2063000000000533";
const REGION: &str = "cn-hangzhou";

const HERE: &str = "mqtt-test";
const NOWHERE: &str = "mqtt-none";
const OF_OTHERS: &str = "mqtt-theirs";
const OF_NOBODY: &str = "mqtt-nobodys";
const IN_ANOTHER_REGION: &str = "mqtt-elsewhere";
const OF_OTHERS_ELSEWHERE: &str = "mqtt-theirs-elsewhere";
const IN_NO_REGION: &str = "mqtt-without-region";

/// Every instance, and whether it exists.
const EVERYWHERE: [(&str, bool); 7] = [
    (HERE, true),
    (OF_OTHERS, true),
    (OF_NOBODY, true),
    (IN_ANOTHER_REGION, true),
    (OF_OTHERS_ELSEWHERE, true),
    (IN_NO_REGION, true),
    (NOWHERE, false),
];
