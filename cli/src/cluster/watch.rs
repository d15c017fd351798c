//! Following a job to its end, over connections that break and schedulers that are started again.

use std::time::Duration;

use backsight_proto::ErrorCode;
use backsight_proto::control::Job;
use tonic::Streaming;

use crate::cluster::client::{Cluster, Wait};
use crate::cluster::failure::{Trouble, of_status};
use crate::cluster::job::has_ended;
use crate::errors::Failure;

/// How long a scheduler may be away while a job is followed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Cluster {
    /// Shows every state of a job to `seen` until it has ended, and gives the last one.
    pub(crate) async fn watch(&self, id: &str, seen: &mut (dyn FnMut(&Job) + Send)) -> Result<Job, Failure> {
        let mut wait: Option<Wait> = None;
        loop {
            let lost = match self.job_stream(id).await {
                Ok(stream) => match self.follow(stream, &mut wait, seen).await {
                    Ok(Some(job)) => return Ok(job),
                    // A scheduler that stops ends its streams.
                    Ok(None) => None,
                    Err(Trouble::Lost(failure)) => Some(failure),
                    Err(Trouble::Told(failure)) => return Err(failure),
                },
                Err(Trouble::Lost(failure)) => Some(failure),
                Err(Trouble::Told(failure)) => return Err(failure),
            };
            let waited = wait.get_or_insert_with(Wait::new);
            if !waited.step(PATIENCE, self.terminal(), self.url()).await {
                return Err(self.given_up(id, lost));
            }
        }
    }

    /// The states of one connection; `None` when it ends before the job does.
    async fn follow(
        &self,
        mut stream: Streaming<Job>,
        wait: &mut Option<Wait>,
        seen: &mut (dyn FnMut(&Job) + Send),
    ) -> Result<Option<Job>, Trouble> {
        loop {
            match stream.message().await {
                Ok(Some(job)) => {
                    // It is back.
                    *wait = None;
                    seen(&job);
                    if has_ended(&job) {
                        return Ok(Some(job));
                    }
                }
                Ok(None) => return Ok(None),
                Err(status) => return Err(of_status(&status, self.address())),
            }
        }
    }

    fn given_up(&self, id: &str, lost: Option<Failure>) -> Failure {
        let url = self.url();
        let message = format!("the scheduler at `{url}` went away; job `{id}` goes on when it is back");
        let causes: Vec<String> = lost.iter().map(Failure::message).map(str::to_owned).collect();
        Failure::new(ErrorCode::Unreachable, message)
            .with_causes(causes)
            .with_hint(format!("watch it with `{}`", self.watch_command(id)))
            .with_details(serde_json::json!({"job_id": id}))
    }

    /// The command that follows a job.
    pub(crate) fn watch_command(&self, id: &str) -> String {
        format!("backsight --scheduler {} jobs watch {id}", self.url())
    }
}
