//! The floor: the same calls, in the same three waves, by a bare client that keeps nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use reqwest::{Client, Url};

use super::BenchError;
use super::measure::{Sample, measure};
use crate::sim::RecordedRequest;

/// Calls of one wave, and waves of one deliberation: three agents, one round.
pub(super) const WAVE: usize = 3;
pub(super) const WAVES: usize = 3;

fn failed(error: &reqwest::Error) -> BenchError {
    BenchError::Call(error.to_string())
}

/// What one deliberation sends, wave by wave.
#[derive(Clone, Debug)]
pub(super) struct Bodies(Arc<[Bytes]>);

impl Bodies {
    /// The last ones that the simulator recorded.
    pub(super) async fn of(address: &str) -> Result<Self, BenchError> {
        let url = format!("http://{address}/sim/bodies?limit={}", WAVE * WAVES);
        let answer = reqwest::get(url).await.map_err(|error| failed(&error))?;
        let bodies: Vec<RecordedRequest> = answer.json().await.map_err(|error| failed(&error))?;
        if bodies.len() != WAVE * WAVES {
            return Err(BenchError::Call(format!("the simulator recorded {} bodies", bodies.len())));
        }
        Ok(Self(bodies.into_iter().map(|request| Bytes::from(request.body)).collect()))
    }
}

/// A bare client of the model server.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    client: Client,
    url: Url,
    bodies: Bodies,
}

impl Floor {
    pub(super) fn new(address: &str, bodies: Bodies) -> Result<Self, BenchError> {
        let client = Client::builder()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(usize::MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| failed(&error))?;
        let url = format!("http://{address}/v1/chat/completions");
        let url = Url::parse(&url).map_err(|error| BenchError::Call(error.to_string()))?;
        Ok(Self { client, url, bodies })
    }

    pub(super) async fn measure(&self, concurrency: usize, window: Duration) -> Result<Sample, BenchError> {
        measure(concurrency, window, std::process::id(), |_| {
            let floor = self.clone();
            move || floor.clone().deliberate()
        })
        .await
    }

    async fn deliberate(self) -> Result<(), BenchError> {
        for wave in self.bodies.0.chunks(WAVE) {
            try_join_all(wave.iter().map(|body| self.call(body.clone()))).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn call(&self, body: Bytes) -> Result<Bytes, reqwest::Error> {
        let request = self.client.post(self.url.clone()).header("content-type", "application/json").body(body);
        request.send().await?.error_for_status()?.bytes().await
    }
}
