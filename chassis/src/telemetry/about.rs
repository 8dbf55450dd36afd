//! Says in each line of the log which request it is about.
//!
//! The request is looked up when a line is written. A span per request would be formatted for each, and most requests write no line.

use std::fmt;

use serde::Serialize;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::http::Context;

/// Writes a line as `inner` does, and the request behind it.
#[derive(Debug)]
pub(super) struct About<F> {
    inner: F,
    form: Form,
}

/// What `inner` writes.
#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    Text,
}

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    trace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

impl<F> About<F> {
    /// `inner` writes one JSON object to a line; it gets a member `request`.
    pub(super) fn json(inner: F) -> About<F> {
        About { inner, form: Form::Json }
    }

    /// `inner` writes a line of text.
    pub(super) fn text(inner: F) -> About<F> {
        About { inner, form: Form::Text }
    }
}

impl<S, N, F> FormatEvent<S, N> for About<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, fmt: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(context) = Context::current() else { return self.inner.format_event(fmt, writer, event) };
        let mut line = String::new();
        self.inner.format_event(fmt, Writer::new(&mut line), event)?;
        writer.write_str(&extended(&line, &context, self.form))
    }
}

fn extended(line: &str, context: &Context, form: Form) -> String {
    let line = line.trim_end();
    let (method, path) = (context.method().map(http::Method::as_str), context.path());
    match form {
        Form::Json => {
            let request = Request { id: context.request_id(), trace: context.trace().to_string(), method, path };
            match (line.strip_suffix('}'), serde_json::to_string(&request)) {
                (Some(members), Ok(request)) => format!("{members},\"request\":{request}}}\n"),
                _ => format!("{line}\n"),
            }
        }
        Form::Text => {
            let (method, path) = (method.unwrap_or_default(), path.unwrap_or_default());
            format!("{line} ({method} {path} {})\n", context.request_id())
        }
    }
}

#[cfg(test)]
mod tests {
    use http::request;

    use super::*;

    fn context(path: &str) -> Context {
        let (parts, ()) =
            request::Builder::new().uri(path).header("x-request-id", "r-1").body(()).unwrap().into_parts();
        Context::from_head(&parts.method, &parts.uri, &parts.headers)
    }

    #[test]
    fn a_line_of_json_stays_one_object() {
        let line = extended("{\"message\":\"accepted\"}\n", &context("/jobs/a\"b?secret"), Form::Json);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["message"], &line["request"]["id"]), (&"accepted".into(), &"r-1".into()));
        assert_eq!((&line["request"]["method"], &line["request"]["path"]), (&"GET".into(), &"/jobs/a\"b".into()));
        assert_eq!(line["request"]["trace"].as_str().map(str::len), Some(55));
    }

    #[test]
    fn a_line_of_text_ends_with_its_request() {
        assert_eq!(extended("accepted\n", &context("/longtask"), Form::Text), "accepted (GET /longtask r-1)\n");
    }
}
