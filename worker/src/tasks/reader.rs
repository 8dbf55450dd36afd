//! Reads one task's table key by key, so that an error names the task, the key, the line and what is accepted.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::TaskFileError;

/// The text and origin of a task file; turns byte offsets into lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) origin: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The line of a byte offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn error(&self, offset: usize, detail: String) -> TaskFileError {
        TaskFileError { origin: self.origin.to_owned(), line: Some(self.line(offset)), detail }
    }
}

/// One `[task.NAME]` table.
#[derive(Debug)]
pub(super) struct TaskTable<'a> {
    pub(super) source: Source<'a>,
    pub(super) task: &'a str,
    /// Where the table begins: the place of what is missing.
    pub(super) offset: usize,
    pub(super) table: &'a DeTable<'a>,
}

impl<'a> TaskTable<'a> {
    /// Refuses keys that the task's kind does not have.
    pub(super) fn accept_only(&self, kind: &str, keys: &[&str]) -> Result<(), TaskFileError> {
        for key in self.table.keys() {
            if !keys.contains(&key.get_ref().as_ref()) {
                let name = key.get_ref();
                let accepted = keys.join(", ");
                let detail = format!("is not a key of a `{kind}` task; accepted: {accepted}");
                return Err(self.error_at(key.span().start, name, &detail));
            }
        }
        Ok(())
    }

    pub(super) fn required_text(&self, key: &str, what: &str) -> Result<&'a str, TaskFileError> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(self.error(key, &format!("must not be empty; it is {what}"))),
            None => Err(self.error_at(self.offset, key, &format!("is missing; it is {what}"))),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, TaskFileError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        value.get_ref().as_str().map(Some).ok_or_else(|| self.wrong_type(key, value, "a string"))
    }

    /// An integer within `range`, or `default`.
    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> Result<u64, TaskFileError> {
        let Some(value) = self.table.get(key) else { return Ok(default) };
        let accepted = format!("an integer from {} to {}", range.start(), range.end());
        let integer = value.get_ref().as_integer().ok_or_else(|| self.wrong_type(key, value, &accepted))?;
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let detail = format!("is {}; accepted: {accepted}", integer.as_str());
            self.error_at(value.span().start, key, &detail)
        })
    }

    /// A number from 0 to 1, or `default`.
    pub(super) fn share(&self, key: &str, default: f64) -> Result<f64, TaskFileError> {
        let Some(value) = self.table.get(key) else { return Ok(default) };
        let accepted = "a number from 0.0 to 1.0";
        let digits = match value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            _ => return Err(self.wrong_type(key, value, accepted)),
        };
        let number = digits.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
        let refused = || self.error_at(value.span().start, key, &format!("is {digits}; accepted: {accepted}"));
        number.ok_or_else(refused)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TaskFileError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        value.get_ref().as_bool().map(Some).ok_or_else(|| self.wrong_type(key, value, "true or false"))
    }

    pub(super) fn is_array(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().as_array().is_some())
    }

    /// An array of small integers, each within `range`.
    pub(super) fn integers(&self, key: &str, range: RangeInclusive<u64>) -> Result<Vec<u16>, TaskFileError> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let accepted = format!("an array of integers from {} to {}", range.start(), range.end());
        let array = value.get_ref().as_array().ok_or_else(|| self.wrong_type(key, value, &accepted))?;
        let number = |item: &Spanned<DeValue<'a>>| {
            let integer = item.get_ref().as_integer().ok_or_else(|| self.wrong_type(key, item, &accepted))?;
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
            let number = number.filter(|number| range.contains(number)).and_then(|number| u16::try_from(number).ok());
            number.ok_or_else(|| {
                self.error_at(item.span().start, key, &format!("has {}; accepted: {accepted}", integer.as_str()))
            })
        };
        array.iter().map(number).collect()
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, TaskFileError> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let accepted = "an array of strings";
        let array = value.get_ref().as_array().ok_or_else(|| self.wrong_type(key, value, accepted))?;
        let text = |item: &Spanned<DeValue<'a>>| {
            item.get_ref().as_str().map(str::to_owned).ok_or_else(|| self.wrong_type(key, item, accepted))
        };
        array.iter().map(text).collect()
    }

    pub(super) fn text_map(&self, key: &str) -> Result<BTreeMap<String, String>, TaskFileError> {
        let Some(value) = self.table.get(key) else { return Ok(BTreeMap::new()) };
        let accepted = "a table of strings";
        let table = value.get_ref().as_table().ok_or_else(|| self.wrong_type(key, value, accepted))?;
        let entry = |(name, item): (&Spanned<_>, &Spanned<DeValue<'a>>)| {
            let text = item.get_ref().as_str().ok_or_else(|| self.wrong_type(key, item, accepted))?;
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Ok((name.to_string(), text.to_owned()))
        };
        table.iter().map(entry).collect()
    }

    /// An error about a key that is there, or about the whole table.
    pub(super) fn error(&self, key: &str, detail: &str) -> TaskFileError {
        let offset = self.table.get(key).map_or(self.offset, |value| value.span().start);
        self.error_at(offset, key, detail)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'a>>, accepted: &str) -> TaskFileError {
        let found = value.get_ref().type_str();
        self.error_at(value.span().start, key, &format!("is of type {found}; accepted: {accepted}"))
    }

    fn error_at(&self, offset: usize, key: &str, detail: &str) -> TaskFileError {
        self.source.error(offset, format!("task `{}`, key `{key}` {detail}", self.task))
    }
}
