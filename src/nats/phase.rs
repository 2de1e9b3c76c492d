//! From running to ended: how far a drain has come.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    #[default]
    Running,
    /// Nothing new is begun; what is in hand is ended.
    Draining,
    /// Time is up: what is in hand is given back.
    GivenUp,
}

impl Phase {
    /// Returns when nothing new is to be begun. Nobody left who could say so is the same.
    pub(super) async fn stopping(phase: &watch::Receiver<Self>) {
        let _ = phase.clone().wait_for(|phase| *phase >= Self::Draining).await;
    }

    /// Returns when what is in hand is to be given back.
    pub(super) async fn given_up(phase: &watch::Receiver<Self>) {
        let _ = phase.clone().wait_for(|phase| *phase >= Self::GivenUp).await;
    }
}
