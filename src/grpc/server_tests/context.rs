//! What is known of a story, for clients and in the verdicts of its tasks.

use std::sync::Arc;

use moothall_actors::domain::answer::Class;
use moothall_actors::ports::{Blocks, Context, ContextError, StoryPhase};
use moothall_actors::testing::FakeContexts;

use super::*;

fn asks(story: &str, role: &str, phase: &str) -> fleet::GetTaskContextRequest {
    let (story_id, role, phase) = (story.into(), role.into(), phase.into());
    fleet::GetTaskContextRequest { story_id, role, phase, ..Default::default() }
}

fn of_story(task: &str, story: &str) -> fleet::DeliberateRequest {
    let metadata = [("story_id".to_owned(), story.to_owned())].into();
    let constraints = Some(fleet::TaskConstraints { metadata, ..Default::default() });
    fleet::DeliberateRequest { constraints, ..request(task) }
}

async fn house(source: Arc<FakeContexts>) -> House {
    House::of(Scenario::new().council("DEV", 3).context(source)).await
}

#[tokio::test]
async fn a_context_is_told_whole() {
    let blocks = Blocks { system: "s".into(), context: "c".into(), tools: "t".into() };
    let known = Context { blocks, ..FakeContexts::context("known") };
    let source = FakeContexts::new(move |_| (Duration::ZERO, Ok(known.clone())));
    let house = house(source.clone()).await;
    let mut client = house.orchestrator().await;
    let answer = client.get_task_context(asks("S-1", "qa", "TEST")).await.unwrap().into_inner();
    assert_eq!((&*answer.context_text, answer.token_count, &*answer.version_hash), ("known", 7, "hash of v1"));
    let blocks = answer.blocks.unwrap();
    assert_eq!([&*blocks.system, &*blocks.context, &*blocks.tools, &*blocks.history], ["s", "c", "t", ""]);
    let asked = source.asked();
    assert_eq!((&*asked[0].story_id, &*asked[0].role, asked[0].phase), ("S-1", "QA", StoryPhase::Test));
    house.close().await;
}

#[tokio::test]
async fn story_and_role_may_be_a_tasks() {
    let source = FakeContexts::says("known");
    let house = house(source.clone()).await;
    let mut client = house.orchestrator().await;
    client.deliberate(of_story("T-1", "S-1")).await.unwrap();
    client.deliberate(request("T-2")).await.unwrap();
    let of_task = |task: &str| fleet::GetTaskContextRequest { task_id: task.into(), ..asks("", "", "BUILD") };
    client.get_task_context(of_task("T-1")).await.unwrap();
    let asked = source.asked();
    assert_eq!((asked.len(), &asked[0]), (2, &asked[1]), "the same as the task's own prompts were asked for with");
    let none = client.get_task_context(of_task("T-2")).await.unwrap_err();
    assert_eq!(none.code(), Code::FailedPrecondition, "{none}");
    assert_eq!(client.get_task_context(of_task("T-3")).await.unwrap_err().code(), Code::NotFound);
    house.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_named_at_once() {
    let house = house(FakeContexts::says("known")).await;
    let mut client = house.orchestrator().await;
    let status = client.get_task_context(asks("", "a b", "design")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("allowed are DESIGN, BUILD, TEST, DOCS"), "{status}");
    let details = status.get_error_details();
    let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|found| &found.field[..]).collect();
    assert_eq!(fields, ["role", "story_id", "phase"]);
    house.close().await;
}

#[tokio::test]
async fn a_context_that_is_not_to_be_had_says_why() {
    let house = House::usual().await;
    let off = house.orchestrator().await.get_task_context(asks("S-1", "DEV", "BUILD")).await.unwrap_err();
    assert_eq!(off.code(), Code::FailedPrecondition);
    assert!(off.message().contains("context.address"), "{off}");
    house.close().await;
    for (class, code) in [
        (Class::Transient, Code::Unavailable),
        (Class::Gone, Code::Unavailable),
        (Class::TimedOut, Code::DeadlineExceeded),
        (Class::Refused, Code::FailedPrecondition),
        (Class::Invalid, Code::InvalidArgument),
    ] {
        let error = ContextError { class, message: "context service http://c:1: why".into() };
        let source = FakeContexts::new(move |_| (Duration::ZERO, Err(error.clone())));
        let house = self::house(source).await;
        let status = house.orchestrator().await.get_task_context(asks("S-1", "DEV", "BUILD")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "context service http://c:1: why"));
        house.close().await;
    }
}

#[tokio::test]
async fn a_verdict_says_what_its_prompts_were_told() {
    let house = house(FakeContexts::says("known")).await;
    let answer = house.orchestrator().await.deliberate(of_story("T-1", "S-1")).await.unwrap().into_inner();
    let tags = answer.metadata.unwrap().tags;
    assert_eq!((tags["context.tokens"].as_str(), tags["context.version_hash"].as_str()), ("7", "hash of v1"));
    let get = wire::GetVerdictRequest { task_id: "T-1".into(), ..Default::default() };
    let document = JournalServiceClient::new(house.channel().await).get_verdict(get).await.unwrap().into_inner();
    let told = wire::StoryContext { version_hash: "hash of v1".into(), tokens: 7, missing: String::new() };
    assert_eq!(document.context, Some(told));
    house.close().await;
}
