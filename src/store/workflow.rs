//! Workflows beside the journal: their rows, their history, and the questions that are asked of them.

use std::sync::Arc;

use jiff::Timestamp as Time;
use moothall_actors::domain::event::{Event, NewEvent, Recorded, SCHEMA};
use moothall_actors::domain::id::{StreamId, Timestamp};
use moothall_actors::domain::json::Json;
use moothall_actors::domain::workflow::{Past, Transition, Workflow, WorkflowId, WorkflowType};
use moothall_actors::ports::WorkflowQuery;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};
use serde::Serialize;

use super::error::ReadError;
use super::row::{limit, signed, unexpected, unsigned};

/// What [`read`] expects.
const COLUMNS: &str = "state, feature_description, context, result";

/// Takes in an event of a `workflow/…` stream.
pub(super) fn project(
    conn: &Connection,
    id: &str,
    stream: &StreamId,
    (version, seq): (u64, i64),
    event: &NewEvent,
) -> rusqlite::Result<()> {
    let before = find(conn, id)?;
    let is_new = before.is_none();
    let recorded =
        Recorded { seq: unsigned(seq), stream: stream.clone(), version, schema: SCHEMA, event: event.clone() };
    let Some(after) = Workflow::fold(before, &recorded) else { return Ok(()) };
    match is_new {
        true => insert(conn, seq, &after)?,
        false => update(conn, &after)?,
    }
    match &event.event {
        Event::WorkflowAdvanced(step) => note(conn, seq, 0, &line(event, &after, step)?),
        Event::WorkflowImported(imported) => {
            let past = imported.history.iter().zip(0..);
            past.into_iter().try_for_each(|(past, place)| note(conn, seq, place, &imported_line(event, &after, past)))
        }
        _ => Ok(()),
    }
}

fn find(conn: &Connection, id: &str) -> rusqlite::Result<Option<Workflow>> {
    let sql = format!("SELECT {COLUMNS} FROM workflows WHERE id = ?1");
    conn.prepare_cached(&sql)?.query_row([id], read).optional()
}

fn insert(conn: &Connection, seq: i64, workflow: &Workflow) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO workflows (seq, id, workflow_type, status, feature_id, feature_description, current_phase, context, \
         result, error, created_at, updated_at, completed_at, wake_at, state) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    insert.execute((
        seq,
        workflow.id.to_string(),
        workflow.workflow_type.as_str(),
        workflow.status.as_str(),
        &workflow.feature_id,
        &workflow.description,
        workflow.phase.as_str(),
        workflow.context.as_ref().map(Json::as_str),
        workflow.result.as_ref().map(Json::as_str),
        workflow.error.as_deref(),
        time(workflow.created_at),
        time(workflow.updated_at),
        workflow.completed_at.map(time),
        workflow.wake_at().map(|at| signed(at.0)),
        state(workflow)?,
    ))?;
    let mut draw = conn.prepare_cached(
        "INSERT INTO feature_numbers (workflow_type, last) VALUES (?1, ?2) \
         ON CONFLICT (workflow_type) DO UPDATE SET last = max(last, excluded.last)",
    )?;
    let types = workflow.chain.iter().chain([&workflow.workflow_type]);
    types.into_iter().try_for_each(|of| draw.execute((of.as_str(), signed(workflow.number()))).map(drop))
}

/// What can change; the result only where there is one, since it is large and there is one only once.
fn update(conn: &Connection, workflow: &Workflow) -> rusqlite::Result<()> {
    let mut update = conn.prepare_cached(
        "UPDATE workflows SET status = ?2, current_phase = ?3, result = ?4, error = ?5, updated_at = ?6, \
         completed_at = ?7, wake_at = ?8, state = ?9 WHERE id = ?1",
    )?;
    update
        .execute((
            workflow.id.to_string(),
            workflow.status.as_str(),
            workflow.phase.as_str(),
            workflow.result.as_ref().map(Json::as_str),
            workflow.error.as_deref(),
            time(workflow.updated_at),
            workflow.completed_at.map(time),
            workflow.wake_at().map(|at| signed(at.0)),
            state(workflow)?,
        ))
        .map(drop)
}

fn state(workflow: &Workflow) -> rusqlite::Result<String> {
    serde_json::to_string(workflow).map_err(|error| unexpected(0, format!("workflow {}: {error}", workflow.id)))
}

/// RFC 3339 in UTC, to the millisecond.
fn time(at: Timestamp) -> String {
    let time = Time::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX)).unwrap_or(Time::MAX);
    format!("{time:.3}")
}

/// One line of the history.
struct Line {
    id: String,
    workflow: String,
    from: Arc<str>,
    to: Arc<str>,
    trigger: Arc<str>,
    metadata: Option<String>,
    at: Timestamp,
}

