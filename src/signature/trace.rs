//! What a check did, step by step, for a person who wonders why it failed.

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should.
    Passed,
    /// Not as it should; the last one is why.
    Failed,
    /// Nothing to be judged.
    Note,
}

/// One step. Holds no secret and no signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How it went.
    pub mark: Mark,
    /// What was looked at and found.
    pub text: String,
}

/// Collects steps, or nothing at no cost.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<Step>>);

impl Trace {
    /// Collects nothing: for requests.
    pub fn off() -> Self {
        Self(None)
    }

    /// Collects.
    pub fn on() -> Self {
        Self(Some(Vec::new()))
    }

    /// What was collected.
    pub fn steps(&self) -> &[Step] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(super) fn passed(&mut self, text: impl FnOnce() -> String) {
        self.add(Mark::Passed, text);
    }

    pub(super) fn failed(&mut self, text: impl FnOnce() -> String) {
        self.add(Mark::Failed, text);
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        self.add(Mark::Note, text);
    }

    fn add(&mut self, mark: Mark, text: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.0 {
            steps.push(Step { mark, text: text() });
        }
    }
}
