//! Calls that somebody else makes: to which server, with which model, and what else their requests hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use moothall_actors::domain::answer::Failure;
use moothall_actors::ports::ModelCall;

use super::VllmModel;
use super::choice::{self, Candidate, Key};
use super::exchange::Chosen;
use super::replica::Replica;
use super::settings::{AUTO_MODEL, Balance};
use super::trouble::Trouble;

/// A wave as another process may make its calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commission {
    /// The server's base address.
    pub(crate) server: String,
    /// Of each call, in their order.
    pub(crate) calls: Vec<Commissioned>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commissioned {
    pub(crate) model: String,
    /// JSON: all that the request holds beside model and messages.
    pub(crate) params: String,
}

impl VllmModel {
    /// Says of calls of one run how they would be made from here: at the same server, with the same limits. A server
    /// that cannot be asked from here may be reached from there: only its choice of the model cannot be done without.
    pub(crate) async fn commission(&self, calls: &[ModelCall]) -> Result<Commission, Failure> {
        let replica = self.home(calls).ok_or_else(|| Trouble::refused("no model server is configured"));
        let replica = replica.map_err(|trouble| trouble.into_failure("", 0))?;
        let mut commissioned = Vec::with_capacity(calls.len());
        for call in calls {
            let made = self.commissioned(replica, call).await;
            commissioned.push(made.map_err(|trouble| trouble.into_failure(&replica.target.shown, 0))?);
        }
        Ok(Commission { server: replica.target.shown.clone(), calls: commissioned })
    }

    async fn commissioned(&self, replica: &Replica, call: &ModelCall) -> Result<Commissioned, Trouble> {
        let Chosen { name, context, .. } = match self.exchange.choose(replica, call).await {
            Ok(chosen) => chosen,
            Err(trouble) => self.named(call).ok_or(trouble)?,
        };
        let max_tokens = self.exchange.max_tokens(call, context);
        let params = self.exchange.encoder.encode_params(call, &name, max_tokens)?;
        Ok(Commissioned { model: name, params })
    }

    /// The model that a call names, if it names one.
    fn named(&self, call: &ModelCall) -> Option<Chosen> {
        let name: &str = if call.model.is_empty() { &self.exchange.settings.model } else { &call.model };
        (name != AUTO_MODEL).then(|| Chosen { name: name.to_owned(), auto: false, context: None })
    }

    /// As for a call from here, but that no breaker counts: the way from there is another.
    fn home(&self, calls: &[ModelCall]) -> Option<&Arc<Replica>> {
        let now = std::time::Instant::now();
        let of_pool = self.pool.iter().map(|replica| Candidate { admits: true, ..replica.candidate(now) });
        let candidates: Vec<Candidate> = of_pool.collect();
        let place = match self.exchange.settings.balance {
            Balance::Prefix => {
                let (place, _) = choice::by_prefix(Key::of(&calls.first()?.id.run), &candidates, None)?;
                place
            }
            Balance::LeastOutstanding => {
                choice::least_outstanding(&candidates, None, self.turn.fetch_add(1, Ordering::Relaxed))?
            }
        };
        self.pool.get(place)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use url::Url;

    use super::*;
    use crate::vllm::tests::call;
    use crate::vllm::{ContextLength, VllmSettings};

    fn model(name: &str) -> VllmModel {
        let replicas = ["http://127.0.0.1:1/base", "http://127.0.0.1:2/v1"].map(|url| Url::parse(url).unwrap());
        let context = ContextLength::Learned;
        VllmModel::new(VllmSettings { model: name.into(), context, ..VllmSettings::new(replicas.to_vec()) }).unwrap()
    }

    #[tokio::test]
    async fn what_names_its_model_needs_no_server_here() {
        let model = model("named");
        let own = ModelCall { model: "own".into(), max_tokens: Some(7), seed: Some(5), room: 2, ..call("critique") };
        let commission = model.commission(&[call("propose"), own]).await.unwrap();
        let [first, second] = &commission.calls[..] else { panic!("{commission:?}") };
        assert_eq!((&*first.model, &*second.model), ("named", "own"));
        let params = |made: &Commissioned| serde_json::from_str::<Value>(&made.params).unwrap();
        let near = |value: &Value| (value["temperature"].as_f64().unwrap() * 10.0).round();
        assert_eq!((near(&params(first)), &params(first)["max_tokens"]), (7.0, &json!(4096)));
        assert_eq!((&params(second)["max_tokens"], &params(second)["seed"]), (&json!(14), &json!(5)));
        let again = model.commission(&[call("critique")]).await.unwrap();
        assert_eq!(again.server, commission.server, "all waves of a run go to one server");
    }

    #[tokio::test]
    async fn a_server_that_is_to_choose_must_be_reached() {
        let failure = model(AUTO_MODEL).commission(&[call("propose")]).await.unwrap_err();
        assert!(failure.class.may_heal() && failure.message.contains("127.0.0.1"), "{failure:?}");
    }
}
