//! The operations as the server runs them. Each script is made of shared parts, so that a rule stands in one place.

use redis::Script;

const RECORD: &str = include_str!("lua/record.lua");
const OPEN: &str = include_str!("lua/open.lua");
const RULES: &str = include_str!("lua/rules.lua");
const PUT: &str = include_str!("lua/put.lua");

/// Milliseconds since the Unix epoch.
const SERVERS_TIME: &str = "local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
";

/// Time as a test tells it.
#[cfg(feature = "testing")]
const TOLD_TIME: &str = "local function now() return tonumber(redis.call('GET', KEYS[1] .. ':now') or '0') end
";

/// All operations.
pub(super) struct Scripts {
    pub(super) enqueue: Script,
    pub(super) amend: Script,
    pub(super) claim: Script,
    pub(super) adopt: Script,
    pub(super) heartbeat: Script,
    pub(super) report: Script,
    pub(super) request: Script,
    pub(super) open_phase: Script,
    pub(super) take_back: Script,
    pub(super) renew: Script,
    pub(super) ended: Script,
    pub(super) proven: Script,
    pub(super) published: Script,
    pub(super) unpublish: Script,
    pub(super) list: Script,
    pub(super) counts: Script,
    pub(super) next_due: Script,
    pub(super) unpublished: Script,
    pub(super) published_before: Script,
    pub(super) final_of: Script,
    pub(super) origin: Script,
    pub(super) lacking: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self::with_time(SERVERS_TIME)
    }

    #[cfg(feature = "testing")]
    pub(super) fn with_told_time() -> Self {
        Self::with_time(TOLD_TIME)
    }

    fn with_time(time: &str) -> Self {
        let change = |body: &str| Script::new(&[time, RECORD, OPEN, RULES, body].concat());
        let put = |body: &str| Script::new(&[time, RECORD, OPEN, RULES, PUT, body].concat());
        let look = |body: &str| Script::new(&[RECORD, body].concat());
        Self {
            enqueue: put(include_str!("lua/enqueue.lua")),
            amend: put(include_str!("lua/amend.lua")),
            claim: change(include_str!("lua/claim.lua")),
            adopt: change(include_str!("lua/adopt.lua")),
            heartbeat: change(include_str!("lua/heartbeat.lua")),
            report: change(include_str!("lua/report.lua")),
            request: change(include_str!("lua/request.lua")),
            open_phase: change(include_str!("lua/open_phase.lua")),
            take_back: change(include_str!("lua/take_back.lua")),
            renew: change(include_str!("lua/renew.lua")),
            ended: change(include_str!("lua/ended.lua")),
            proven: change(include_str!("lua/proven.lua")),
            published: change(include_str!("lua/published.lua")),
            unpublish: change(include_str!("lua/unpublish.lua")),
            list: look(include_str!("lua/list.lua")),
            counts: look(include_str!("lua/counts.lua")),
            next_due: change(include_str!("lua/next_due.lua")),
            unpublished: look(include_str!("lua/unpublished.lua")),
            published_before: look(include_str!("lua/published_before.lua")),
            final_of: look(include_str!("lua/final_of.lua")),
            origin: look(include_str!("lua/origin.lua")),
            lacking: look(include_str!("lua/lacking.lua")),
        }
    }
}
