//! Who may call, as the operator says it. Secrets are read from files: a variable is seen by whoever sees the process.

use chassis::config::{Fault, key_of, text_of};

use super::jwt::{SECRET_BYTES_MIN, Tokens};
use super::token::{Digest, digest};

/// The settings as they are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'s> {
    pub(crate) admin_key_file: &'s str,
    pub(crate) jwt_secret_file: &'s str,
    pub(crate) jwt_public_key_file: &'s str,
    pub(crate) jwt_audience: &'s str,
}

/// Whom to let in.
#[derive(Clone, Debug, Default)]
pub(crate) enum WhoMay {
    #[default]
    Anyone,
    /// Who has a key in the store, this key, or a token that can be verified.
    Known { admin: Option<Digest>, tokens: Option<Box<Tokens>> },
}

impl WhoMay {
    /// Reads what the settings name.
    pub(crate) fn read(settings: &Settings<'_>, auth: bool, faults: &mut Vec<Fault>) -> Self {
        if !auth {
            faults.extend(settings.without_effect());
            return Self::Anyone;
        }
        let admin = settings.admin(faults);
        let tokens = settings.tokens(faults).map(Box::new);
        Self::Known { admin, tokens }
    }
}

impl Settings<'_> {
    fn without_effect(&self) -> Vec<Fault> {
        let named = [
            ("LONGSHORE_ADMIN_KEY_FILE", self.admin_key_file),
            ("LONGSHORE_JWT_SECRET_FILE", self.jwt_secret_file),
            ("LONGSHORE_JWT_PUBLIC_KEY_FILE", self.jwt_public_key_file),
        ];
        let set = named.into_iter().filter(|(_, path)| !path.is_empty()).map(|(name, _)| name);
        let said = |name: &str| {
            format!("{name} is set, but nobody is asked for a key: set LONGSHORE_AUTH=1, too, or leave it out.")
        };
        set.map(|name| Fault::sentence(said(name))).collect()
    }

    fn admin(&self, faults: &mut Vec<Fault>) -> Option<Digest> {
        named(key_of, "LONGSHORE_ADMIN_KEY_FILE", self.admin_key_file, faults).map(|key| digest(&key))
    }

    fn tokens(&self, faults: &mut Vec<Fault>) -> Option<Tokens> {
        if !self.jwt_secret_file.is_empty() && !self.jwt_public_key_file.is_empty() {
            faults.push(Fault::sentence(
                "LONGSHORE_JWT_SECRET_FILE and LONGSHORE_JWT_PUBLIC_KEY_FILE are both set: the key decides about the algorithm, so there is one."
                    .to_owned(),
            ));
            return None;
        }
        if let Some(secret) = named(text_of, "LONGSHORE_JWT_SECRET_FILE", self.jwt_secret_file, faults) {
            let tokens = Tokens::hs256(secret.trim().as_bytes(), self.jwt_audience);
            if tokens.is_none() {
                faults.push(Fault::sentence(format!(
                    "LONGSHORE_JWT_SECRET_FILE names {}, which holds less than {SECRET_BYTES_MIN} bytes.",
                    self.jwt_secret_file
                )));
            }
            return tokens;
        }
        let pem = named(text_of, "LONGSHORE_JWT_PUBLIC_KEY_FILE", self.jwt_public_key_file, faults)?;
        let tokens = Tokens::eddsa(&pem, self.jwt_audience);
        if tokens.is_none() {
            faults.push(Fault::sentence(format!(
                "LONGSHORE_JWT_PUBLIC_KEY_FILE names {}, which is no public key of Ed25519 in PEM, as openssl pkey -pubout writes it.",
                self.jwt_public_key_file
            )));
        }
        tokens
    }
}

/// What is read from the file; `None` if none is named, or what is there is a fault.
fn named(
    read: fn(&str, &str) -> Result<String, Fault>,
    name: &str,
    path: &str,
    faults: &mut Vec<Fault>,
) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    read(name, path).map_err(|fault| faults.push(fault)).ok()
}
