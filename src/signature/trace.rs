//! The steps of a check, which explain its outcome to an operator.

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The step passed.
    Passed,
    /// The step failed. The last one is the reason.
    Failed,
    /// Information only.
    Note,
}

/// One step. Holds no secret and no signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceStep {
    /// Its outcome.
    pub mark: Mark,
    /// The part that was checked, and the finding.
    pub text: String,
}

/// A collector of steps. It costs nothing if it is off.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<TraceStep>>);

impl Trace {
    /// Returns a collector that is off: for requests.
    pub fn off() -> Self {
        Self(None)
    }

    /// Returns a collector that is on.
    pub fn on() -> Self {
        Self(Some(Vec::new()))
    }

    /// Returns the steps.
    pub fn steps(&self) -> &[TraceStep] {
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
            steps.push(TraceStep { mark, text: text() });
        }
    }
}
