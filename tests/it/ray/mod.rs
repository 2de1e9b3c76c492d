//! The client of the Ray executor against a server that does what the test says: what is submitted, how it is followed, and
//! what becomes of it when the executor fails. The stories on a real Ray are the daemon's.

mod follow;
mod stand;
mod submit;

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall::ray::RayExecutor;
use moothall_actors::ports::executor::{Executor as _, Followed, Result, WaveCall};
use moothall_actors::testing::wave_call as wave;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The name that the stand gives to it.
const NAME: &str = "t-1/propose-0#1";

/// What was told of a wave, by agent, and how following it ended.
type Told = (BTreeMap<String, Result>, Followed);

/// Follows a wave in a task of its own. A call that is told twice fails the test.
fn follow(client: &Arc<RayExecutor>, wave: WaveCall) -> JoinHandle<Told> {
    follow_as(client, NAME, wave)
}

fn follow_as(client: &Arc<RayExecutor>, name: &str, wave: WaveCall) -> JoinHandle<Told> {
    let (client, name) = (client.clone(), name.to_owned());
    tokio::spawn(async move {
        let (to, mut told) = mpsc::channel(8);
        let following = client.follow(&name, &wave, to);
        let hearing = async {
            let mut all = BTreeMap::new();
            while let Some(one) = told.recv().await {
                let agent = one.call.agent.to_string();
                if let Some(durable) = one.durable {
                    durable.send(()).unwrap();
                }
                assert!(all.insert(agent.clone(), one.result).is_none(), "{agent} is told twice");
            }
            all
        };
        let (followed, all) = tokio::join!(following, hearing);
        (all, followed)
    })
}

/// Texts by agent.
fn texts(told: &Told) -> Vec<(&str, &str)> {
    told.0.iter().map(|(agent, result)| (agent.as_str(), &*result.as_ref().unwrap().text)).collect()
}
