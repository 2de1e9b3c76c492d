//! What belongs to all services: health, reflection, deadlines, and what is refused.

use super::*;

#[tokio::test]
async fn every_problem_of_a_request_is_in_the_details() {
    let house = House::usual().await;
    let bad = fleet::DeliberateRequest { task_id: " x".into(), rounds: 99, num_agents: -1, ..Default::default() };
    let status = house.orchestrator().await.deliberate(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|found| &found.field[..]).collect();
    assert_eq!(fields, ["task_id", "role", "task_description", "rounds", "num_agents"]);
    house.close().await;
}

#[tokio::test]
async fn health_follows_the_daemon_and_its_parts() {
    let house = House::usual().await;
    let mut client = HealthClient::new(house.channel().await);
    let service = "fleet.orchestrator.v1.OrchestratorService".to_owned();
    let mut watch = client.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().status() != Serving::Serving {}
    house.readiness.observe(|| Components::from([("nats".to_owned(), Health::Degraded("no connection".into()))]));
    house.readiness.enter(Stage::Draining);
    while watch.message().await.unwrap().unwrap().status() != Serving::NotServing {}
    let part = client.check(HealthCheckRequest { service: "nats".into() }).await.unwrap().into_inner();
    assert_eq!(part.status(), Serving::NotServing);
    drop(watch);
    house.close().await;
}

#[tokio::test]
async fn reflection_lists_every_service_in_both_versions() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
    let house = House::usual().await;
    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = ServerReflectionClient::new(house.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::once(ask.clone())).await.unwrap().into_inner();
    let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(listed)) = answer.message_response else { panic!("{answer:?}") };
    let names: BTreeSet<_> = listed.service.into_iter().map(|service| service.name).collect();
    for service in routes::NAMES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(names.contains(service), "{service} in {names:?}");
    }
    // The older version is the same on the wire but for its name.
    let path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
    let (status, _) = raw(house.address, path, &ask.encode_to_vec(), None).await;
    assert_eq!(status, 0);
    house.close().await;
}

/// One call made by hand, without a gRPC client's own checks and timers: its code, and its answer's bytes.
async fn raw(address: SocketAddr, path: &str, message: &[u8], timeout: Option<&str>) -> (i32, Bytes) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let mut request = http::Request::post(format!("http://{address}{path}")).header("content-type", "application/grpc");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(frame))).unwrap()).await.unwrap();
    let early = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await.unwrap();
    let late = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
    let status = early.or(late).unwrap().to_str().unwrap().parse().unwrap();
    connection.abort();
    (status, body.to_bytes())
}

const DELIBERATE: &str = "/fleet.orchestrator.v1.OrchestratorService/Deliberate";

#[tokio::test]
async fn a_message_that_is_none_is_the_clients_fault() {
    let house = House::usual().await;
    let description_is_not_utf8 = [0x12, 2, 0xc3, 0x28];
    let cut_off = [0x12, 200, 1];
    let wrong_type = [0x10, 1];
    for bytes in [&description_is_not_utf8[..], &cut_off, &wrong_type] {
        assert_eq!(raw(house.address, DELIBERATE, bytes, None).await.0, Code::InvalidArgument as i32, "{bytes:?}");
    }
    let oversize = vec![0; MAX_REQUEST_BYTES + 1];
    assert_eq!(raw(house.address, DELIBERATE, &oversize, None).await.0, Code::OutOfRange as i32);
    house.close().await;
}

#[tokio::test]
async fn past_the_clients_deadline_the_answer_is_late_and_keyed_work_goes_on() {
    let house = House::silent().await;
    let id = "ceremony-1:story-2:role-DEV";
    house.orchestrator().await.deliberate_for_backlog_review(request(id)).await.unwrap();
    let message = request(id).encode_to_vec();
    let stream = DELIBERATE.replace("Deliberate", "StreamDeliberation");
    for path in [DELIBERATE, &stream] {
        let (status, _) = raw(house.address, path, &message, Some("50m")).await;
        assert_eq!(status, Code::DeadlineExceeded as i32, "{path}");
    }
    let get = wire::GetTaskRequest { task_id: id.into(), include_results: false };
    let task = house.tasks().await.get_task(get).await.unwrap().into_inner().task.unwrap();
    assert_eq!(task.status(), wire::TaskStatus::Open);
    house.close().await;
}
