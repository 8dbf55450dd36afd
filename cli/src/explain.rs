//! `longshore explain`: why a job does not run, in a sentence and what it rests on.

use std::process::ExitCode;

use chassis::config::Source;
use protocol::explain::Explanation;

use crate::arguments::JobAnswer;
use crate::client::{Client, get, job_path};
use crate::output;

pub(crate) async fn run(arguments: &JobAnswer, source: &Source) -> anyhow::Result<ExitCode> {
    let client = Client::new(&arguments.service, source)?;
    let answer = client.call_job(arguments.job_id, &get(job_path(arguments.job_id, "/explain"))).await?;
    if arguments.json {
        output::json(&answer.body)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::lines(lines(&client.read(&answer.body)?))?;
    Ok(ExitCode::SUCCESS)
}

fn lines(job: &Explanation) -> Vec<String> {
    let mut lines = vec![job.reason.clone()];
    if let Some(start_by) = job.start_by {
        lines.push(format!("It fails if it has not started by {start_by}."));
    }
    let listed = job.workers.iter().flat_map(|workers| &workers.listed);
    lines.extend(listed.map(|worker| {
        let (name, busy, slots) = (&worker.worker, worker.busy, worker.slots);
        format!("{name} knows its task: {busy} jobs in {slots} slots.")
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_comes_first() {
        let json = r#"{"job_id":"01890000-0000-7000-8000-000000000001","task":"a","queue":"default","status":"queued",
            "waiting_for":"slot","reason":"It waits.","start_by":"2030-01-01T00:00:00.000Z",
            "workers":{"sessions":1,"slots":8,"busy":8,"consumers":1,
                "listed":[{"session_id":"01890000-0000-7000-8000-000000000002","worker":"host-1","slots":8,"busy":8}]}}"#;
        let explained: Explanation = serde_json::from_str(json).expect("an explanation");
        let expected = [
            "It waits.",
            "It fails if it has not started by 2030-01-01T00:00:00.000Z.",
            "host-1 knows its task: 8 jobs in 8 slots.",
        ];
        assert_eq!(lines(&explained), expected);
    }
}
