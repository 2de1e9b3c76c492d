//! In a server that daemons share: a task's whole way through the queue, over a bare script that puts a record of that size.

use std::collections::BTreeMap;
use std::sync::Arc;

use moothall_actors::ports::queue::{Claim, Report, TaskQueue as _};
use moothall_actors::ports::shared::SharedQueue as _;
use redis::aio::MultiplexedConnection;
use redis::{Client, Script};
use uuid::Uuid;

use super::super::BenchError;
use super::work::{BATCH, entry, rate, role, task, timed};
use super::{Rate, failed};
use crate::redis::{Address, RedisQueue, Settings};

/// Keys looked at by one step of the clearing.
const SCANNED: usize = 1_000;

/// One record, and its place in the order: what a queue in a server cannot do without.
const PUT: &str = "redis.call('HSET', KEYS[1], 'role', ARGV[1], 'story', ARGV[2], 'state', 'QUEUED', 'run', '1', \
                   'rank', ARGV[3]) redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4]) return 1";

/// Keys of its own, under a prefix that nobody else has, and none of them is left.
pub(super) async fn cycle(server: &str, tasks: usize) -> Result<Rate, BenchError> {
    let client = Client::open(server).map_err(failed)?;
    let connection = client.get_multiplexed_async_connection().await.map_err(failed)?;
    let prefix: Arc<str> = format!("moothall-bench-{}", Uuid::now_v7().simple()).into();
    let measured = measure(server, &connection, &prefix, tasks).await;
    clear(connection, &prefix).await.map_err(failed)?;
    measured
}

async fn measure(
    server: &str,
    connection: &MultiplexedConnection,
    prefix: &Arc<str>,
    tasks: usize,
) -> Result<Rate, BenchError> {
    let queue = Arc::new(queue(server, prefix).await?);
    let per_s = timed(tasks, |caller, batch| one_cycle(queue.clone(), caller, batch)).await?;
    let script = Arc::new(Script::new(PUT));
    let floor_per_s =
        timed(tasks, |caller, batch| put_batch(connection.clone(), script.clone(), prefix.clone(), (caller, batch)))
            .await?;
    Ok(rate(per_s, floor_per_s))
}

async fn clear(mut connection: MultiplexedConnection, prefix: &str) -> redis::RedisResult<()> {
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{{{prefix}}}*"))
            .arg("COUNT")
            .arg(SCANNED)
            .query_async(&mut connection)
            .await?;
        if !keys.is_empty() {
            redis::cmd("UNLINK").arg(keys).query_async::<()>(&mut connection).await?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

/// One that has said what it knows: nothing.
async fn queue(server: &str, prefix: &str) -> Result<RedisQueue, BenchError> {
    let address = Address::parse(server).map_err(failed)?;
    let queue = RedisQueue::new(Settings { prefix: prefix.to_owned(), ..Settings::new(address) }).map_err(failed)?;
    queue.reassert(Vec::new(), BTreeMap::new()).await.map_err(failed)?;
    Ok(queue)
}

async fn one_cycle(queue: Arc<RedisQueue>, caller: usize, batch: usize) -> Result<(), BenchError> {
    let (role, story) = (role(caller)?, Arc::from(format!("story-{caller}")));
    let entries: Result<Vec<_>, BenchError> =
        (0..BATCH).map(|place| Ok(entry(&task(&format!("shared-{caller}-{batch}-{place}"))?, &role, &story))).collect();
    queue.enqueue(entries?, BTreeMap::new()).await.map_err(failed)?;
    let claim = Claim { role, most: BATCH, most_per_story: usize::MAX, holder: "bench".into() };
    let claims = queue.claim(&claim).await.map_err(failed)?;
    let reports = claims.iter().map(|claimed| queue.report(&claimed.lease, Report::Completed));
    for reported in futures::future::join_all(reports).await {
        reported.map_err(failed)?;
    }
    if claims.len() == BATCH { Ok(()) } else { Err(failed(format!("{} tasks were claimed of {BATCH}", claims.len()))) }
}

/// One by one, each answered before the next: as many at once as there are callers.
async fn put_batch(
    mut connection: MultiplexedConnection,
    script: Arc<Script>,
    prefix: Arc<str>,
    (caller, batch): (usize, usize),
) -> Result<(), BenchError> {
    for place in 0..BATCH {
        let name = format!("{{{prefix}}}:bare:{caller}-{batch}-{place}");
        let mut put = script.key(name.as_str());
        put.key(format!("{{{prefix}}}:bare")).arg(format!("R{caller}")).arg(format!("story-{caller}"));
        put.arg(batch * BATCH + place).arg(&name);
        put.invoke_async::<()>(&mut connection).await.map_err(failed)?;
    }
    Ok(())
}
