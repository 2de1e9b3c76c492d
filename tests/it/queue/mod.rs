//! What any task queue keeps to, as stories: told of the one in memory, and of every other that stands behind the port.
//!
//! A queue is put on a [`Stage`], which makes it empty and holds its time in hand; `conformance!` makes a test of each story
//! for one kind of stage. The stories know the port and nothing else.

pub(crate) mod change;
pub(crate) mod in_memory;
pub(crate) mod lease;
pub(crate) mod look;
pub(crate) mod needs;
pub(crate) mod order;
pub(crate) mod told;

use std::time::Duration;

use async_trait::async_trait;
use moothall_actors::ports::queue::TaskQueue;
use moothall_actors::queue::Limits;

/// What each queue on a stage is made with.
pub(crate) const LIMITS: Limits =
    Limits { age: Duration::from_millis(10), most: 1_000, lease: Some(Duration::from_secs(30)) };

/// The time at which a story begins.
pub(crate) const BEGIN: u64 = 1_000;

/// An empty queue with [`LIMITS`], and its clock, which says [`BEGIN`] until it is told otherwise.
#[async_trait]
pub(crate) trait Stage: Send + Sync {
    fn queue(&self) -> &dyn TaskQueue;

    /// From now on it is so many milliseconds since the epoch.
    async fn tell_time(&self, now: u64);

    /// The story is over: whether the stage did to the queue what it is for.
    async fn end(&self) {}
}

/// A module of this name with a test for each story, on stages that `$fresh` makes: `async fn() -> impl Stage`.
macro_rules! conformance {
    ($of:ident, $fresh:path) => {
        mod $of {
            conformance! { $fresh =>
                order::the_highest_priority_is_first_and_the_oldest_within
                order::the_lowest_priority_is_overtaken_only_by_what_came_within_a_hundred_ages
                order::stories_take_turns_however_many_tasks_they_have
                order::a_story_has_no_more_in_progress_than_it_may
                order::each_role_is_claimed_for_itself
                needs::a_task_runs_when_all_that_it_needs_is_completed
                needs::a_failed_need_blocks_skips_or_is_passed_over
                needs::what_was_cancelled_counts_as_failed
                needs::a_later_run_of_the_failed_one_releases_those_that_it_blocked
                needs::what_ended_before_counts_as_its_caller_says
                needs::a_phase_releases_what_waited_for_it
                needs::a_next_run_with_other_needs_leaves_nothing_of_the_old_ones
                change::all_are_taken_or_none
                change::the_same_again_changes_nothing
                change::a_later_run_takes_the_place_of_an_earlier_one_and_its_lease
                change::a_later_run_takes_the_place_whatever_became_of_the_earlier_one
                change::what_waits_can_be_wanted_otherwise
                change::what_is_amended_in_vain_stays_as_it_was
                change::what_comes_parked_waits_until_it_is_released
                change::only_what_can_be_asked_of_a_state_is_done
                lease::an_old_fence_is_refused_whatever_it_says
                lease::a_lease_without_a_heartbeat_runs_out_and_the_task_is_claimed_anew
                lease::what_is_dispatched_is_held_for_ever
                lease::a_holder_goes_on_with_its_own_task_under_a_new_lease
                lease::a_task_that_has_moved_on_is_not_adopted
                lease::a_holder_that_starts_anew_gives_its_own_leases_back
                lease::a_task_that_is_tried_again_waits_for_its_time
                lease::what_keeps_failing_is_parked_under_its_next_run
                lease::the_next_time_is_never_one_that_has_come
                look::lists_go_on_behind_a_task_and_hold_what_was_asked_for
                look::a_task_comes_back_as_it_went_in
                look::a_row_tells_what_a_task_waits_for
            }
        }
    };
    ($fresh:path => $($file:ident::$story:ident)*) => {
        $(#[tokio::test]
        async fn $story() {
            let stage = $fresh().await;
            $crate::queue::$file::$story(&stage).await;
            $crate::queue::Stage::end(&stage).await;
        })*
    };
}

conformance!(of_memory, crate::queue::in_memory::fresh);
