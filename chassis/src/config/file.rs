//! What is in a file that a setting names: a secret is better there than in a variable, which whoever sees the process may see.

use std::fs;

use super::fault::Fault;

/// Characters of a key that people make, at least.
const KEY_BYTES_MIN: usize = 32;

/// The text of the file that `name` names.
///
/// # Errors
/// When it cannot be read.
pub fn text_of(name: &str, path: &str) -> Result<String, Fault> {
    fs::read_to_string(path)
        .map_err(|error| Fault::sentence(format!("{name} names {path}, which cannot be read: {error}.")))
}

/// The key in the file that `name` names: a long word, with any white space around it.
///
/// # Errors
/// When it cannot be read, or is no such word. The text is not repeated.
pub fn key_of(name: &str, path: &str) -> Result<String, Fault> {
    let text = text_of(name, path)?;
    let key = text.trim();
    if key.len() >= KEY_BYTES_MIN && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key.to_owned());
    }
    Err(Fault::sentence(format!(
        "{name} names {path}, which must hold one word of {KEY_BYTES_MIN} printable characters or more: make one with openssl rand -hex 32."
    )))
}
