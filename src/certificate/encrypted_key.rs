//! Private keys that a password opens.

use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Pbkdf2Prf};
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::password::Password;

/// A private key in PKCS#8, encrypted by PBES2 with AES, as `openssl pkcs8 -topk8` does it
/// ([RFC 5958 section 3](https://www.rfc-editor.org/rfc/rfc5958#section-3)).
pub(super) struct EncryptedKey(SecretDocument);

impl EncryptedKey {
    /// Reads one PEM section labelled `ENCRYPTED PRIVATE KEY`; `None` where it is malformed.
    pub(super) fn from_pem(section: &str) -> Option<Self> {
        SecretDocument::from_pem(section).ok().map(|(_label, document)| Self(document))
    }

    /// Opens it.
    pub(super) fn open(
        &self,
        password: &Password,
    ) -> Result<Zeroizing<PrivateKeyDer<'static>>, EncryptedKeyError> {
        let info = EncryptedPrivateKeyInfoRef::try_from(self.0.as_bytes())
            .map_err(|_| EncryptedKeyError::Unsupported)?;
        check_cost(&info.encryption_algorithm)?;
        let opened =
            info.decrypt(password.reveal()).map_err(|_| EncryptedKeyError::WrongPassword)?;
        Ok(Zeroizing::new(PrivateKeyDer::Pkcs8(opened.as_bytes().to_vec().into())))
    }
}

/// Why an encrypted private key is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptedKeyError {
    /// No password was given.
    #[error("the private key is encrypted: give its password")]
    NoPassword,
    /// The password does not open it.
    #[error("the password does not open the private key")]
    WrongPassword,
    /// It is encrypted in a way that is too old or not known.
    #[error(
        "the private key is encrypted in a way that is not supported: encrypt it again with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -in old.pem -out new.pem`"
    )]
    Unsupported,
    /// Opening it would take more work than any password is worth.
    #[error("the private key is encrypted with a costlier key derivation than is allowed")]
    TooCostly,
}

fn check_cost(scheme: &EncryptionScheme) -> Result<(), EncryptedKeyError> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Err(EncryptedKeyError::Unsupported);
    };
    let affordable = match &parameters.kdf {
        Kdf::Pbkdf2(kdf) => kdf.iteration_count <= max_iterations(kdf.prf)?,
        // 128 · N · r bytes of memory, passed over p times (RFC 7914 section 2).
        Kdf::Scrypt(kdf) => {
            let passes = u64::from(kdf.block_size) * u64::from(kdf.parallelization);
            kdf.cost_parameter.saturating_mul(passes) <= MAX_SCRYPT_BLOCKS
        }
        _ => return Err(EncryptedKeyError::Unsupported),
    };
    if affordable { Ok(()) } else { Err(EncryptedKeyError::TooCostly) }
}

/// About a second of one core. What is not known would else look like a wrong password.
fn max_iterations(prf: Pbkdf2Prf) -> Result<u32, EncryptedKeyError> {
    match prf {
        Pbkdf2Prf::HmacWithSha224 | Pbkdf2Prf::HmacWithSha256 => Ok(5_000_000),
        Pbkdf2Prf::HmacWithSha384 | Pbkdf2Prf::HmacWithSha512 => Ok(1_500_000),
        _ => Err(EncryptedKeyError::Unsupported),
    }
}

/// N · r · p: 256 MiB, passed over once.
const MAX_SCRYPT_BLOCKS: u64 = 1 << 21;
