//! Names in paths: a data key may hold anything that a path segment may not.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};

/// All but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as one segment of a path.
pub fn segment(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        let check = |name: &str, expected: &str| assert_eq!(segment(name).to_string(), expected);
        check("my_data", "my_data");
        check("a/b ?c#d%", "a%2Fb%20%3Fc%23d%25");
        check("ü", "%C3%BC");
    }
}
