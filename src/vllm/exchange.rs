//! One request to one replica, and the answer to it.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use moothall_actors::ports::ModelCall;
use tokio::time::{Instant, timeout_at};

use super::catalog::fit;
use super::http1::Reply;
use super::replica::Replica;
use super::request::{BodyError, Encoder};
use super::response::{self, Completion};
use super::settings::{AUTO_MODEL, ContextLength, StreamLimits, VllmSettings};
use super::stream::Gathered;
use super::trouble::{Again, Trouble};

/// Longest answer that is read, in bytes on the wire.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// Longest text that an answer may have, thoughts included.
pub(crate) const MAX_TEXT: usize = 1024 * 1024;

/// What requests are made of.
pub(crate) struct Exchange {
    pub(crate) settings: VllmSettings,
    pub(crate) encoder: Encoder,
}

/// The model that a call asks for, as one server knows it.
pub(crate) struct Chosen {
    pub(crate) name: String,
    /// Whether the server chose it.
    pub(crate) auto: bool,
    /// Tokens that prompt and answer may have together.
    pub(crate) context: Option<u32>,
}

impl Exchange {
    /// Asks once.
    pub(crate) async fn ask(&self, replica: &Replica, call: &ModelCall) -> Result<Completion, Trouble> {
        let model = self.choose(replica, call).await?;
        let body = self.encoder.encode(call, &model.name, self.max_tokens(call, model.context))?;
        let request = replica.target.completion(&call.id, body);
        let completion = match self.settings.stream {
            None => {
                let reply = self.accepted(replica, replica.send(&request).await?, &model).await?;
                response::parse(&reply.whole(MAX_BODY).await?)?
            }
            Some(limits) => {
                let sent = Instant::now();
                let head = timeout_at(sent + limits.first_token, replica.send(&request)).await;
                let reply = head.map_err(|_| no_first_token(limits))??;
                let reply = self.accepted(replica, reply, &model).await?;
                Box::pin(gather(reply, limits, sent)).await?
            }
        };
        if completion.text.len() + completion.reasoning.as_deref().map_or(0, str::len) > MAX_TEXT {
            return Err(too_long());
        }
        // The name of the model that answered, unless the server keeps it to itself.
        Ok(Completion { model: completion.model.or_else(|| Some(model.name.into())), ..completion })
    }

    pub(crate) async fn choose(&self, replica: &Replica, call: &ModelCall) -> Result<Chosen, Trouble> {
        let named: &str = if call.model.is_empty() { &self.settings.model } else { &call.model };
        let auto = named == AUTO_MODEL;
        let learned = self.settings.context == ContextLength::Learned;
        let catalog = if auto || learned { replica.catalog(auto).await? } else { None };
        let name = match catalog.as_deref() {
            Some(catalog) if auto => catalog.only().map_err(Trouble::refused)?,
            _ => named,
        };
        let context = match self.settings.context {
            ContextLength::Learned => catalog.as_deref().and_then(|catalog| catalog.context_of(name)),
            ContextLength::Tokens(tokens) => Some(tokens),
            ContextLength::Unlimited => None,
        };
        Ok(Chosen { name: name.to_owned(), auto, context })
    }

    /// `context`: tokens that prompt and answer may have together.
    pub(crate) fn max_tokens(&self, call: &ModelCall, context: Option<u32>) -> u32 {
        let wanted = call.max_tokens.unwrap_or_else(|| self.settings.max_tokens.of(call.stage()));
        fit(wanted.saturating_mul(call.room.max(1)), context, call.shared.len() + call.ask.len())
    }

    /// A success is read on; anything else is trouble.
    async fn accepted(&self, replica: &Replica, reply: Reply, model: &Chosen) -> Result<Reply, Trouble> {
        match reply.head.status {
            status if status.is_success() => Ok(reply),
            // Boxed, since they are seldom needed and every call would hold room for them.
            StatusCode::NOT_FOUND => Err(Box::pin(self.not_found(replica, reply, model)).await),
            _ => Err(Box::pin(replica.refusal(reply)).await),
        }
    }

    /// A 404 is an unknown model, or no model server at all.
    async fn not_found(&self, replica: &Replica, reply: Reply, model: &Chosen) -> Trouble {
        let refusal = replica.refusal(reply).await;
        let Ok(catalog) = replica.learn().await else { return refusal };
        if catalog.serves(&model.name) {
            return refusal;
        }
        let what = format!("{} ({})", catalog.lacks(&model.name), refusal.what);
        // The server changed its model since it was asked: the next try takes the new one.
        let again = if model.auto { Again::Later } else { Again::Never };
        Trouble { what, again, ..refusal }
    }
}

impl From<BodyError> for Trouble {
    fn from(error: BodyError) -> Self {
        Self::internal(format!("the request {error}"))
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|form| form.as_bytes().starts_with(b"text/event-stream"))
}

fn too_long() -> Trouble {
    Trouble::refused(format!("its answer has more than {MAX_TEXT} bytes of text"))
}

fn no_first_token(limits: StreamLimits) -> Trouble {
    Trouble::silent(format!("gave no first token for {:?}", limits.first_token))
}

/// Reads a streamed answer; a server that does not stream is read whole, within the same limits.
async fn gather(mut reply: Reply, limits: StreamLimits, sent: Instant) -> Result<Completion, Trouble> {
    if !is_event_stream(&reply.head.headers()) {
        let whole = timeout_at(sent + limits.first_token, reply.whole(MAX_BODY)).await;
        return Ok(response::parse(&whole.map_err(|_| no_first_token(limits))??)?);
    }
    let mut gathered = Gathered::default();
    let mut quiet_until = sent + limits.first_token;
    loop {
        let chunk = match timeout_at(quiet_until, reply.chunk()).await {
            Ok(chunk) => chunk?,
            Err(_) if gathered.begun() => return Err(Trouble::silent(format!("fell silent for {:?}", limits.silence))),
            Err(_) => return Err(no_first_token(limits)),
        };
        let Some(bytes) = chunk else { break };
        // A mere sign of life does not prolong the wait for a token.
        if gathered.take(&bytes)? {
            quiet_until = Instant::now() + limits.silence;
        }
        if gathered.len() > MAX_TEXT {
            return Err(too_long());
        }
    }
    reply.finish();
    Ok(gathered.whole()?)
}
