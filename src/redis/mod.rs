//! The task queue in Redis or Valkey: the rules of the board for several daemons that share one server.
//!
//! ```text
//!   RedisQueue ── call.rs ── link.rs ── server: one Lua script per operation, all or nothing
//!       │            │           └ connects when asked, again and again, and knows why it cannot
//!       │            ├ sends again what was not answered, under the same request id
//!       │            └ reports.rs: reports that come together go together
//!       └ queue.rs, reassert.rs, finals.rs: what the port and its extensions mean
//! ```
//!
//! **State.** Everything stands in the server under one hash tag: a record for each task, a sorted set for each lane (a
//! role and a story), sorted sets of what waits for its time, of leases by their end and of ids, and two small sets for
//! each task that needs others. The rules are those of the board in memory, in `lua/rules.lua`.
//!
//! **Time** is the server's alone. A lease that nobody keeps runs out, and the next claim or heartbeat of anybody gives
//! the task back.
//!
//! **Trust.** A fence is an epoch and a number. The epoch is renewed as soon as anybody finds that the server was started
//! anew or replaced, or that its data went back in time. All older fences are refused from then on, and so are claims,
//! until whoever has the journal has said what it knows (`SharedQueue::reassert`). A server that knows nothing begins
//! like that, since an empty queue and a lost one look the same.
//!
//! **Texts.** What a task is about stands beside its record, so that a daemon that never heard of it can begin it
//! (`texts.rs`).
//!
//! **Again.** A request carries the client, a place and a sequence number; the server keeps the last answer of each place.
//! What comes again is answered as it was, and what was given up is not carried out after its place was used anew.

mod address;
mod call;
mod finals;
mod link;
mod place;
mod queue;
mod reassert;
mod reports;
mod script;
mod settings;
mod texts;
mod wire;

pub use address::{Address, AddressError};
pub use finals::{final_id, heartbeat_every};
pub use queue::RedisQueue;
pub use settings::Settings;
pub use texts::JournalTexts;
