//! The operation on server names.

use mqtls::{Caller, Instances, SetSniConfig};
use serde_json::json;

use super::answer::Outcome;
use super::line::Mode;
use super::typed::Typed;

/// `SetSniConfig`.
pub(super) fn set_sni_config(from: Typed, _: Mode, to: &Instances, me: &Caller) -> Outcome {
    let done = SetSniConfig::from_parameters(&from.into())?.apply(to, me)?;
    let mut answer = json!({ "RequestId": done.request_id.to_string(), "Success": "True" });
    if let (Some(fields), false) = (answer.as_object_mut(), done.warnings.is_empty()) {
        let warnings = done.warnings.iter().map(ToString::to_string).collect();
        fields.insert("Warnings".to_owned(), warnings);
    }
    Ok(answer)
}
