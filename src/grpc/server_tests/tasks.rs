//! Tasks as clients find, watch and cancel them.

use super::*;

#[tokio::test]
async fn a_cancelled_task_says_why_everywhere() {
    let house = House::silent().await;
    let (mut client, mut tasks) = (house.orchestrator().await, house.tasks().await);
    let id = "ceremony-1:story-2:role-DEV";
    client.deliberate_for_backlog_review(request(id)).await.unwrap();
    let get = wire::GetTaskRequest { task_id: id.into(), include_results: true };
    let open = tasks.get_task(get.clone()).await.unwrap().into_inner().task.unwrap();
    assert_eq!(open.status(), wire::TaskStatus::Open);
    let cancel = wire::CancelTaskRequest { task_id: id.into(), reason: "too dear".into() };
    let ended = tasks.cancel_task(cancel.clone()).await.unwrap().into_inner().task.unwrap();
    assert_eq!((ended.status(), ended.error.unwrap().message.as_str()), (wire::TaskStatus::Cancelled, "too dear"));
    assert_eq!(tasks.cancel_task(cancel).await.unwrap_err().code(), Code::FailedPrecondition);
    let result = fleet::GetDeliberationResultRequest { task_id: id.into() };
    let result = client.get_deliberation_result(result).await.unwrap().into_inner();
    assert_eq!(result.status(), fleet::DeliberationStatus::Failed);
    assert_eq!(result.error_message, "cancelled: too dear");
    house.close().await;
}

#[tokio::test]
async fn a_watcher_sees_a_run_from_any_place_and_a_finished_one_at_its_end() {
    let house = House::silent().await;
    let (mut client, mut tasks) = (house.orchestrator().await, house.tasks().await);
    let id = "ceremony-1:story-2:role-DEV";
    client.deliberate_for_backlog_review(request(id)).await.unwrap();
    let watch = |after_index| wire::WatchTaskRequest { task_id: id.into(), after_index, include_texts: true };
    let mut running = tasks.watch_task(watch(0)).await.unwrap().into_inner();
    let first = running.next().await.unwrap().unwrap();
    assert_eq!((first.index, first.r#final), (1, false));
    tasks.cancel_task(wire::CancelTaskRequest { task_id: id.into(), reason: String::new() }).await.unwrap();
    let rest: Vec<_> = running.map(Result::unwrap).collect().await;
    let last = rest.last().unwrap();
    assert!(last.r#final);
    assert_eq!(last.task.as_ref().unwrap().error.as_ref().unwrap().message, "by request");
    let late: Vec<_> = tasks.watch_task(watch(1_000)).await.unwrap().into_inner().map(Result::unwrap).collect().await;
    assert_eq!(late.len(), 1);
    assert_eq!((late[0].r#final, late[0].phase.as_str()), (true, "failed"));
    house.close().await;
}

#[tokio::test]
async fn tasks_are_listed_newest_first_page_by_page() {
    let house = House::usual().await;
    let mut client = house.orchestrator().await;
    for number in 1..=5 {
        client.deliberate(request(&format!("T-{number}"))).await.unwrap();
    }
    let mut tasks = house.tasks().await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = wire::ListTasksRequest { limit: 2, cursor, ..Default::default() };
        let page = tasks.list_tasks(page).await.unwrap().into_inner();
        seen.extend(page.tasks.into_iter().map(|task| (task.task_id, task.phase)));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    let expected: Vec<_> = (1..=5).rev().map(|number| (format!("T-{number}"), "complete".to_owned())).collect();
    assert_eq!(seen, expected);
    house.close().await;
}

#[tokio::test]
async fn the_system_shows_its_tree_and_its_journal() {
    let house = House::usual().await;
    house.orchestrator().await.deliberate(request("T-1")).await.unwrap();
    let mut councils = CouncilServiceClient::new(house.channel().await);
    let tree = councils.get_tree(wire::GetTreeRequest {}).await.unwrap().into_inner().actors;
    assert!(tree.iter().any(|actor| actor.name.contains("agent-dev-001")), "{tree:?}");
    let status = councils.get_system_status(wire::GetSystemStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.status.as_str(), status.councils, status.open), ("healthy", 1, 0));
    let resume = wire::ResumeCouncilRequest { role: "DEV".into() };
    assert_eq!(councils.resume_council(resume).await.unwrap().into_inner().council_id, "council-dev");
    let nobody = wire::ResumeCouncilRequest { role: "QA".into() };
    assert_eq!(councils.resume_council(nobody).await.unwrap_err().code(), Code::NotFound);
    let mut journal = JournalServiceClient::new(house.channel().await);
    let read = wire::ReadRequest { stream_prefix: "task/".into(), ..Default::default() };
    let events: Vec<_> = journal.read(read).await.unwrap().into_inner().map(Result::unwrap).collect().await;
    let kinds: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(kinds, ["TaskAccepted", "TaskCompleted"]);
    assert!(journal.verify(wire::VerifyRequest {}).await.unwrap().into_inner().sound);
    let path = wire::BackupRequest { file_name: "../x.db".into() };
    assert_eq!(journal.backup(path).await.unwrap_err().code(), Code::InvalidArgument);
    house.close().await;
}
