//! The gRPC server: every service on one port, with health and reflection.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use moothall_actors::System;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use super::council::AgentSettings;
use super::door::{Door, ModelServers};
use super::guard::Guards;
use super::journal::JournalAdmin;
use super::proto::DESCRIPTORS;
use super::routes::{self, Services};
use crate::http::{Health, Readiness};
use crate::intake::Intake;

/// Calls at once on one connection: councils are asked by many through few connections.
const MAX_CONCURRENT_STREAMS: u32 = 4096;
/// A connection that says nothing is asked, and closed when it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// How soon the health service follows the daemon's parts.
const HEALTH_PAUSE: Duration = Duration::from_secs(1);

/// What the services need to know.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    pub agents: AgentSettings,
    /// Longest time that a stream's reader may take nothing.
    pub patience: Duration,
    /// Model answers are scripted: status answers say so.
    pub simulated: bool,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self { agents: AgentSettings::default(), patience: Duration::from_secs(60), simulated: false }
    }
}

/// Why the server did not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("reflection cannot read the descriptors")]
    Reflection(#[from] tonic_reflection::server::Error),
    #[error("the gRPC server ended")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `shutdown` resolves and open calls are answered. Streams of running work end with their work, so that
/// the system is drained meanwhile and the caller bounds the wait.
pub async fn serve(
    listener: TcpListener,
    (system, intake): (System, Intake),
    journal: Arc<dyn JournalAdmin>,
    (readiness, models): (Arc<Readiness>, ModelServers),
    settings: GrpcSettings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let guards = Guards::new(settings.patience);
    let settings = Arc::new(settings);
    let door = Door { system, readiness: readiness.clone(), models, guards: guards.clone(), settings, intake };
    let (reporter, health) = health_reporter();
    let services = Services::new(&door, journal, reflection()?.add_service(health));
    let server = Server::builder()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        // Answers are small and waited for: none waits for more bytes to go with it.
        .serve_with_incoming_shutdown(services, TcpIncoming::from(listener).with_nodelay(Some(true)), shutdown);
    tokio::select! {
        ended = server => Ok(ended?),
        () = guards.sweep() => Ok(()),
        () = report_health(&reporter, &readiness) => Ok(()),
    }
}

/// Generic clients of some languages still ask the older version. Named are the services that are served: the
/// descriptors also hold `moothall.v1.AgentRunner` and `fleet.context.v1.ContextService`, which others serve.
fn reflection() -> Result<Routes, ServeError> {
    let builder = |own: &str| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let names = routes::NAMES.into_iter().chain(["grpc.health.v1.Health", own]);
        names.fold(builder, |builder, name| builder.with_service_name(name))
    };
    let v1 = builder("grpc.reflection.v1.ServerReflection").build_v1()?;
    let v1alpha = builder("grpc.reflection.v1alpha.ServerReflection").build_v1alpha()?;
    Ok(Routes::new(v1).add_service(v1alpha))
}

/// Keeps the health service as the daemon is: the whole (`""`), every service, and every part by its name.
async fn report_health(reporter: &HealthReporter, readiness: &Readiness) {
    let mut stage = readiness.subscribe();
    let mut parts = BTreeSet::new();
    loop {
        let report = readiness.report();
        let whole = serving(report.ready());
        for service in routes::NAMES.into_iter().chain([""]) {
            reporter.set_service_status(service, whole).await;
        }
        parts.extend(report.components.keys().cloned());
        for part in &parts {
            // One that is no longer reported is no longer amiss.
            let healthy = report.components.get(part).is_none_or(|health| *health == Health::Healthy);
            reporter.set_service_status(part, serving(healthy)).await;
        }
        // A change of stage is told at once.
        let _ = tokio::time::timeout(HEALTH_PAUSE, stage.changed()).await;
    }
}

fn serving(well: bool) -> ServingStatus {
    if well { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[cfg(test)]
#[path = "server_tests/mod.rs"]
mod tests;
