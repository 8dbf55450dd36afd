//! `PUT /schedules/{name}`: its job is checked as a submit is, so that no tick can be refused for what it says.

use axum::response::{IntoResponse, Response};
use chassis::clock;
use chassis::http::{Json, Path, Rejection};
use http::StatusCode;
use http::header::LOCATION;
use protocol::api::Submit;
use protocol::ids::JobId;
use protocol::key::{QueueName, ScheduleName};
use protocol::problem::{FieldError, Problem};
use protocol::schedule::{JOB_BYTES_MAX, JobTemplate, PutSchedule, Schedule, ScheduleCommand, ScheduleView};
use protocol::store_api::{Command, Reply};

use crate::jobs::body::{Origin, to_create};
use crate::jobs::control::unexpected;
use crate::openapi::SCHEDULES;
use crate::openapi::problems::{Any, OfJson, OfPut};
use crate::state::Gateway;

/// 201 with a new one, 200 with the one that took the place of another.
#[utoipa::path(
    put, path = "/schedules/{name}", tag = SCHEDULES, operation_id = "putSchedule",
    summary = "Create a schedule, or put it in the place of what has its name",
    params(("name" = ScheduleName, Path, description = "What it is called.", example = "nightly")),
    request_body(content = PutSchedule, example = json!({
        "cron": "30 2 * * MON-FRI", "time_zone": "Europe/Berlin", "job": {"task": "report_1", "unique_key": "no_overlap"},
    })),
    responses(
        (status = 201, description = "It is new.", body = ScheduleView, headers(("Location"))),
        (status = 200, description = "It took the place of another.", body = ScheduleView, headers(("Location"))),
        Any, OfJson, OfPut,
    ),
)]
pub(crate) async fn put(
    gateway: Gateway,
    Path(name): Path<String>,
    Json(asked): Json<PutSchedule>,
) -> Result<Response, Rejection> {
    let name = ScheduleName::try_from(name).map_err(|error| Problem::invalid("/name", error.to_string()))?;
    let mut schedule = checked(name, asked, &gateway.queues, clock::wall_ms())?;
    schedule.job.invalidates = gateway.caller.keys(schedule.job.invalidates, "/job/invalidates")?;
    let command = Command::Schedule(ScheduleCommand::Put(Box::new(schedule)));
    match gateway.store.apply_idempotent(command).await? {
        Reply::Schedule { created, schedule } => {
            tracing::info!(schedule = %schedule.name, created, "a schedule was put");
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let location = [(LOCATION, format!("/schedules/{}", schedule.name))];
            Ok((status, location, Json(*schedule)).into_response())
        }
        other => Err(unexpected(&other)),
    }
}

fn checked(name: ScheduleName, asked: PutSchedule, queues: &[QueueName], now_ms: i64) -> Result<Schedule, Problem> {
    let PutSchedule { cron, time_zone, job, catch_up, paused } = asked;
    refuse_what_a_tick_says(&job)?;
    let job_id = JobId::generate();
    let origin = Origin {
        job_id,
        idempotency_key: None,
        is_own_id: false,
        trace: None,
        key_id: None,
        wants_bell: false,
        now_ms,
    };
    let create = to_create(job, queues, origin).map_err(|mut problem| {
        for error in &mut problem.errors {
            error.pointer.insert_str(0, "/job");
        }
        problem
    })?;
    let job = JobTemplate::of(create);
    let bytes = serde_json::to_vec(&job).map_or(0, |json| json.len());
    if bytes > JOB_BYTES_MAX {
        let detail = format!(
            "is {bytes} bytes long, at most {JOB_BYTES_MAX} are allowed: keep what is large elsewhere and name it in the payload"
        );
        return Err(Problem::invalid("/job", detail));
    }
    Ok(Schedule { name, cron, time_zone, job, catch_up, paused })
}

fn refuse_what_a_tick_says(job: &Submit) -> Result<(), Problem> {
    let told = [
        ("/job/delay_ms", job.delay_ms.is_some(), "must not be given: the schedule says when its jobs are due"),
        ("/job/run_at", job.run_at.is_some(), "must not be given: the schedule says when its jobs are due"),
        ("/job/job_id", job.job_id.is_some(), "must not be given: each tick has a job of its own"),
        ("/job/idempotency_key", job.idempotency_key.is_some(), "must not be given: each tick has a job of its own"),
    ];
    let stated = told.into_iter().filter(|(_, is_stated, _)| *is_stated);
    let errors: Vec<FieldError> = stated.map(|(pointer, _, detail)| FieldError::new(pointer, detail)).collect();
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is refused, by its pointers.
    fn refused(body: &str) -> Vec<String> {
        let pointers = |problem: Problem| problem.errors.into_iter().map(|error| error.pointer).collect();
        let asked = match Json::<PutSchedule>::from_bytes(body.as_bytes()) {
            Ok(asked) => asked,
            Err(problem) => return pointers(problem),
        };
        let queues = ["default", "reports"].map(|queue| QueueName::try_from(queue).expect("a queue"));
        let name = ScheduleName::try_from("nightly").expect("a name");
        checked(name, asked, &queues, 0).err().map(pointers).unwrap_or_default()
    }

    #[test]
    fn each_fault_is_named() {
        let check = |body: &str, expected: &[&str]| assert_eq!(refused(body), expected, "{body}");
        check(r#"{"cron":"@daily","job":{"task":"a"}}"#, &[]);
        check(
            r#"{"cron":"0 3 * * *","time_zone":"Europe/Berlin","catch_up":"none","paused":true,"job":{"task":"a","queue":"reports"}}"#,
            &[],
        );
        check(r#"{"job":{"task":"a"}}"#, &["/cron"]);
        check(r#"{"cron":"@daily"}"#, &["/job"]);
        check(r#"{"cron":"61 * * * *","job":{"task":"a"}}"#, &["/cron"]);
        check(r#"{"cron":"@daily","time_zone":"Berlin","job":{"task":"a"}}"#, &["/time_zone"]);
        check(r#"{"cron":"@daily","catch_up":"some","job":{"task":"a"}}"#, &["/catch_up"]);
        check(r#"{"cron":"@daily","job":{"task":"a b"}}"#, &["/job/task"]);
        check(
            r#"{"cron":"@daily","job":{"task":"a","queue":"c","max_attempts":0}}"#,
            &["/job/queue", "/job/max_attempts"],
        );
        check(
            r#"{"cron":"@daily","job":{"task":"a","delay_ms":1,"job_id":"01890000-0000-7000-8000-000000000001"}}"#,
            &["/job/delay_ms", "/job/job_id"],
        );
        check(r#"{"cron":"@daily","crom":"","job":{"task":"a"}}"#, &["/crom"]);
        let large = format!(r#"{{"cron":"@daily","job":{{"task":"a","payload":"{}"}}}}"#, "x".repeat(JOB_BYTES_MAX));
        check(&large, &["/job"]);
    }
}
