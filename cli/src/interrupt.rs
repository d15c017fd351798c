//! Ctrl-C: the first asks the command to stop in good order, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::errors::Failure;
use crate::terminal::Terminal;
use backsight_proto::ErrorCode;

/// Whether the user asked to stop. Clones watch the same request.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens for interrupt and termination from now on; `tasks` owns the listener.
    pub(crate) fn listen(tasks: &mut JoinSet<()>, terminal: &Terminal) -> Result<Self, Failure> {
        let refused = |error| Failure::bug(format!("failed to listen for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
        let (asked, watched) = watch::channel(false);
        let terminal = terminal.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = interrupt.recv() => {}
                    Some(()) = terminate.recv() => {}
                    else => return,
                }
                if asked.send_replace(true) {
                    terminal.say("stopped at once");
                    std::process::exit(i32::from(ErrorCode::Cancelled.exit_status()));
                }
                terminal.note("stopping… (once more to stop at once)");
            }
        });
        Ok(Self(watched))
    }

    /// Completes when the user has asked to stop.
    pub(crate) async fn asked(mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // Nobody listens any more, so nobody can ask.
            std::future::pending::<()>().await;
        }
    }
}
