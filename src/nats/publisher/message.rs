//! A publication as a message: envelope or bare, texts cut, headers.

use std::borrow::Cow;

use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

use super::super::port::{Body, Publication};
use super::super::{cut, envelope};

/// How it goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) envelope: bool,
    pub(super) longest_text: usize,
    pub(super) max_payload: usize,
}

/// Fails on what no later try can mend.
pub(super) fn message(publication: &Publication, form: Form) -> Result<PublishMessage, String> {
    if !is_subject(&publication.subject) {
        return Err(format!("{:?} is no subject to publish to", publication.subject));
    }
    let mut headers = HeaderMap::new();
    if let Some(traceparent) = &publication.traceparent {
        put(&mut headers, "traceparent", traceparent);
    }
    let payload = match &publication.body {
        Body::Event(payload) => event(publication, payload, form)?,
        Body::Raw { bytes, headers: more } => {
            more.iter().for_each(|(name, value)| put(&mut headers, name, value));
            // The server's limit may have sunk since it was cut.
            cut::raw(bytes, form.max_payload)
        }
    };
    let message = PublishMessage::build().payload(payload).headers(headers);
    Ok(message.message_id(publication.event_id.to_string()))
}

fn event(publication: &Publication, payload: &serde_json::Value, form: Form) -> Result<Bytes, String> {
    let mut payload = Cow::Borrowed(payload);
    if cut::is_long(&payload, form.longest_text) {
        cut::texts(payload.to_mut(), form.longest_text);
    }
    let written =
        if form.envelope { envelope::wrap(publication, &payload) } else { serde_json::to_vec(payload.as_ref()) };
    written.map(Bytes::from).map_err(|error| format!("it cannot be written: {error}"))
}

/// One that a header cannot hold is left out: the event is worth more than its trace.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
        headers.insert(name, value);
    }
}

fn is_subject(subject: &str) -> bool {
    let token = |token: &str| {
        !token.is_empty() && token != "*" && token != ">" && !token.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    subject.split('.').all(token)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    const FORM: Form = Form { envelope: true, longest_text: 8, max_payload: 1 << 20 };

    fn publication(body: Body) -> Publication {
        Publication {
            seq: 1,
            event_id: Uuid::from_u128(1),
            subject: "orchestration.task.failed".into(),
            ordering_key: "t".into(),
            body,
            correlation_id: None,
            causation_id: None,
            traceparent: Some("00-ab-cd-01".into()),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    fn sent(publication: &Publication, form: Form) -> (HeaderMap, Bytes) {
        let message = message(publication, form).unwrap().outbound_message("x");
        (message.headers.unwrap(), message.payload)
    }

    #[test]
    fn an_event_goes_out_wrapped_or_bare_and_cut() {
        let publication = publication(Body::Event(json!({"error": "123456789"})));
        let (headers, payload) = sent(&publication, FORM);
        assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str(), publication.event_id.to_string());
        assert_eq!(headers.get("traceparent").unwrap().as_str(), "00-ab-cd-01");
        let wrapped: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(wrapped["payload"]["error"], "12345678");
        assert_eq!(wrapped["payload"]["truncated"], true);
        let (_, payload) = sent(&publication, Form { envelope: false, ..FORM });
        assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), wrapped["payload"]);
    }

    #[test]
    fn raw_bytes_go_out_as_they_are() {
        let body = Body::Raw {
            bytes: Bytes::from_static(b"{no json"),
            headers: vec![("Moothall-Reason".into(), "why".into()), ("Bad".into(), "two\r\nlines".into())],
        };
        let (headers, payload) = sent(&publication(body), FORM);
        assert_eq!(&payload[..], b"{no json");
        assert_eq!(headers.get("Moothall-Reason").unwrap().as_str(), "why");
        assert!(headers.get("Bad").is_none());
    }

    #[test]
    fn what_is_no_subject_is_refused() {
        for subject in ["", "a..b", "a.*", "a.>", "a b", "a.\r\nPUB x"] {
            let publication = Publication { subject: subject.into(), ..publication(Body::Event(json!({}))) };
            assert!(message(&publication, FORM).is_err(), "{subject:?}");
        }
    }
}
