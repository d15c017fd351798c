//! Ctrl-C: the first asks the command to stop in good order, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::errors::Failure;
use crate::terminal::Terminal;
use backsight_proto::ErrorCode;

/// How often the user asked to stop. Clones watch the same requests.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    times: watch::Receiver<u32>,
    is_held: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens for interrupt and termination from now on; `tasks` owns the listener.
    pub(crate) fn listen(tasks: &mut JoinSet<()>, terminal: &Terminal) -> Result<Self, Failure> {
        let refused = |error| Failure::bug(format!("failed to listen for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
        let (asked, times) = watch::channel(0_u32);
        let is_held = Arc::new(AtomicBool::new(false));
        let held = Arc::clone(&is_held);
        let terminal = terminal.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = interrupt.recv() => {}
                    Some(()) = terminate.recv() => {}
                    else => return,
                }
                let before = *asked.borrow();
                asked.send_replace(before.saturating_add(1));
                if held.load(Ordering::Relaxed) {
                    continue;
                }
                if before > 0 {
                    terminal.say("stopped at once");
                    std::process::exit(i32::from(ErrorCode::Cancelled.exit_status()));
                }
                terminal.note("stopping… (once more to stop at once)");
            }
        });
        Ok(Self { times, is_held })
    }

    /// Completes when the user has asked to stop.
    pub(crate) async fn asked(self) {
        self.asked_times(1).await;
    }

    /// Completes when the user has asked so often.
    pub(crate) async fn asked_times(mut self, times: u32) {
        if self.times.wait_for(|asked| *asked >= times).await.is_err() {
            // Nobody listens any more, so nobody can ask.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the command itself answers the user from now on, or again the listener.
    pub(crate) fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }
}
