//! Processes that left their attempt's process group, `setsid` and daemons among them. They are known by what they inherited: an environment
//! that names the attempt. (One that starts with an environment of its own, or as another user, is beyond us.)

use std::collections::BTreeSet;
use std::fs;

use protocol::ids::{Fence, JobId};
use protocol::store_api::JobFence;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// Ends every process of these attempts, and says of which there were any.
pub(super) fn end(attempts: &BTreeSet<JobFence>) -> BTreeSet<JobFence> {
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Some(attempt) = attempt_of(pid).filter(|attempt| attempts.contains(attempt))
        {
            end_process(pid, attempt);
            found.insert(attempt);
        }
    }
    found
}

fn attempt_of(pid: Pid) -> Option<JobFence> {
    attempt_in(&fs::read(format!("/proc/{pid}/environ")).ok()?)
}

fn attempt_in(environment: &[u8]) -> Option<JobFence> {
    let value = |name: &str| {
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        std::str::from_utf8(value).ok()
    };
    let job_id: JobId = value("LONGSHORE_JOB_ID")?.parse().ok()?;
    Some(JobFence { job_id, fence: Fence(value("LONGSHORE_FENCE")?.parse().ok()?) })
}

/// Gone already is as good; there is nobody to tell anything else.
fn end_process(pid: Pid, attempt: JobFence) {
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The number may belong to another process by now; what the descriptor stands for is still the same when the environment is.
        Ok(process) if attempt_of(pid) == Some(attempt) => {
            pidfd_send_signal(process, Signal::KILL).unwrap_or_default();
        }
        Err(Errno::NOSYS) => kill_process(pid, Signal::KILL).unwrap_or_default(),
        Ok(_) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_is_read_from_an_environment() {
        let job_id = JobId::generate();
        let check = |environment: String, expected: Option<u64>| {
            let found = attempt_in(environment.as_bytes());
            assert_eq!(found, expected.map(|fence| JobFence { job_id, fence: Fence(fence) }), "{environment:?}");
        };
        check(format!("A=b\0LONGSHORE_JOB_ID={job_id}\0LONGSHORE_FENCE=7\0"), Some(7));
        check(format!("LONGSHORE_FENCE=7\0LONGSHORE_JOB_ID={job_id}"), Some(7));
        check(format!("LONGSHORE_JOB_ID={job_id}\0"), None);
        check(format!("LONGSHORE_JOB_IDS={job_id}\0LONGSHORE_FENCE=7"), None);
        check("LONGSHORE_JOB_ID=x\0LONGSHORE_FENCE=7\0".to_owned(), None);
        check(String::new(), None);
    }
}
