//! Workflows of the program that this one replaces, where its tables lie in the store's own file.
//!
//! The first start sets them aside under other names, so that ours have room; they are read from there, once, and stay.

use std::sync::Arc;

use jiff::Timestamp as Time;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use moothall_actors::domain::id::Timestamp;
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{Past, Phase, WorkflowId, WorkflowStatus, WorkflowType};
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::error::ReadError;

/// The names of its tables, and under which they are set aside.
const TABLES: [(&str, &str); 2] =
    [("workflows", "speckit_workflows"), ("workflow_history", "speckit_workflow_history")];

/// A workflow as that program left it.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignWorkflow {
    pub id: WorkflowId,
    pub workflow_type: WorkflowType,
    pub status: WorkflowStatus,
    pub feature_id: Arc<str>,
    pub description: Arc<str>,
    pub phase: Phase,
    pub context: Option<Json>,
    pub result: Option<Json>,
    pub error: Option<Arc<str>>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub history: Vec<Past>,
}

/// All of them, oldest first, and what is wrong with those that cannot be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreign {
    pub workflows: Vec<ForeignWorkflow>,
    pub unreadable: Vec<String>,
}

fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    conn.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?.exists([name])
}

/// Before our tables of these names are made.
pub(super) fn set_aside(conn: &Connection) -> rusqlite::Result<()> {
    for (name, aside) in TABLES {
        if has_table(conn, name)? {
            conn.execute_batch(&format!("ALTER TABLE {name} RENAME TO {aside}"))?;
        }
    }
    Ok(())
}

/// Nothing where there never was such a program.
pub(super) fn read(conn: &Connection) -> Result<Foreign, ReadError> {
    let mut foreign = Foreign::default();
    if !has_table(conn, TABLES[0].1)? {
        return Ok(foreign);
    }
    let has_history = has_table(conn, TABLES[1].1)?;
    let mut statement = conn.prepare(
        "SELECT id, workflow_type, status, feature_id, feature_description, current_phase, context, result, error, \
         created_at, updated_at, completed_at FROM speckit_workflows ORDER BY created_at, id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        match workflow(row, &id)? {
            Ok(workflow) if has_history => {
                let history = history(conn, &id)?;
                foreign.workflows.push(ForeignWorkflow { history, ..workflow });
            }
            Ok(workflow) => foreign.workflows.push(workflow),
            Err(why) => foreign.unreadable.push(format!("workflow {id}: {why}")),
        }
    }
    Ok(foreign)
}

fn workflow(row: &Row<'_>, id: &str) -> rusqlite::Result<Result<ForeignWorkflow, String>> {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    let (workflow_type, status, feature_id) = (text(1)?, text(2)?, text(3)?);
    let (description, phase, context) = (text(4)?, text(5)?, text(6)?);
    let (result, error) = (text(7)?, text(8)?);
    let (created, updated, completed) = (text(9)?, text(10)?, text(11)?);
    let read = || {
        let created_at = time(created.as_deref().unwrap_or_default())?;
        Ok(ForeignWorkflow {
            id: WorkflowId(Uuid::try_parse(id).map_err(|error| error.to_string())?.into_bytes()),
            workflow_type: word(workflow_type.as_deref(), WorkflowType::named)?,
            status: word(status.as_deref(), WorkflowStatus::named)?,
            feature_id: feature_id.unwrap_or_default().into(),
            description: description.unwrap_or_default().into(),
            phase: phase.as_deref().map_or(Ok(Phase::One), |phase| word(Some(phase), Phase::named))?,
            context: json(context)?,
            result: json(result)?,
            error: error.map(Into::into),
            created_at,
            updated_at: updated.as_deref().map_or(Ok(created_at), time)?,
            completed_at: completed.as_deref().map(time).transpose()?,
            history: Vec::new(),
        })
    };
    Ok(read())
}

