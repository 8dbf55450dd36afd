//! What a command is given besides its arguments: JSON as it stands there, or JSON and bytes from a file or standard input.

use std::io::Read;

use chassis::config::ExitWith;
use serde_json::value::RawValue;

/// `EX_DATAERR`: it is not what was promised.
pub(crate) const BAD_DATA: u8 = 65;

/// `@FILE` or `-`; `None`: it is neither.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn bytes(argument: &str) -> Option<Result<Vec<u8>, ExitWith>> {
    let (read, place) = match (argument, argument.strip_prefix('@')) {
        ("-", _) => {
            let mut bytes = Vec::new();
            (std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes), "standard input")
        }
        (_, Some(path)) => (std::fs::read(path), path),
        _ => return None,
    };
    Some(read.map_err(|error| bad(format!("nothing can be read from {place}: {error}."))))
}

/// JSON as it is, `@FILE`, or `-`. `name` is the argument's, for people.
///
/// # Errors
/// When it cannot be read, or is no JSON.
pub(crate) fn json(name: &str, argument: &str) -> Result<Box<RawValue>, ExitWith> {
    let (text, place) = match bytes(argument) {
        None => (argument.to_owned(), name),
        Some(bytes) => {
            let place = argument.strip_prefix('@').unwrap_or("standard input");
            let text =
                String::from_utf8(bytes?).map_err(|_| bad(format!("{place} is no UTF-8 text, so it is not JSON.")))?;
            (text, place)
        }
    };
    RawValue::from_string(text.trim().to_owned()).map_err(|error| {
        let hint = "an object is '{\"n\": 1}', a text '\"text\"', a file @path, standard input -";
        bad(format!("{place} is not JSON ({error}): {hint}."))
    })
}

/// The error of what is not what was promised.
pub(crate) fn bad(sentence: String) -> ExitWith {
    ExitWith { status: BAD_DATA, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_from_wherever_it_is() {
        let check = |argument: &str, expected: Result<&str, &str>| match (json("--payload", argument), expected) {
            (Ok(payload), Ok(json)) => assert_eq!(payload.get(), json),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
            (found, expected) => panic!("{argument}: {found:?} is not {expected:?}"),
        };
        check("{\"n\": 1}", Ok("{\"n\": 1}"));
        check(" 7\n", Ok("7"));
        check("hello", Err("--payload is not JSON"));
        check("{} {}", Err("is not JSON"));
        check("@/nowhere.json", Err("can be read from /nowhere.json"));
    }
}
