//! Work that is started over the wire, and the streams that show it.

use super::*;

#[tokio::test]
async fn a_council_deliberates_over_the_wire() {
    let house = House::usual().await;
    let answer = house.orchestrator().await.deliberate(request("T-1")).await.unwrap();
    assert_eq!(answer.metadata().get("moothall-task-id").unwrap(), "T-1");
    let answer = answer.into_inner();
    assert_eq!((answer.task_id.as_str(), answer.results.len()), ("T-1", 3));
    assert_eq!(answer.results.iter().map(|result| result.rank).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(answer.winner_id, answer.results[0].proposal.as_ref().unwrap().author_id);
    assert_eq!(answer.metadata.unwrap().tags["calls"], "9");
    assert_eq!(answer.results[0].proposal.as_ref().unwrap().revisions.len(), 1);
    house.close().await;
}

#[tokio::test]
async fn the_same_id_gets_the_same_answer_and_other_content_is_refused() {
    let house = House::usual().await;
    let mut client = house.orchestrator().await;
    let first = client.deliberate(request("T-1")).await.unwrap().into_inner();
    let again = client.deliberate(request("T-1")).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(house.story.model.asks().len(), 9);
    let other = fleet::DeliberateRequest { rounds: 2, ..request("T-1") };
    assert_eq!(client.deliberate(other).await.unwrap_err().code(), Code::AlreadyExists);
    house.close().await;
}

#[tokio::test]
async fn the_idempotency_key_stands_for_the_task_id() {
    let house = House::usual().await;
    let mut keyed = Request::new(request(""));
    keyed.metadata_mut().insert("idempotency-key", "K-1".parse().unwrap());
    let answer = house.orchestrator().await.deliberate(keyed).await.unwrap();
    assert_eq!(answer.into_inner().task_id, "K-1");
    house.close().await;
}

#[tokio::test]
async fn both_packages_orchestrate_alike() {
    let house = House::usual().await;
    let newer = fleet::OrchestrateRequest {
        task_id: "T-1".into(),
        task_description: "parse a duration".into(),
        role: "DEV".into(),
        ..Default::default()
    };
    let first = house.orchestrator().await.orchestrate(newer).await.unwrap().into_inner();
    assert_eq!((first.winner.as_ref().unwrap().rank, first.candidates.len()), (1, 2));
    let mut client = OlderClient::new(house.channel().await);
    let same = older::OrchestrateRequest {
        task_id: "T-1".into(),
        task_description: "parse a duration".into(),
        role: "DEV".into(),
        ..Default::default()
    };
    assert_eq!(client.orchestrate(same).await.unwrap().into_inner(), first);
    let deliberate = older::DeliberateRequest {
        task_description: "parse a duration".into(),
        role: "dev".into(),
        num_agents: 2,
        ..Default::default()
    };
    let answer = client.deliberate(deliberate).await.unwrap();
    assert!(answer.metadata().get("moothall-task-id").is_some());
    assert_eq!(answer.into_inner().results.len(), 2);
    let status = client.get_status(fleet::GetStatusRequest { include_stats: true }).await.unwrap().into_inner();
    let stats = status.stats.unwrap();
    assert_eq!((stats.total_deliberations, stats.total_orchestrations), (1, 1));
    house.close().await;
}

#[tokio::test]
async fn a_stream_tells_everything_and_ends_with_the_winner() {
    let house = House::usual().await;
    let answer = house.orchestrator().await.stream_deliberation(request("T-1")).await.unwrap();
    assert_eq!(answer.metadata().get("moothall-task-id").unwrap(), "T-1");
    let updates: Vec<_> = answer.into_inner().map(Result::unwrap).collect().await;
    let words = ["generating", "reviewing", "revising", "scoring", "selecting", "complete"];
    assert!(updates.iter().all(|update| words.contains(&update.status.as_str())), "{updates:?}");
    assert!(updates.is_sorted_by_key(|update| update.progress_percent), "{updates:?}");
    let last = updates.last().unwrap();
    assert_eq!((last.status.as_str(), last.partial_result.as_ref().unwrap().rank), ("complete", 1));
    assert_eq!(updates.iter().filter(|update| update.status == "complete").count(), 1);
    let texts = updates.iter().filter(|update| update.partial_result.is_some()).count();
    assert!(texts >= 7, "three proposals, three revisions and a winner: {texts}");
    house.close().await;
}

#[tokio::test]
async fn a_stream_that_nobody_can_find_again_ends_its_run_when_it_is_dropped() {
    let house = House::silent().await;
    let answer = house.orchestrator().await.stream_deliberation(request("")).await.unwrap();
    let task = answer.metadata().get("moothall-task-id").unwrap().to_str().unwrap().to_owned();
    drop(answer);
    house.until_cancelled(&task).await;
    house.close().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_and_lets_go_of_its_run() {
    let long: Arc<str> = "x".repeat(64 * 1024).into();
    let scenario = Scenario::new().council("DEV", 3).reacts(move |call, _| match call.id.agent.as_str() {
        "agent-dev-003" => (Duration::ZERO, Reaction::Hang),
        _ => (Duration::ZERO, Reaction::Answer(long.clone())),
    });
    let settings = GrpcSettings { patience: Duration::from_millis(80), ..GrpcSettings::default() };
    let house = House::with(scenario, settings).await;
    let narrow = house.endpoint().initial_stream_window_size(1024).initial_connection_window_size(1024);
    let mut client = OrchestratorServiceClient::new(narrow.connect().await.unwrap());
    let answer = client.stream_deliberation(request("")).await.unwrap();
    let task = answer.metadata().get("moothall-task-id").unwrap().to_str().unwrap().to_owned();
    // The council waits for its third agent; only the reader's absence can end the run.
    house.until_cancelled(&task).await;
    let mut updates = answer.into_inner();
    let ended = loop {
        match updates.next().await.expect("it ends with an error") {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended:?}");
    house.close().await;
}

#[tokio::test]
async fn a_backlog_review_answers_at_once_and_the_result_comes_later() {
    let house = House::usual().await;
    let mut client = house.orchestrator().await;
    let id = "ceremony-1:story-2:role-DEV";
    let answer = client.deliberate_for_backlog_review(request(id)).await.unwrap().into_inner();
    assert_eq!((answer.task_id.as_str(), answer.results.len()), (id, 0));
    house.ending(id).await.unwrap();
    let result = fleet::GetDeliberationResultRequest { task_id: id.into() };
    let result = client.get_deliberation_result(result).await.unwrap().into_inner();
    assert_eq!((result.status(), result.results.len()), (fleet::DeliberationStatus::Completed, 3));
    house.close().await;
}
