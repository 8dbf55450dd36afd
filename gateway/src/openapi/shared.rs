//! What is said once for all operations: the errors, the headers of answers, and that an answer leaves out what it does not have.

use utoipa::Modify;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AdditionalProperties, Object, OneOf, Schema, SchemaType, Type};
use utoipa::openapi::{Header, OpenApi, PathItem, RefOr};

use super::{headers, problems};

pub(super) struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        components.responses = problems::components();
        components.schemas.values_mut().for_each(without_nulls);
        let operations = document.paths.paths.values_mut().flat_map(operations);
        let answers = operations.flat_map(|operation| operation.responses.responses.values_mut());
        for answer in components.responses.values_mut().chain(answers) {
            let RefOr::T(answer) = answer else { continue };
            answer.headers.insert(headers::REQUEST_ID.to_owned(), Header::default());
            for (name, header) in &mut answer.headers {
                *header = headers::of_answer(name).expect("each header of an answer is described");
            }
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, .. } = path;
    [get, put, post, delete].into_iter().flatten()
}

/// What is optional in an answer is missing or has a value; only requests, which refuse unknown members, may say null for "not there".
fn without_nulls(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(Object { properties, required, additional_properties, .. }))
            if !refuses_others(additional_properties.as_deref()) =>
        {
            properties.iter_mut().filter(|(name, _)| !required.contains(name)).for_each(|(_, member)| not_null(member));
        }
        RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().for_each(without_nulls),
        RefOr::T(Schema::OneOf(one)) => one.items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn refuses_others(additional_properties: Option<&AdditionalProperties<Schema>>) -> bool {
    matches!(additional_properties, Some(AdditionalProperties::FreeForm(false)))
}

fn not_null(member: &mut RefOr<Schema>) {
    match member {
        RefOr::T(Schema::Object(object)) => only_value(&mut object.schema_type),
        RefOr::T(Schema::Array(array)) => only_value(&mut array.schema_type),
        RefOr::T(Schema::OneOf(OneOf { items, .. })) => {
            items.retain(|item| !matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null)));
            if let [RefOr::Ref(only)] = items.as_mut_slice() {
                *member = RefOr::Ref(only.clone());
            }
        }
        _ => {}
    }
}

fn only_value(types: &mut SchemaType) {
    if let SchemaType::Array(several) = types {
        several.retain(|one| *one != Type::Null);
        if let [only] = several.as_slice() {
            *types = SchemaType::Type(only.clone());
        }
    }
}
