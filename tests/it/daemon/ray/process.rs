//! Processes that nobody here waits for: those that an executor starts, as `/proc` shows them.

use std::fs;

use anyhow::Result;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// What `/proc/<pid>/stat` says of a process that has not ended.
struct Stat {
    parent: u32,
    session: u32,
}

/// `None` = it has ended, whether or not anybody has taken note.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name stands in brackets, and may hold anything.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let (state, parent) = (fields.next()?, fields.next()?.parse().ok()?);
    let session = fields.nth(1)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(Stat { parent, session })
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The sessions that children of a process lead.
pub(super) fn sessions_of(parent: u32) -> Vec<u32> {
    let leads = |pid: &u32| stat(*pid).is_some_and(|stat| stat.parent == parent && stat.session == *pid);
    all().filter(leads).collect()
}

/// All processes of these sessions.
pub(super) fn in_sessions(leaders: &[u32]) -> Vec<u32> {
    all().filter(|pid| stat(*pid).is_some_and(|stat| leaders.contains(&stat.session))).collect()
}

/// Its command line.
pub(super) fn command(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// One that has ended cannot be signalled, and need not be.
pub(super) fn send(pid: u32, signal: Signal) -> Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(pid, signal) {
        Err(Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills all processes of these sessions, and those that they start meanwhile.
pub(super) fn kill_sessions(leaders: &[u32]) {
    loop {
        let left = in_sessions(leaders);
        if left.is_empty() {
            return;
        }
        for pid in left {
            if send(pid, Signal::KILL).is_err() {
                return;
            }
        }
    }
}
