//! `GetTaskContext`: what the prompts of a story's tasks would say of it.

use moothall_actors::System;
use moothall_actors::domain::id::{Role, TaskId};
use moothall_actors::domain::problem::Problems;
use moothall_actors::ports::{Context, StoryPhase};
use tonic::Status;

use super::number::int;
use super::orchestrator::parsed;
use super::proto::fleet::orchestrator::v1 as fleet;
use crate::error::{Kind, cut, refuse, status};

/// Longest wrong word that an answer quotes, in bytes.
const MAX_QUOTE_BYTES: usize = 64;

/// Whose context is wanted. What is not said is the task's.
#[derive(Debug)]
pub(super) struct Question {
    story: Named<String>,
    role: Named<Role>,
    phase: StoryPhase,
}

/// Something that a request says itself, or by naming a task.
#[derive(Debug)]
enum Named<T> {
    Said(T),
    AsOf(TaskId),
}

/// `options` are what older clients send; the context service takes none of them.
pub(super) fn question(message: &fleet::GetTaskContextRequest, problems: &mut Problems) -> Option<Question> {
    let task = match message.task_id.as_str() {
        "" => Some(None),
        task => problems.keep(TaskId::parse("task_id", task)).map(Some),
    };
    let role = match (message.role.as_str(), &task) {
        ("", Some(Some(task))) => Some(Named::AsOf(task.clone())),
        ("", None) => None,
        (role, _) => problems.keep(Role::parse("role", role)).map(Named::Said),
    };
    let story = match (message.story_id.as_str(), task) {
        ("", Some(Some(task))) => Some(Named::AsOf(task)),
        ("", None) => None,
        ("", Some(None)) => {
            problems.push("story_id", "is empty; name a story, or a task that belongs to one");
            None
        }
        (story, _) => Some(Named::Said(story.to_owned())),
    };
    let phase = StoryPhase::parse(&message.phase);
    if phase.is_none() {
        let allowed = StoryPhase::ALL.map(StoryPhase::as_str).join(", ");
        problems.push("phase", format!("is {:?}; allowed are {allowed}", cut(&message.phase, MAX_QUOTE_BYTES)));
    }
    Some(Question { story: story?, role: role?, phase: phase? })
}

pub(super) async fn get(
    system: &System,
    message: &fleet::GetTaskContextRequest,
) -> Result<fleet::GetTaskContextResponse, Status> {
    let Question { story, role, phase } = parsed(|problems| question(message, problems))?;
    let role = match role {
        Named::Said(role) => role,
        Named::AsOf(task) => system.task(&task).await.map_err(|error| status(&error))?.row.role,
    };
    let story = match story {
        Named::Said(story) => story,
        Named::AsOf(task) => story_of(system, &task).await?,
    };
    let context = system.story_context(&story, &role, phase).await.map_err(|error| status(&error))?;
    Ok(shown(&context))
}

async fn story_of(system: &System, task: &TaskId) -> Result<String, Status> {
    let row = system.task(task).await.map_err(|error| status(&error))?.row;
    let story = row.story_id.filter(|story| !story.is_empty());
    let none = || refuse(Kind::WrongState, &format!("task {task} belongs to no story; name one in story_id"));
    story.map(|story| story.to_string()).ok_or_else(none)
}

fn shown(context: &Context) -> fleet::GetTaskContextResponse {
    let Context { text, token_count, version_hash, blocks, .. } = context;
    fleet::GetTaskContextResponse {
        context_text: text.to_string(),
        blocks: Some(fleet::ContextBlocks {
            system: blocks.system.to_string(),
            context: blocks.context.to_string(),
            tools: blocks.tools.to_string(),
            // The context service tells none.
            history: String::new(),
        }),
        token_count: int(*token_count),
        version_hash: version_hash.to_string(),
    }
}
