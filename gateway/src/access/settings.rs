//! Who may call, as the operator says it. Secrets are read from files: a variable is seen by whoever sees the process.

use std::fs;

use chassis::config::Fault;

use super::jwt::{SECRET_BYTES_MIN, Tokens};
use super::token::{Digest, digest};

/// Characters of the first key, at least.
const ADMIN_KEY_BYTES_MIN: usize = 32;

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
        let text = read("LONGSHORE_ADMIN_KEY_FILE", self.admin_key_file, faults)?;
        let key = text.trim();
        if key.len() >= ADMIN_KEY_BYTES_MIN && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(digest(key));
        }
        faults.push(Fault::sentence(format!(
            "LONGSHORE_ADMIN_KEY_FILE names {}, which must hold one word of {ADMIN_KEY_BYTES_MIN} printable characters or more: make one with \
             openssl rand -hex 32.",
            self.admin_key_file
        )));
        None
    }

    fn tokens(&self, faults: &mut Vec<Fault>) -> Option<Tokens> {
        if !self.jwt_secret_file.is_empty() && !self.jwt_public_key_file.is_empty() {
            faults.push(Fault::sentence(
                "LONGSHORE_JWT_SECRET_FILE and LONGSHORE_JWT_PUBLIC_KEY_FILE are both set: the key decides about the algorithm, so there is one."
                    .to_owned(),
            ));
            return None;
        }
        if let Some(secret) = read("LONGSHORE_JWT_SECRET_FILE", self.jwt_secret_file, faults) {
            let tokens = Tokens::hs256(secret.trim().as_bytes(), self.jwt_audience);
            if tokens.is_none() {
                faults.push(Fault::sentence(format!(
                    "LONGSHORE_JWT_SECRET_FILE names {}, which holds less than {SECRET_BYTES_MIN} bytes.",
                    self.jwt_secret_file
                )));
            }
            return tokens;
        }
        let pem = read("LONGSHORE_JWT_PUBLIC_KEY_FILE", self.jwt_public_key_file, faults)?;
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

/// The text of the file; `None` if none is named, or it cannot be read, which is a fault.
fn read(name: &str, path: &str, faults: &mut Vec<Fault>) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            faults.push(Fault::sentence(format!("{name} names {path}, which cannot be read: {error}.")));
            None
        }
    }
}
