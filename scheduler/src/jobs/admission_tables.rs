//! Runs the text table of admission: who may start, and in which order the rest waits.
//!
//! A case says `limits running=4 per_project=1`, `running PROJECT …`, and for each queued job a line
//! `wait ID PROJECT PRIORITY SUBMITTED_AT_MS`; `admitted -> ID …` and `order -> ID …` check the answers.

use backsight_proto::ErrorCode;

use super::admission::{AdmissionLimits, Waiting, admit, check_queue, queue_positions};
use super::model::JobId;

#[derive(Default)]
struct Case {
    name: String,
    limits: AdmissionLimits,
    running: Vec<String>,
    queued: Vec<Waiting>,
}

impl Case {
    fn set_limits(&mut self, words: &[&str]) {
        for word in words {
            let (name, count) = word.split_once('=').unwrap();
            let count = count.parse().unwrap();
            match name {
                "running" => self.limits.jobs_running_max = count,
                "per_project" => self.limits.jobs_running_per_project_max = Some(count),
                other => panic!("limit `{other}`"),
            }
        }
    }

    fn order(&self) -> Vec<String> {
        let positions = queue_positions(&self.queued, &self.running, &self.limits);
        let mut places: Vec<(u32, String)> = positions.into_iter().map(|(id, place)| (place, id.0)).collect();
        places.sort();
        let expected = 1..=u32::try_from(self.queued.len()).unwrap();
        assert!(places.iter().map(|(place, _)| *place).eq(expected), "every job has one place: {places:?}");
        places.into_iter().map(|(_, id)| id).collect()
    }

    fn admitted(&self) -> Vec<String> {
        admit(&self.queued, &self.running, &self.limits).into_iter().map(|id| id.0).collect()
    }

    /// The problem with a line of this case, if it is a check that fails.
    fn take(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = &words[1..];
        match words[0] {
            "case" => *self = Self { name: rest.join(" "), ..Self::default() },
            "limits" => self.set_limits(rest),
            "running" => self.running = rest.iter().map(|project| (*project).to_owned()).collect(),
            "wait" => self.queued.push(Waiting {
                id: JobId(rest[0].to_owned()),
                project: rest[1].to_owned(),
                priority: rest[2].parse().unwrap(),
                submitted_at_ms: rest[3].parse().unwrap(),
            }),
            check @ ("admitted" | "order") => {
                let got = if check == "order" { self.order() } else { self.admitted() };
                let name = &self.name;
                return (got != rest[1..]).then(|| {
                    format!("case `{name}`: {check}\n  expected: {:?}\n       got: {got:?}", &rest[1..])
                });
            }
            other => panic!("word `{other}`"),
        }
        // The front of the queue is what is admitted, whatever the limits are.
        let admitted = self.admitted();
        assert_eq!(self.order()[..admitted.len()], admitted, "case `{}`", self.name);
        None
    }
}

#[test]
fn jobs_are_admitted_as_the_table_says() {
    let mut case = Case::default();
    let text = include_str!("testdata/admission.txt");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let problems: Vec<String> = lines.filter_map(|line| case.take(line)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_full_queue_refuses_with_the_code_of_a_limit() {
    let limits = AdmissionLimits { jobs_queued_max: 2, ..AdmissionLimits::default() };
    assert!(check_queue(1, &limits).is_ok());
    let error = check_queue(2, &limits).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Limit);
    assert_eq!(error.to_string(), "the queue is full: 2 jobs wait, 2 are allowed");
    assert!(error.hint().is_some());
}

#[test]
fn a_long_queue_is_put_in_order_quickly() {
    let job = |number: u32| Waiting {
        id: JobId(format!("r-{number}")),
        project: format!("p-{}", number % 3000),
        priority: i32::try_from(number % 3).unwrap(),
        submitted_at_ms: number.into(),
    };
    let queued: Vec<Waiting> = (0..10_000).map(job).collect();
    let limits = AdmissionLimits { jobs_running_per_project_max: Some(2), ..AdmissionLimits::default() };
    assert_eq!(queue_positions(&queued, &[], &limits).len(), queued.len());
}
