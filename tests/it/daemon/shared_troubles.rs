//! Two daemons, one queue, and both servers in trouble at once: everything ends, once, and is told once.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::events::{finals, plan, until_well};
use super::harness::until;
use super::record::Record;
use super::shared::{Pair, TAKEN_OVER, pair, queue_health};
use crate::nats;

const OF_A_PLAN: usize = 10;

mod soak {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn both_servers_stand_still_for_30_s_ten_times() -> Result<()> {
        troubles(Duration::from_secs(30), 10).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_servers_stand_still_die_and_go_back_in_time_while_a_daemon_falls() -> Result<()> {
    troubles(Duration::from_secs(1), 1).await
}

/// Plans flow in by messages, whoever of the two gets them.
struct Stage {
    pair: Pair,
    plans: usize,
}

impl Stage {
    async fn more(&mut self) -> Result<()> {
        let plan = plan(&format!("p{}", self.plans), OF_A_PLAN);
        self.plans += 1;
        self.pair.events.send("planning.plan.approved", plan.to_string()).await.map(drop)
    }

    async fn until_at_least(&self, ends: usize) -> Result<()> {
        let look = || async { Ok((finals(&self.pair.events).await?.len() >= ends).then_some(())) };
        until(&format!("{ends} runs have ended"), TAKEN_OVER, look).await
    }

    async fn until_all(&self) -> Result<()> {
        self.until_at_least(self.plans * OF_A_PLAN).await
    }

    async fn until_both_are(&self, status: &str) -> Result<()> {
        for daemon in &self.pair.daemons {
            let look = || async { Ok((queue_health(daemon).await?["status"] == status).then_some(())) };
            until(&format!("the queue is {status}"), TAKEN_OVER, look).await?;
        }
        Ok(())
    }

    /// One final for each run in each journal; of some it hears from the queue.
    async fn until_both_know_all(&self) -> Result<()> {
        for home in &self.pair.homes {
            let look = || async {
                let record = Record::read(home.database()).await?;
                let counts: Vec<usize> = record.finals().values().map(Vec::len).collect();
                ensure!(counts.iter().all(|count| *count <= 1), "a run ended twice: {:?}", record.finals());
                Ok(counts.iter().all(|count| *count == 1).then_some(()))
            };
            until("it knows how all has ended", TAKEN_OVER, look).await?;
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.until_both_are("healthy").await?;
        for daemon in &self.pair.daemons {
            until_well(daemon).await?;
        }
        Ok(())
    }

    /// Nobody answers, and nobody hangs up.
    async fn stand_still(&mut self, still: Duration) -> Result<()> {
        self.pair.events.signal(Signal::STOP)?;
        self.pair.redis.stop();
        tokio::time::sleep(still).await;
        self.until_both_are("degraded").await?;
        self.pair.redis.go_on();
        self.pair.events.signal(Signal::CONT)?;
        self.heal().await
    }

    async fn fall(&mut self) -> Result<()> {
        self.pair.redis.kill();
        self.pair.events.kill().await
    }

    async fn rise(&mut self) -> Result<()> {
        self.pair.redis.run().await;
        self.pair.events.run().await?;
        self.heal().await
    }

    async fn kill(&mut self, which: usize) -> Result<()> {
        self.pair.daemons[which].signal(Signal::KILL)?;
        self.pair.daemons[which].ended().await.map(drop)
    }

    async fn restart(&mut self, which: usize) -> Result<()> {
        self.pair.daemons[which] = self.pair.homes[which].start().await?;
        Ok(())
    }
}

async fn troubles(still: Duration, rounds: usize) -> Result<()> {
    let mut stage = Stage { pair: pair(Duration::from_millis(100), 3).await?, plans: 0 };
    for round in 0..rounds {
        let before = round * 3 * OF_A_PLAN;
        stage.more().await?;
        stage.until_at_least(before + 2).await?;
        stage.stand_still(still).await?;

        stage.more().await?;
        stage.kill(round % 2).await?;
        stage.until_all().await?;
        stage.restart(round % 2).await?;
        stage.heal().await?;

        stage.fall().await?;
        let (events, queue) = (stage.pair.events.snapshot()?, stage.pair.redis.copy_data());
        stage.rise().await?;
        stage.more().await?;
        stage.until_at_least(before + 2 * OF_A_PLAN + 3).await?;
        stage.fall().await?;
        stage.until_both_are("degraded").await?;
        stage.pair.events.restore(&events)?;
        stage.pair.redis.put_back(&queue);
        stage.rise().await?;
        stage.until_all().await?;
    }
    stage.until_both_know_all().await?;
    let Stage { pair: Pair { events, homes, daemons, .. }, plans } = stage;
    for daemon in daemons {
        daemon.stop().await?;
    }
    each_told_once(&events, plans * OF_A_PLAN).await?;
    let mut ended = BTreeSet::new();
    for home in &homes {
        let record = Record::read(home.database()).await?;
        record.answered()?;
        ended.extend(record.finals().into_keys());
    }
    ensure!(ended.len() == plans * OF_A_PLAN, "{} ended", ended.len());
    Ok(())
}

/// Also where a task ran again because a server had forgotten it.
async fn each_told_once(events: &nats::server::Server, all: usize) -> Result<()> {
    let finals = finals(events).await?;
    let odd: Vec<_> = finals.iter().filter(|(_, seen)| **seen != ["orchestration.task.completed"]).collect();
    ensure!(odd.is_empty() && finals.len() == all, "{} of {all}: {odd:?}", finals.len());
    Ok(())
}
