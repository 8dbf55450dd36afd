//! Data entries.

use protocol::etag::entity_tag;
use protocol::ids::{Position, Version};
use protocol::problem::{Kind, Problem};
use protocol::store_api::{Change, Command, DeleteData, Precondition, PutData, Reply};
use serde_json::value::RawValue;

use super::{Fixture, Lab};

fn put<F: Fixture>(
    lab: &mut Lab<F>,
    key: &str,
    data: &str,
    only_if: Option<Precondition>,
) -> Result<(Version, Position), Problem> {
    let data = RawValue::from_string(data.to_owned()).expect("json");
    let key = key.try_into().expect("a key");
    match lab.apply(Command::PutData(PutData { only_if, ..PutData::json(key, data) }))? {
        Reply::DataWritten { version, position } => Ok((version, position)),
        other => panic!("not written: {other:?}"),
    }
}

fn delete<F: Fixture>(lab: &mut Lab<F>, key: &str, only_if: Option<Precondition>) -> Result<Reply, Problem> {
    lab.apply(Command::DeleteData(DeleteData { key: key.try_into().expect("a key"), only_if }))
}

pub(crate) fn writes_are_versioned_and_logged<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let seed = lab.read(|reader| reader.data("my_data")).read.expect("a fresh store holds it");
    assert_eq!((seed.version, seed.data.get()), (Version(1), r#""Fetched fresh data from DB""#));
    assert_eq!(put(&mut lab, "k", r#"{"a": 1}"#, None).expect("written"), (Version(2), Position(1)));
    assert_eq!(put(&mut lab, "l", "2", None).expect("written"), (Version(3), Position(2)));
    let read = lab.read(|reader| reader.data("k"));
    assert_eq!(read.position, Position(2));
    assert_eq!(read.read.map(|entry| entry.data.get().to_owned()), Some(r#"{"a": 1}"#.to_owned()));
    let expected = Change::Data { key: "k".try_into().expect("a key"), version: Version(2) };
    assert_eq!(lab.log(0)[0].change, expected);
    assert_eq!(lab.signals.invalidation, Some(Position(2)));
    let mut lab = lab.after_kill();
    assert_eq!(put(&mut lab, "k", "3", None).expect("written").0, Version(4));
}

pub(crate) fn preconditions_are_kept<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let tag = |data: &str| vec![entity_tag(data.as_bytes())];
    let mut check = |condition: Precondition, kept: bool| {
        let written = put(&mut lab, "k", "1", Some(condition.clone()));
        assert_eq!(written.map_err(|problem| problem.kind()).err(), (!kept).then_some(Some(Kind::PreconditionFailed)));
    };
    check(Precondition::Exists, false);
    check(Precondition::Absent, true);
    check(Precondition::Absent, false);
    check(Precondition::AnyOf(tag("1")), true);
    check(Precondition::AnyOf(tag("2")), false);
    check(Precondition::NoneOf(tag("1")), false);
    check(Precondition::Exists, true);
}

pub(crate) fn deleted_entries_are_gone<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    assert_eq!(delete(&mut lab, "k", None).expect_err("absent").kind(), Some(Kind::NotFound));
    put(&mut lab, "k", "1", None).expect("written");
    let condition = Some(Precondition::AnyOf(vec![entity_tag(b"2")]));
    assert_eq!(delete(&mut lab, "k", condition).expect_err("another").kind(), Some(Kind::PreconditionFailed));
    let Ok(Reply::DataWritten { version, position }) = delete(&mut lab, "k", None) else { panic!("not deleted") };
    assert_eq!((version, position), (Version(3), Position(2)));
    assert!(lab.read(|reader| reader.data("k")).read.is_none());
    assert_eq!(put(&mut lab, "k", "1", None).expect("written").0, Version(4), "versions never start again");
}

pub(crate) fn tags_and_media_types_are_kept_with_their_entry<F: Fixture>() {
    let mut lab = Lab::<F>::new();
    let data = |text: &str| RawValue::from_string(text.to_owned()).expect("json");
    let key = || "k".try_into().expect("a key");
    let tags = ["blue", "red"].map(|tag| tag.try_into().expect("a tag")).to_vec();
    let media_type = Some("image/png".try_into().expect("a media type"));
    let bytes = PutData { tags, media_type: media_type.clone(), ..PutData::json(key(), data("\"AP8H\"")) };
    lab.apply(Command::PutData(bytes)).expect("written");
    let read = |lab: &mut Lab<F>| lab.read(|reader| reader.data("k")).read.expect("there");
    let found = read(&mut lab);
    assert_eq!((found.data.get(), found.media_type), ("\"AP8H\"", media_type));
    assert_eq!(found.tags, ["blue", "red"]);
    let mut lab = lab.after_kill();
    assert_eq!(read(&mut lab).tags, ["blue", "red"]);
    lab.apply(Command::PutData(PutData::json(key(), data("1")))).expect("written");
    let found = read(&mut lab);
    assert_eq!((found.tags.len(), found.media_type), (0, None), "they belong to what was written with them");
}
