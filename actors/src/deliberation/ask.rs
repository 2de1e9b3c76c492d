//! From a decision to a call: the prompt is rendered, everything that varies derives from the call's id.

use std::sync::Arc;

use super::drafting;
use super::prompt::{Derived, PromptError, Prompts, Refused, Texts};
use super::record::Record;
use super::seat::{Given, Slot};
use super::step::Ask;
use crate::architect::{self, Paper};
use crate::artifact::Draft;
use crate::domain::answer::Finish;
use crate::domain::id::{CallId, Stage};
use crate::domain::verdict::Ranked;
use crate::ports::{AnswerForm, ModelCall};

/// The same ask of the same record gives the same call, byte for byte.
pub(crate) fn model_call(record: &Record, prompts: &Prompts, ask: Ask) -> Result<ModelCall, PromptError> {
    let plan = &record.plan;
    let seat = &plan.seats[ask.seat];
    let derived = Derived::of(plan.salt, &ask.call);
    let text = prompts.ask(
        &plan.spec.role,
        (ask.call.wave.stage, ask.seat),
        &derived.nonce,
        texts(record, &ask, &derived.nonce),
    )?;
    let seed = seat.sampling.seed.map(|seed| seed.wrapping_add(ask.seat as u32)).unwrap_or(derived.seed);
    let cut_off = match &record.slots[ask.seat] {
        Slot::Open { kept: Some(given), .. } => given.answer.finish == Finish::Length,
        _ => false,
    };
    Ok(ModelCall {
        endpoint: record.endpoint_of(ask.seat),
        model: seat.model.clone(),
        shared: plan.prefix.clone(),
        ask: text.into(),
        form: if ask.call.wave.stage == Stage::Critique { AnswerForm::Critique } else { AnswerForm::Text },
        temperature: seat.sampling.temperature,
        top_p: seat.sampling.top_p,
        seed: Some(seed),
        max_tokens: seat.sampling.max_tokens,
        room: if cut_off { 2 } else { 1 },
        timeout: plan.call_timeout,
        most_attempts: ask.most_attempts,
        id: ask.call,
    })
}

/// The ballot that is asked for: the shortlist with its evidence, as this ballot shows it.
pub(crate) fn ballot_paper(record: &Record, prompts: &Arc<Prompts>, ask: Ask) -> Paper {
    let ranking = record.scored.as_ref().map(|scored| &scored.ranking[..]).unwrap_or_default();
    let text = |ranked: &Ranked| {
        let proposal = record.seat_of(&ranked.agent).and_then(|seat| record.proposal(seat, ranked.text));
        proposal.map(|proposal| proposal.text).unwrap_or_default()
    };
    Paper {
        candidates: architect::candidates(ranking, record.plan.salt, ask.seat, text),
        plan: record.plan.clone(),
        prompts: prompts.clone(),
        call: ask.call,
        most_attempts: ask.most_attempts,
    }
}

/// A reviewer sees the next one's proposal; an author their own words and their review, and why they were refused.
fn texts(record: &Record, ask: &Ask, nonce: &str) -> Texts {
    let written = |seat: usize| record.seats[seat].texts.last().map(|written| written.text.clone());
    let wanted = record.terms.as_ref().map(|terms| terms.dialect());
    match ask.call.wave.stage {
        Stage::Propose => Texts { wanted, refused: refused(record, ask, nonce), ..Texts::default() },
        Stage::Critique => {
            let proposal = record.reviewed_by(ask.seat).and_then(written).unwrap_or_default();
            Texts { proposal, ..Texts::default() }
        }
        Stage::Revise => {
            let review = record.seats[ask.seat].review.as_ref();
            let critique = review.map(|(_, critique)| critique.text.clone()).unwrap_or_default();
            let (proposal, refused) = (record.own_words(ask.seat, nonce), refused(record, ask, nonce));
            Texts { proposal, critique, wanted, refused }
        }
        Stage::Score | Stage::Select => Texts::default(),
    }
}

/// What the seat answered before, and why it is no artifact.
fn refused(record: &Record, ask: &Ask, nonce: &str) -> Option<Refused> {
    let Slot::Open { kept: Some(Given { answer, draft: Some(Draft::Rejected(why)), ask: before }), .. } =
        &record.slots[ask.seat]
    else {
        return None;
    };
    let call = CallId { ask: *before, ..ask.call.clone() };
    let answer = drafting::renewed(&answer.text, &Derived::of(record.plan.salt, &call).nonce, nonce);
    Some(Refused { answer, report: why.to_string() })
}