fn line(event: &NewEvent, workflow: &Workflow, step: &Transition) -> rusqlite::Result<Line> {
    #[derive(Serialize)]
    struct Metadata<'a> {
        phase: &'a str,
        attempt: u32,
        actor: Option<&'a str>,
        reason: Option<&'a str>,
        artifact_hash: Option<&'a str>,
        metadata: Option<&'a Json>,
    }
    let artifact_hash = step.approved.as_deref().or(step.artifact.as_ref().map(|artifact| &*artifact.hash));
    let metadata = Metadata {
        phase: step.phase.as_str(),
        attempt: step.attempt,
        actor: step.actor.as_deref(),
        reason: step.reason.as_deref(),
        artifact_hash,
        metadata: step.metadata.as_ref(),
    };
    let metadata = serde_json::to_string(&metadata).map_err(|error| unexpected(0, error.to_string()))?;
    Ok(Line {
        id: event.id.to_string(),
        workflow: workflow.id.to_string(),
        from: step.from.as_str().into(),
        to: step.to.as_str().into(),
        trigger: step.trigger.as_str().into(),
        metadata: Some(metadata),
        at: event.at,
    })
}

fn imported_line(event: &NewEvent, workflow: &Workflow, past: &Past) -> Line {
    Line {
        id: event.id.to_string(),
        workflow: workflow.id.to_string(),
        from: past.from.clone(),
        to: past.to.clone(),
        trigger: past.trigger.clone(),
        metadata: past.metadata.as_ref().map(|metadata| metadata.as_str().to_owned()),
        at: past.at,
    }
}

fn note(conn: &Connection, seq: i64, place: i64, line: &Line) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO workflow_history (seq, place, id, workflow_id, from_status, to_status, trigger, metadata, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let Line { id, workflow, from, to, trigger, metadata, at } = line;
    insert.execute((seq, place, id, workflow, from, to, trigger, metadata, time(*at))).map(drop)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Workflow> {
    let json = |column: usize| -> rusqlite::Result<Option<Json>> {
        let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
        Json::parse(text).map(Some).map_err(|error| unexpected(column, format!("a workflow: {error}")))
    };
    let mut workflow: Workflow = serde_json::from_str(row.get_ref(0)?.as_str()?)
        .map_err(|error| unexpected(0, format!("a workflow: {error}")))?;
    (workflow.description, workflow.context, workflow.result) = (row.get(1)?, json(2)?, json(3)?);
    Ok(workflow)
}

pub(super) fn one(conn: &Connection, id: WorkflowId) -> Result<Option<Workflow>, ReadError> {
    Ok(find(conn, &id.to_string())?)
}

/// A cursor that names no workflow finds nothing.
pub(super) fn list(conn: &Connection, query: &WorkflowQuery) -> Result<Vec<Workflow>, ReadError> {
    let mut wheres = vec!["TRUE"];
    let mut values = Vec::new();
    let mut given = |sql: &'static str, value: Option<String>| {
        if let Some(value) = value {
            wheres.push(sql);
            values.push(Value::from(value));
        }
    };
    given("status = ?", query.status.map(|status| status.as_str().to_owned()));
    given("workflow_type = ?", query.workflow_type.map(|of| of.as_str().to_owned()));
    given("feature_id = ?", query.feature_id.clone());
    given("seq < (SELECT seq FROM workflows WHERE id = ?)", query.before.map(|id| id.to_string()));
    values.push(limit(query.limit).into());
    let wheres = wheres.join(" AND ");
    let sql = format!("SELECT {COLUMNS} FROM workflows WHERE {wheres} ORDER BY seq DESC LIMIT ?");
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn waking(conn: &Connection) -> Result<Vec<(WorkflowId, Timestamp)>, ReadError> {
    let sql = "SELECT id, wake_at FROM workflows WHERE wake_at IS NOT NULL ORDER BY wake_at, seq";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let text = row.get_ref(0)?.as_str()?;
        let id = WorkflowId::parse(text).ok_or_else(|| unexpected(0, format!("{text:?} is no workflow's id")))?;
        Ok((id, Timestamp(unsigned(row.get(1)?))))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn feature_numbers(conn: &Connection) -> Result<Vec<(WorkflowType, u64)>, ReadError> {
    let mut statement = conn.prepare_cached("SELECT workflow_type, last FROM feature_numbers")?;
    let rows = statement.query_map([], |row| {
        let text = row.get_ref(0)?.as_str()?;
        let of = WorkflowType::named(text).ok_or_else(|| unexpected(0, format!("{text:?} is no type of workflow")))?;
        Ok((of, unsigned(row.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
