//! The wire, to the letter of its tables: numbers, types, and what goes along with a call.

use moothall::grpc::proto::fleet::context::v1::{GetContextRequest, GetContextResponse, PromptBlocks};
use moothall_actors::ports::ContextSource as _;
use prost::Message;

use super::stand::{Stand, patient, query, says};

/// A field of protobuf's wire: number and content.
fn text(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    bytes.extend_from_slice(content);
    bytes
}

fn number(number: u8, value: u8) -> Vec<u8> {
    assert!(value < 0x80);
    vec![number << 3, value]
}

/// Both ways: what is written has these bytes, and these bytes are read as it.
fn assert_wire<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, fields: &[Vec<u8>]) {
    let bytes = fields.concat();
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(M::decode(&*bytes).unwrap(), *message);
}

#[test]
fn a_request_has_the_tables_numbers_and_types() {
    let request = GetContextRequest {
        story_id: "story".to_owned(),
        role: "role".to_owned(),
        phase: "phase".to_owned(),
        subtask_id: "subtask".to_owned(),
        token_budget: 100,
    };
    let fields = [text(1, b"story"), text(2, b"role"), text(3, b"phase"), text(4, b"subtask"), number(5, 100)];
    assert_wire(&request, &fields);
}

#[test]
fn a_response_has_the_tables_numbers_and_types() {
    let blocks = PromptBlocks { system: "system".to_owned(), context: "context".to_owned(), tools: "tools".to_owned() };
    let parts = [text(1, b"system"), text(2, b"context"), text(3, b"tools")];
    assert_wire(&blocks, &parts);
    let response = GetContextResponse {
        context: "text".to_owned(),
        token_count: 100,
        scopes: vec!["one".to_owned(), "two".to_owned()],
        version: "version".to_owned(),
        blocks: Some(blocks),
    };
    let fields = [
        text(1, b"text"),
        number(2, 100),
        text(3, b"one"),
        text(3, b"two"),
        text(4, b"version"),
        text(5, &parts.concat()),
    ];
    assert_wire(&response, &fields);
}

#[test]
fn counts_are_int32() {
    // Ten bytes of a varint for a negative one; sint32 would have one, fixed32 four.
    let response = GetContextResponse { token_count: -1, ..GetContextResponse::default() };
    assert_eq!(response.encode_to_vec(), [16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    let request = GetContextRequest { token_budget: -1, ..GetContextRequest::default() };
    assert_eq!(request.encode_to_vec(), [40, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
}

#[test]
fn the_service_has_the_contracts_name() {
    use moothall::grpc::proto::fleet::context::v1::context_service_server::SERVICE_NAME;
    assert_eq!(SERVICE_NAME, "fleet.context.v1.ContextService");
}

#[tokio::test]
async fn a_call_says_who_asks_and_until_when() {
    let stand = Stand::start([says("v1")]).await;
    stand.client(patient()).context(&query("s")).await.unwrap();
    let value = |name: &str| {
        stand.seen(|seen| seen.metadata[0].get(name).and_then(|value| value.to_str().ok()).map(str::to_owned))
    };
    assert!(value("user-agent").is_some_and(|agent| agent.starts_with("moothall/")));
    let timeout = value("grpc-timeout").unwrap();
    let micros: u64 = timeout.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1_000_000..=20_250_000).contains(&micros), "{timeout}");
}
