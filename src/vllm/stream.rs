//! A streamed answer (server-sent events), put together to what it would have been whole.

use moothall_actors::domain::answer::{Finish, Usage};
use serde::Deserialize;

use super::response::{Completion, Message, Unusable, UsageBody, finish_of};

/// Longest line: a piece of an answer has a few hundred bytes.
const MAX_LINE: usize = 1024 * 1024;

/// The answer so far.
#[derive(Default)]
pub(crate) struct Gathered {
    /// The begin of a line whose end has not come yet.
    rest: Vec<u8>,
    text: String,
    reasoning: String,
    finish: Option<Finish>,
    usage: Option<Usage>,
    cached: Option<u64>,
    model: Option<String>,
    /// `[DONE]` came.
    done: bool,
    /// Some piece of an answer came.
    begun: bool,
}

#[derive(Deserialize)]
struct Piece {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<UsageBody>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Message,
    finish_reason: Option<String>,
}

impl Gathered {
    /// Takes in the next bytes; `Ok(true)` = they held a piece of the answer, not only a sign of life.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<bool, Unusable> {
        let mut progress = false;
        let mut left = bytes;
        while let Some(end) = left.iter().position(|&byte| byte == b'\n') {
            let (line, after) = (&left[..end], &left[end + 1..]);
            progress |= if self.rest.is_empty() {
                self.line(line)?
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole)?
            };
            left = after;
        }
        self.rest.extend_from_slice(left);
        if self.rest.len() > MAX_LINE {
            return Err(Unusable::Broken(format!("a line of its stream has more than {MAX_LINE} bytes")));
        }
        self.begun |= progress;
        Ok(progress)
    }

    fn line(&mut self, line: &[u8]) -> Result<bool, Unusable> {
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(false) };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return Ok(true);
        }
        let piece: Piece =
            serde_json::from_slice(data).map_err(|error| Unusable::Broken(format!("its stream is broken: {error}")))?;
        if let Some(error) = piece.error {
            return Err(Unusable::Broken(format!("its stream ended in an error: {error}")));
        }
        self.add(piece);
        Ok(true)
    }

    fn add(&mut self, piece: Piece) {
        self.cached = piece.usage.as_ref().and_then(UsageBody::cached).or(self.cached);
        self.usage = piece.usage.map(Usage::from).or(self.usage);
        if self.model.is_none() {
            self.model = piece.model;
        }
        let Some(Choice { delta, finish_reason }) = piece.choices.into_iter().next() else { return };
        self.text.push_str(delta.content.as_ref().map_or("", |text| &text.0));
        self.reasoning.push_str(delta.reasoning.or(delta.reasoning_content).as_deref().unwrap_or_default());
        self.finish = finish_reason.as_deref().map(finish_of).or(self.finish);
    }

    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// Bytes of text and thoughts so far.
    pub(crate) fn len(&self) -> usize {
        self.text.len() + self.reasoning.len()
    }

    /// What came, once the stream has ended.
    pub(crate) fn whole(mut self) -> Result<Completion, Unusable> {
        // A last line may lack its end.
        let rest = std::mem::take(&mut self.rest);
        self.line(&rest)?;
        if !self.done && self.finish.is_none() {
            return Err(Unusable::Broken("its stream ended early".into()));
        }
        Completion {
            text: self.text.into(),
            reasoning: Some(self.reasoning),
            finish: self.finish,
            usage: self.usage,
            cached: self.cached,
            model: self.model.map(Into::into),
        }
        .tidied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = concat!(
        "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        ": still there\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"grüß\"}}]}\n\n",
        "data:{\"choices\":[{\"delta\":{\"content\":\" dich\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,",
        "\"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n",
        "data: [DONE]\n\n",
    );

    fn gathered(pieces: &[&[u8]]) -> Result<Completion, Unusable> {
        let mut gathered = Gathered::default();
        for piece in pieces {
            gathered.take(piece)?;
        }
        gathered.whole()
    }

    #[test]
    fn the_cuts_between_pieces_do_not_matter() {
        let whole = gathered(&[STREAM.as_bytes()]).unwrap();
        assert_eq!(&*whole.text, "grüß dich");
        assert_eq!(whole.reasoning.as_deref(), Some("hm"));
        assert_eq!((whole.usage, whole.cached), (Some(Usage { prompt: 3, completion: 4 }), Some(2)));
        let bytes: Vec<_> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(gathered(&bytes).unwrap(), whole);
    }

    #[test]
    fn a_comment_is_no_token() {
        let mut gathered = Gathered::default();
        assert!(!gathered.take(b": still there\n\n").unwrap());
        assert!(!gathered.begun());
        assert!(gathered.take(STREAM.as_bytes()).unwrap());
        assert!(gathered.begun());
    }

    #[test]
    fn a_stream_that_ends_early_is_unusable() {
        let cut = STREAM.find("data:{").unwrap();
        let early = Unusable::Broken("its stream ended early".into());
        assert_eq!(gathered(&[&STREAM.as_bytes()[..cut]]), Err(early));
        assert!(gathered(&[b"data: {\"error\":{\"message\":\"out of memory\"}}\n\n"]).is_err());
        assert!(gathered(&[b"data: {oops\n\n"]).is_err());
    }
}