/// What cannot be read of it is left out: it decides nothing.
fn history(conn: &Connection, id: &str) -> rusqlite::Result<Vec<Past>> {
    let mut statement = conn.prepare_cached(
        "SELECT from_status, to_status, trigger, metadata, created_at FROM speckit_workflow_history \
         WHERE workflow_id = ?1 ORDER BY created_at, id",
    )?;
    let rows = statement.query_map([id], |row| {
        let text = |column: usize| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
        let (from, to, trigger) = (text(0)?.into(), text(1)?.into(), text(2)?.into());
        let metadata = row.get::<_, Option<String>>(3)?.and_then(|text| Json::parse(&text).ok());
        Ok(Past { from, to, trigger, metadata, at: time(&text(4)?).unwrap_or_default() })
    })?;
    rows.collect()
}

fn word<T>(text: Option<&str>, named: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    let text = text.unwrap_or_default();
    named(text).ok_or_else(|| format!("{text:?} is unknown"))
}

fn json(text: Option<String>) -> Result<Option<Json>, String> {
    let text = text.filter(|text| text != "null");
    text.map(|text| Json::parse(&text).map_err(|error| error.to_string())).transpose()
}

/// With an offset, or in UTC without one, as that program wrote them.
fn time(text: &str) -> Result<Timestamp, String> {
    let at = text.parse::<Time>().or_else(|_| {
        let civil = text.parse::<DateTime>()?;
        civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    let at = at.map_err(|error| error.to_string())?;
    Ok(Timestamp(u64::try_from(at.as_millisecond()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migration;

    const EARLIER: &str = "CREATE TABLE workflows (id TEXT PRIMARY KEY, workflow_type TEXT NOT NULL, \
         status TEXT NOT NULL DEFAULT 'pending', feature_id TEXT NOT NULL, feature_description TEXT NOT NULL, \
         current_phase TEXT, context TEXT, result TEXT, error TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, \
         completed_at TEXT); \
         CREATE TABLE workflow_history (id TEXT PRIMARY KEY, workflow_id TEXT NOT NULL REFERENCES workflows(id), \
         from_status TEXT NOT NULL, to_status TEXT NOT NULL, trigger TEXT NOT NULL, metadata TEXT, \
         created_at TEXT NOT NULL); \
         INSERT INTO workflows VALUES ('019abcdef01273458678 9abcdef00102', 'specify', 'pending', '001-a', 'a', NULL, \
         NULL, NULL, NULL, '2026-01-02', '2026-01-02', NULL), \
         ('019abcdef012734586789abcdef00102', 'specify', 'waiting_approval', '002-sign-in', 'Sign in', 'phase_2', \
         '{\"priority\": \"P1\"}', 'null', NULL, '2026-01-02 03:04:05.123456', '2026-01-02T03:04:06+00:00', NULL); \
         INSERT INTO workflow_history VALUES ('h-1', '019abcdef012734586789abcdef00102', 'pending', 'in_progress', \
         'start', NULL, '2026-01-02 03:04:05')";

    #[test]
    fn what_another_program_left_is_set_aside_and_read() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(EARLIER).unwrap();
        migration::migrate(&mut conn, 0).unwrap();
        let own: i64 = conn.query_row("SELECT count(*) FROM workflows", [], |row| row.get(0)).unwrap();
        assert_eq!(own, 0);
        let foreign = read(&conn).unwrap();
        assert_eq!(foreign.unreadable.len(), 1, "{:?}", foreign.unreadable);
        let [workflow] = &foreign.workflows[..] else { panic!("{foreign:?}") };
        assert_eq!(workflow.id.to_string(), "019abcde-f012-7345-8678-9abcdef00102");
        assert_eq!((workflow.status, workflow.phase), (WorkflowStatus::WaitingApproval, Phase::Two));
        assert_eq!(workflow.created_at, Timestamp(1_767_323_045_123));
        assert_eq!(workflow.updated_at, Timestamp(1_767_323_046_000));
        assert_eq!(
            (workflow.result.as_ref(), workflow.context.as_ref().unwrap().as_str()),
            (None, r#"{"priority": "P1"}"#)
        );
        assert_eq!(workflow.history.len(), 1);
    }

    #[test]
    fn where_nothing_was_nothing_is_found() {
        let mut conn = Connection::open_in_memory().unwrap();
        migration::migrate(&mut conn, 0).unwrap();
        assert_eq!(read(&conn).unwrap(), Foreign::default());
    }
}
