//! Which requests go wrong, and how: a list of rules that tests fill and the server uses up.

use std::sync::{Mutex, PoisonError};

use crate::google_objects::decode;

/// What happens to a request that a rule picks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is carried out, and the connection is closed without an answer.
    DropAnswer,
    /// The request is carried out, and answered with 503.
    UnavailableAfter,
    /// The request is not carried out, and answered with 503.
    Unavailable,
    /// The request is not carried out, and answered with 403.
    Denied,
    /// The conditions of the request (`If-Match`, `If-None-Match`) are not looked at.
    IgnoreConditions,
}

/// A fault, which requests it picks, and how often.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) fault: Fault,
    method: Option<&'static str>,
    path_part: String,
    bucket: Option<String>,
    times_left: usize,
}

impl Rule {
    /// `fault` for every request from now on.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, path_part: String::new(), bucket: None, times_left: usize::MAX }
    }

    /// Only for requests of this method.
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only where `/bucket/key`, unescaped, contains this text: clients escape more or less.
    pub fn path_contains(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path_part);
        self
    }

    /// Only for this bucket.
    pub fn bucket(mut self, bucket: &str) -> Self {
        self.bucket = Some(bucket.to_owned());
        self
    }

    /// Only for so many requests.
    pub fn times(mut self, times: usize) -> Self {
        self.times_left = times;
        self
    }

    fn picks(&self, request: &Request) -> bool {
        let bucket = request.path.trim_start_matches('/').split('/').next();
        self.times_left > 0
            && self.method.is_none_or(|method| method == request.method)
            && self.bucket.as_deref().is_none_or(|wanted| Some(wanted) == bucket)
            && decode(&request.path).contains(&self.path_part)
    }
}

/// A request that the server got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// `/bucket/key`, escaped as it was sent.
    pub path: String,
    /// What follows `?`, else empty.
    pub query: String,
    /// The `Range` header, if there was one.
    pub range: Option<String>,
}

/// The rules in force and the requests met: what every server of this crate derefs to.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
}

impl Faults {
    /// Adds a rule; the first that picks a request decides.
    pub fn inject(&self, rule: Rule) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Removes all rules.
    pub fn heal(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Carries out the next object PUT, and closes its connection without an answer.
    pub fn drop_answer_of_next_put(&self) {
        self.inject(Rule::new(Fault::DropAnswer).method("PUT").times(1));
    }

    /// Answers the next `count` requests with 503.
    pub fn answer_503(&self, count: usize) {
        self.inject(Rule::new(Fault::Unavailable).times(count));
    }

    /// Answers every request to `bucket` with 403.
    pub fn deny_bucket(&self, bucket: &str) {
        self.inject(Rule::new(Fault::Denied).bucket(bucket));
    }

    /// From now on all puts are carried out whatever their conditions say, as some stores do.
    pub fn ignore_conditions(&self) {
        self.inject(Rule::new(Fault::IgnoreConditions).method("PUT"));
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records a request, and uses up one turn of the first rule that picks it.
    pub(crate) fn meet(&self, request: Request) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rules.iter_mut().find(|rule| rule.picks(&request));
        let fault = rule.map(|rule| {
            rule.times_left -= 1;
            rule.fault
        });
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Faults, Request, Rule};

    fn request(method: &str, path: &str) -> Request {
        Request { method: method.to_owned(), path: path.to_owned(), query: String::new(), range: None }
    }

    #[test]
    fn a_rule_is_used_up_by_the_requests_it_picks() {
        let faults = Faults::default();
        faults.inject(
            Rule::new(Fault::DropAnswer).method("PUT").path_contains("registry").bucket("b").times(1),
        );
        assert_eq!(faults.meet(request("GET", "/b/registry.pb")), None);
        assert_eq!(faults.meet(request("PUT", "/b/other")), None);
        assert_eq!(faults.meet(request("PUT", "/bb/registry.pb")), None);
        assert_eq!(faults.meet(request("PUT", "/b/registry.pb")), Some(Fault::DropAnswer));
        assert_eq!(faults.meet(request("PUT", "/b/registry.pb")), None, "it was for one request");
        faults.inject(Rule::new(Fault::Denied).path_contains("part-0"));
        assert_eq!(faults.meet(request("PUT", "/b/x%2Fpart%2D0")), Some(Fault::Denied));
        assert_eq!(faults.requests().len(), 6);
    }
}
