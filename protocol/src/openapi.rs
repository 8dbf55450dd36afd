//! Schemas of what is one text on the wire and has parts in here; of the others they are derived. Only the gateway, which describes its
//! API, asks for this feature.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ids::Place;
use crate::key::TaskPattern;
use crate::schedule::Cron;

impl PartialSchema for TaskPattern {
    fn schema() -> RefOr<Schema> {
        text(
            "A task, or the beginning of its name: `report_*`.",
            r"^([A-Za-z0-9._:-]{1,128}|[A-Za-z0-9._:-]{0,128}\*)$",
        )
    }
}

impl ToSchema for TaskPattern {}

impl PartialSchema for Place {
    fn schema() -> RefOr<Schema> {
        text("A place in one history of the store: `{position}-{incarnation}`.", r"^[0-9]+-[0-9a-f-]{36}$")
    }
}

impl ToSchema for Place {}

impl PartialSchema for Cron {
    fn schema() -> RefOr<Schema> {
        let description = "Minute, hour, day of month, month and day of week, or a nickname such as `@daily`.";
        text(description, r"^(@[A-Za-z]+|\s*\S+(\s+\S+){4}\s*)$")
    }
}

impl ToSchema for Cron {}

fn text(description: &str, pattern: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).pattern(Some(pattern)).into()
}
