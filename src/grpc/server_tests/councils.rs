//! Councils and agents over the wire.

use super::*;

#[tokio::test]
async fn councils_and_agents_come_and_go() {
    let settings = GrpcSettings {
        agents: AgentSettings {
            agent_type: "VLLM".into(),
            allowed_endpoints: ["localhost".parse().unwrap()].into_iter().collect(),
            ..AgentSettings::default()
        },
        ..GrpcSettings::default()
    };
    let house = House::with(Scenario::new(), settings).await;
    let mut client = house.orchestrator().await;
    let nobody = client.deliberate(request("T-1")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unimplemented);
    assert!(nobody.message().starts_with("No agents configured"), "{nobody}");
    let create = fleet::CreateCouncilRequest { role: "dev".into(), num_agents: 2, config: None };
    let made = client.create_council(create.clone()).await.unwrap().into_inner();
    assert_eq!(
        (made.council_id.as_str(), made.agent_ids),
        ("council-dev", vec!["agent-dev-001".into(), "agent-dev-002".into()])
    );
    assert_eq!(client.create_council(create).await.unwrap_err().code(), Code::AlreadyExists);
    let stranger = fleet::DeliberateRequest { role: "QA".into(), ..request("T-1") };
    let unknown = client.deliberate(stranger).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("DEV"), "{unknown}");
    let join = fleet::RegisterAgentRequest {
        agent_id: "guest-1".into(),
        role: "DEV".into(),
        endpoint: "http://localhost:1".into(),
        ..Default::default()
    };
    assert_eq!(client.register_agent(join).await.unwrap().into_inner().council_id, "council-dev");
    let list = fleet::ListCouncilsRequest { role_filter: "dev".into(), include_agents: true };
    let listed = client.list_councils(list).await.unwrap().into_inner().councils;
    assert_eq!((listed.len(), listed[0].num_agents, listed[0].agents.len()), (1, 3, 3));
    let leave = fleet::UnregisterAgentRequest { agent_id: "guest-1".into(), role: "DEV".into() };
    assert!(client.unregister_agent(leave.clone()).await.unwrap().into_inner().success);
    assert_eq!(client.unregister_agent(leave).await.unwrap_err().code(), Code::NotFound);
    let metrics = client.get_metrics(fleet::GetMetricsRequest::default()).await.unwrap().into_inner();
    assert_eq!(metrics.agents.unwrap().total_agents, 2);
    let delete = fleet::DeleteCouncilRequest { role: "DEV".into() };
    assert_eq!(client.delete_council(delete).await.unwrap().into_inner().agents_removed, 2);
    house.close().await;
}
