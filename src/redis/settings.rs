//! The numbers of the queue, each with its reason.

use std::time::Duration;

use moothall_actors::queue::Limits;

use super::address::Address;

/// How a queue in a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    pub address: Address,
    /// What the keys begin with, in braces. Daemons with the same one share a queue.
    pub prefix: String,
    /// How much earlier one step of priority makes a task; the same in all daemons.
    pub age: Duration,
    /// Most tasks that are not over.
    pub most: usize,
    /// How long a lease holds without a heartbeat.
    pub lease: Duration,
    /// How long a call may take with all its tries.
    pub deadline: Duration,
    /// How long one try may take before the connection counts as lost.
    pub patience: Duration,
    /// How long a connection may take to be made.
    pub connect: Duration,
    /// Calls at once; others wait for theirs. The server keeps one answer for each.
    pub in_flight: usize,
    /// How long a final is remembered after it was published, to refuse a second one.
    pub finals_kept: Duration,
    /// Claims wait until this very daemon has said what its journal knows, not only somebody. Only where all daemons read
    /// one journal somebody is enough.
    pub each_reasserts: bool,
}

impl Settings {
    #[must_use]
    pub fn new(address: Address) -> Self {
        let Limits { age, most, .. } = Limits::default();
        Self {
            address,
            prefix: "moothall".to_owned(),
            age,
            most,
            lease: Duration::from_secs(30),
            deadline: Duration::from_secs(5),
            patience: Duration::from_secs(2),
            connect: Duration::from_secs(1),
            in_flight: 64,
            finals_kept: Duration::from_secs(24 * 60 * 60),
            each_reasserts: true,
        }
    }
}
