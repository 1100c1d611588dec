//! What the service manager is told: readiness, and the role in its status line.
//!
//! Without a service manager (no `NOTIFY_SOCKET`) nothing happens.

use sd_notify::NotifyState;

pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

pub(crate) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager could not be told: {error}");
    }
}
