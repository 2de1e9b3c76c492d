//! The envelope around events: opened where there is one, put around what Moothall sends.
//!
//! Services of this field send `{event_type, payload, idempotency_key, correlation_id, timestamp, producer,
//! causation_id?, metadata}`, or the bare payload. Both are taken everywhere. An object that has an object `payload` is
//! an envelope; no bare event has such a field. The subject says what an event is, `event_type` does not.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::fields::{Fields, FormatError, type_of};
use super::port::{Origin, Publication};

/// Who Moothall's events say sent them.
pub const PRODUCER: &str = "moothall";

/// A message, opened.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    pub(super) payload: Fields<'a>,
    pub(super) origin: Origin,
}

/// Headers come second: an envelope survives a bridge that drops them.
pub(super) fn open(whole: &Bytes, headers: Origin) -> Result<Opened<'_>, FormatError> {
    let outer = Fields::parse(whole, whole)?;
    let Some(payload) = outer.get("payload") else {
        return Ok(Opened { payload: outer, origin: headers });
    };
    if !payload.get().starts_with('{') {
        // A bare event may have such a field; an envelope may not be without.
        if outer.get("event_type").is_none() {
            return Ok(Opened { payload: outer, origin: headers });
        }
        let found = type_of(payload);
        return Err(FormatError::WrongType { field: "payload", wanted: "an object", found });
    }
    let origin = origin(&outer, headers);
    Ok(Opened { payload: Fields::parse(whole, payload.get().as_bytes())?, origin })
}

/// What an envelope says of itself decides nothing, so that a strange type there rejects nothing.
fn origin(outer: &Fields<'_>, headers: Origin) -> Origin {
    let text = |field| outer.maybe_text(field).ok().flatten();
    Origin {
        event_id: text("idempotency_key").or(headers.event_id),
        causation_id: text("causation_id").or(headers.causation_id),
        correlation_id: text("correlation_id").or(headers.correlation_id),
        traceparent: headers.traceparent,
        producer: text("producer").or(headers.producer),
    }
}

/// The outgoing form, in the order of its fields.
#[derive(Serialize)]
struct Envelope<'a> {
    event_type: &'a str,
    payload: &'a Value,
    idempotency_key: String,
    correlation_id: &'a str,
    timestamp: Timestamp,
    producer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    metadata: Empty,
}

/// `{}`.
#[derive(Serialize)]
struct Empty {}

/// Puts the envelope around a payload of this publication. An event that nothing caused begins a correlation.
pub(super) fn wrap(publication: &Publication, payload: &Value) -> Result<Vec<u8>, serde_json::Error> {
    let own = publication.event_id.to_string();
    let envelope = Envelope {
        event_type: &publication.subject,
        payload,
        correlation_id: publication.correlation_id.as_deref().unwrap_or(&own),
        idempotency_key: own.clone(),
        timestamp: publication.time,
        producer: PRODUCER,
        causation_id: publication.causation_id.as_deref(),
        metadata: Empty {},
    };
    serde_json::to_vec(&envelope)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::super::port::Body;
    use super::*;

    fn story(json: &'static str, headers: Origin) -> Result<(String, Origin), FormatError> {
        let whole = Bytes::from_static(json.as_bytes());
        let opened = open(&whole, headers)?;
        Ok((opened.payload.text("story_id")?, opened.origin))
    }

    #[test]
    fn a_bare_payload_is_taken() {
        let headers = Origin { event_id: Some("h".into()), ..Origin::default() };
        assert_eq!(story(r#"{"story_id": "s"}"#, headers.clone()), Ok(("s".into(), headers)));
    }

    #[test]
    fn the_wrapped_payload_wins() {
        let json = r#"{"event_type": "x", "story_id": "outer", "payload": {"story_id": "inner"},
            "idempotency_key": "k", "correlation_id": "c", "causation_id": "b", "producer": "planning", "metadata": {}}"#;
        let headers = Origin { event_id: Some("h".into()), traceparent: Some("t".into()), ..Origin::default() };
        let origin = Origin {
            event_id: Some("k".into()),
            causation_id: Some("b".into()),
            correlation_id: Some("c".into()),
            traceparent: Some("t".into()),
            producer: Some("planning".into()),
        };
        assert_eq!(story(json, headers), Ok(("inner".into(), origin)));
    }

    #[test]
    fn what_is_missing_inside_is_not_taken_from_outside() {
        let json = r#"{"event_type": "x", "story_id": "outer", "payload": {}}"#;
        assert_eq!(story(json, Origin::default()), Err(FormatError::Missing("story_id")));
    }

    #[test]
    fn an_envelope_without_an_object_names_its_payload() {
        let error = story(r#"{"event_type": "x", "payload": "text"}"#, Origin::default()).unwrap_err();
        assert_eq!(error.to_string(), r#"field "payload" is a text, not an object"#);
        assert!(story(r#"{"story_id": "s", "payload": "text"}"#, Origin::default()).is_ok());
    }

    #[test]
    fn strange_fields_of_the_envelope_reject_nothing() {
        let json = r#"{"event_type": 1, "payload": {"story_id": "s"}, "correlation_id": {}, "producer": [1]}"#;
        assert_eq!(story(json, Origin::default()), Ok(("s".into(), Origin::default())));
    }

    pub(crate) fn publication() -> Publication {
        Publication {
            seq: 1,
            event_id: Uuid::from_u128(7),
            subject: "orchestration.task.queued".into(),
            ordering_key: "t".into(),
            body: Body::Event(json!({})),
            correlation_id: None,
            causation_id: None,
            traceparent: None,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_outgoing_envelope_is_as_written_down() {
        let publication =
            Publication { correlation_id: Some("c".into()), causation_id: Some("b".into()), ..publication() };
        let wrapped = wrap(&publication, &json!({"task_id": "t"})).unwrap();
        assert_eq!(
            String::from_utf8(wrapped).unwrap(),
            concat!(
                r#"{"event_type":"orchestration.task.queued","payload":{"task_id":"t"},"#,
                r#""idempotency_key":"00000000-0000-0000-0000-000000000007","correlation_id":"c","#,
                r#""timestamp":"2026-01-02T03:04:05Z","producer":"moothall","causation_id":"b","metadata":{}}"#
            )
        );
    }

    #[test]
    fn an_event_that_nothing_caused_begins_a_correlation() {
        let wrapped: Value = serde_json::from_slice(&wrap(&publication(), &json!({})).unwrap()).unwrap();
        assert_eq!(wrapped["correlation_id"], wrapped["idempotency_key"]);
        assert!(wrapped.get("causation_id").is_none());
    }
}
