//! The dead letter of a rejected message: its bytes, and in headers why and of what.

use jiff::Timestamp;
use uuid::Uuid;

use super::cut::boundary;
use super::port::{Body, Publication, Rejection};
use super::subject::DEAD_LETTERS;

pub const REASON: &str = "Moothall-Reason";
pub const LENGTH: &str = "Moothall-Length";
pub const SHA256: &str = "Moothall-Sha256";
pub const STREAM: &str = "Moothall-Stream";
pub const SEQUENCE: &str = "Moothall-Sequence";

/// The longest reason in a header, in bytes; the journal has it whole.
const LONGEST_REASON: usize = 1_024;

/// What the outbox hands back for a journaled rejection, under the seq, id and time of its `MessageRejected`.
#[must_use]
pub fn dead_letter(seq: u64, event_id: Uuid, time: Timestamp, rejection: &Rejection) -> Publication {
    let headers = [
        (REASON, header_text(&rejection.reason)),
        (LENGTH, rejection.length.to_string()),
        (SHA256, rejection.sha256.clone()),
        (STREAM, rejection.key.stream.clone()),
        (SEQUENCE, rejection.key.sequence.to_string()),
    ];
    Publication {
        seq,
        event_id,
        subject: format!("{DEAD_LETTERS}{}", rejection.subject),
        // Dead letters need no order, so that none waits for another.
        ordering_key: format!("{DEAD_LETTERS}{event_id}"),
        body: Body::Raw {
            bytes: rejection.raw.clone(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        },
        correlation_id: rejection.origin.correlation_id.clone(),
        causation_id: rejection.origin.event_id.clone(),
        traceparent: rejection.origin.traceparent.clone(),
        time,
    }
}

/// One line of bounded length: a header ends where its line does.
fn header_text(text: &str) -> String {
    let line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    line[..boundary(&line, LONGEST_REASON)].to_owned()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::port::{InboxKey, Origin};
    use super::*;

    #[test]
    fn it_says_why_and_of_what() {
        let rejection = Rejection {
            key: InboxKey { stream: "CONTEXT".into(), sequence: 3, published_ns: 4 },
            subject: "context.updated".into(),
            reason: "field\r\n\"story_id\" is missing".into(),
            raw: Bytes::from_static(b"{"),
            length: 9,
            sha256: "ab".into(),
            origin: Origin { event_id: Some("e".into()), correlation_id: Some("c".into()), ..Origin::default() },
        };
        let letter = dead_letter(5, Uuid::from_u128(6), Timestamp::UNIX_EPOCH, &rejection);
        assert_eq!((letter.seq, letter.subject.as_str()), (5, "moothall.dlq.context.updated"));
        assert_eq!((letter.causation_id.as_deref(), letter.correlation_id.as_deref()), (Some("e"), Some("c")));
        let Body::Raw { bytes, headers } = letter.body else { panic!("not raw") };
        assert_eq!(&bytes[..], b"{");
        let of = |name: &str| headers.iter().find(|(n, _)| n == name).unwrap().1.clone();
        assert_eq!(of(REASON), "field  \"story_id\" is missing");
        assert_eq!(
            (of(LENGTH), of(SHA256), of(STREAM), of(SEQUENCE)),
            ("9".into(), "ab".into(), "CONTEXT".into(), "3".into())
        );
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let text = header_text(&"ä".repeat(1_000));
        assert_eq!(text.len(), 1_024);
    }
}
