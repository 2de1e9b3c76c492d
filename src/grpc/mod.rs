//! The gRPC services: requests are parsed and checked here, work is the system's, answers are mapped here. A handler
//! owns nothing: it attaches to work and may be dropped at any time.

mod answer;
mod class;
pub(crate) mod codec;
mod context;
mod council;
mod councils;
mod deadline;
mod door;
mod endpoint;
mod events;
mod fit;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod fuzz;
mod guard;
mod journal;
mod legacy;
mod metrics;
mod number;
mod orchestrator;
pub(crate) mod past;
mod planning;
pub mod proto;
mod prune;
mod queue;
mod request;
mod routes;
mod server;
mod shown;
mod tasks;
mod then;
pub(crate) mod verdict;
mod waiting;

pub use council::AgentSettings;
pub use door::ModelServers;
pub use endpoint::{AllowedHosts, ModelProfile, ModelProfiles};
pub use journal::{Backup, BackupError, EventPage, EventQuery, JournalAdmin, Verification};
pub use prune::{PruneError, Pruned, Retained, Wish};
pub use server::{GrpcSettings, ServeError, serve};
