//! Who calls.

use std::fmt;

use crate::id::AccountId;

/// What kind of identity calls on behalf of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrincipalType {
    /// The account itself.
    Account,
    /// A user within the account.
    SubUser,
    /// Somebody in a role of the account.
    AssumedRoleUser,
}

impl fmt::Display for PrincipalType {
    /// As the cloud writes it in `AuthPrincipalType`, as in `SubUser`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "Account",
            Self::SubUser => "SubUser",
            Self::AssumedRoleUser => "AssumedRoleUser",
        })
    }
}

/// An identity of an account.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    pub(super) account: AccountId,
    pub(super) kind: PrincipalType,
    pub(super) display_name: String,
}

impl Principal {
    /// The account itself.
    pub(super) fn account(account: AccountId) -> Self {
        let display_name = account.to_string();
        Self { account, kind: PrincipalType::Account, display_name }
    }
}
