//! The answer of an outside hub: an artifact, or what is wrong with it.

use std::collections::BTreeMap;

use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::Artifact;
use serde::de::DeserializeOwned;

use super::fault::{Fault, quote, said};

/// The fields of an object as they came.
type Fields = BTreeMap<String, Json>;

/// Reads the body of an answer with a good status.
pub(super) fn artifact(body: &[u8]) -> Result<Artifact, Fault> {
    let came = || match body.is_empty() {
        true => "nothing".to_owned(),
        false => quote(&String::from_utf8_lossy(body)),
    };
    let fields: Fields = serde_json::from_slice(body)
        .map_err(|_| Fault::lasting(format!("its answer is no JSON object; what came is: {}", came())))?;
    match field::<bool>(&fields, "success") {
        None => Err(Fault::lasting(format!("its answer has no success, true or false; what came is: {}", came()))),
        Some(false) => Err(Fault::lasting(said(body).unwrap_or_else(|| "it failed, and did not say why".to_owned()))),
        Some(true) => match field::<Json>(&fields, "result") {
            Some(content) => Ok(with_evidence(content, &fields)),
            None => {
                Err(Fault::lasting(format!("it says that it succeeded and brings no result; what came is: {}", came())))
            }
        },
    }
}

fn with_evidence(content: Json, fields: &Fields) -> Artifact {
    let metadata = field::<Json>(fields, "metadata");
    let known: Option<Fields> = metadata.as_ref().and_then(|metadata| metadata.read().ok());
    let confidence = field(fields, "confidence").filter(|given| (0.0..=100.0).contains(given));
    let checks_passed = known.as_ref().and_then(|known| field(known, "checks_passed"));
    let metadata = match field::<Json>(fields, "escalation_id") {
        Some(id) => with_escalation(id, metadata, known),
        None => metadata,
    };
    Artifact { confidence, checks_passed, metadata, ..Artifact::of(content) }
}

fn with_escalation(id: Json, metadata: Option<Json>, known: Option<Fields>) -> Option<Json> {
    let mut beside =
        known.unwrap_or_else(|| metadata.map(|other| ("metadata".to_owned(), other)).into_iter().collect());
    beside.insert("escalation_id".to_owned(), id);
    Json::of(&beside).ok()
}

/// `None` = it is not there, is null, or is something else.
fn field<T: DeserializeOwned>(fields: &Fields, name: &str) -> Option<T> {
    fields.get(name).filter(|json| json.as_str() != "null")?.read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Artifact {
        artifact(body.as_bytes()).unwrap_or_else(|fault| panic!("{}", fault.what))
    }

    fn refused(body: &str) -> String {
        let fault = artifact(body.as_bytes()).unwrap_err();
        assert!(!fault.may_retry);
        fault.what
    }

    #[test]
    fn an_answer_becomes_an_artifact_as_it_came() {
        let body = r#"{"success":true,"result":{"n": 1.50},"confidence":87.5,"error":null,"escalation_id":null,
                       "metadata":{"checks_passed": true, "by": "x"}}"#;
        let artifact = read(body);
        assert_eq!(artifact.content.as_str(), r#"{"n": 1.50}"#);
        assert_eq!((artifact.confidence, artifact.checks_passed), (Some(87.5), Some(true)));
        assert_eq!(artifact.metadata.unwrap().as_str(), r#"{"checks_passed": true, "by": "x"}"#);
        assert_eq!(artifact.hash, artifact.content.hash());
    }

    #[test]
    fn a_confidence_that_is_none_is_not_known() {
        for given in ["101", "-0.1", "\"90\"", "null", "1e999", "[]"] {
            let body = format!(r#"{{"success":true,"result":"r","confidence":{given}}}"#);
            assert_eq!(artifact(body.as_bytes()).ok().and_then(|artifact| artifact.confidence), None, "{given}");
        }
        assert_eq!(read(r#"{"success":true,"result":"r","confidence":100}"#).confidence, Some(100.0));
        let artifact = read(r#"{"success":true,"result":"r","metadata":{"checks_passed":"yes"}}"#);
        assert_eq!((artifact.confidence, artifact.checks_passed), (None, None));
    }

    #[test]
    fn an_escalation_stands_beside_the_metadata() {
        let metadata = |body: &str| read(body).metadata.unwrap().as_str().to_owned();
        let with = |metadata: &str| format!(r#"{{"success":true,"result":1,"escalation_id":"e-1"{metadata}}}"#);
        assert_eq!(metadata(&with(r#","metadata":{"a":1.0}"#)), r#"{"a":1.0,"escalation_id":"e-1"}"#);
        assert_eq!(metadata(&with("")), r#"{"escalation_id":"e-1"}"#);
        assert_eq!(metadata(&with(r#","metadata":[1]"#)), r#"{"escalation_id":"e-1","metadata":[1]}"#);
    }

    #[test]
    fn what_is_no_answer_is_named_with_what_came() {
        for body in ["", "ok", "[true, 1]", "{\"success\":", "\"success\"", "null", "\u{fffd}"] {
            let what = refused(body);
            assert!(what.starts_with("its answer is no JSON object; what came is: "), "{body}: {what}");
        }
        assert!(refused("").ends_with("nothing"));
        for body in ["{}", r#"{"success":"true","result":1}"#, r#"{"success":null}"#, r#"{"result":1}"#] {
            assert!(refused(body).contains(&format!("no success, true or false; what came is: {body}")), "{body}");
        }
        for body in [r#"{"success":true}"#, r#"{"success":true,"result":null}"#] {
            assert!(refused(body).contains("brings no result"), "{body}");
        }
    }

    #[test]
    fn a_failure_says_why() {
        assert_eq!(refused(r#"{"success":false,"error":"out of ideas","result":1}"#), "out of ideas");
        assert_eq!(refused(r#"{"success":false,"error":{"message":"out"}}"#), "out");
        assert_eq!(refused(r#"{"success":false}"#), "it failed, and did not say why");
    }
}
