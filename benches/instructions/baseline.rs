//! The accepted instruction counts, and the comparison with new ones.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

/// The path of the accepted figures.
pub(crate) const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.toml");
/// The accepted rise, in percent. Runs of one binary differ by at most a quarter of it.
const TOLERANCE: f64 = 2.0;

const HEADER: &str = "# User instructions of one request in steady state, by the release binary.
# Written by `cargo bench --profile dev --bench instructions -- --bless`. The commit says why a figure moved.
";

/// The accepted figures.
#[derive(Clone, Default)]
pub(crate) struct Baseline {
    /// The versions with which they were measured.
    tools: String,
    figures: BTreeMap<String, u64>,
}

/// The comparison of a new figure with the accepted one.
pub(crate) enum Verdict {
    /// No figure was accepted yet.
    New,
    Within {
        accepted: u64,
        percent: f64,
    },
    Risen {
        accepted: u64,
        percent: f64,
    },
    Fallen {
        accepted: u64,
        percent: f64,
    },
}

impl Baseline {
    /// Reads the accepted figures; none if there is no file.
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let text = match std::fs::read_to_string(PATH) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{PATH}: {error}").into()),
        };
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once(" = ") {
                Some(("tools", value)) => value.trim_matches('"').clone_into(&mut baseline.tools),
                Some((name, figure)) => {
                    let figure = figure.parse().map_err(|_| format!("{PATH}: not a number: {line}"))?;
                    baseline.figures.insert(name.to_owned(), figure);
                }
                None => {}
            }
        }
        Ok(baseline)
    }

    /// Replaces an accepted figure.
    pub(crate) fn set(&mut self, name: &str, figure: u64) {
        self.figures.insert(name.to_owned(), figure);
    }

    pub(crate) fn write(&self, tools: &str) -> std::io::Result<()> {
        let figures: String =
            self.figures.iter().map(|(name, figure)| format!("{name} = {figure}\n")).collect();
        std::fs::write(PATH, format!("{HEADER}tools = \"{tools}\"\n\n[instructions]\n{figures}"))
    }

    /// Compares a figure with the accepted one.
    pub(crate) fn compare(&self, name: &str, figure: u64) -> Verdict {
        let Some(&accepted) = self.figures.get(name) else { return Verdict::New };
        let percent = (figure as f64 / accepted as f64 - 1.0) * 100.0;
        match percent {
            percent if percent > TOLERANCE => Verdict::Risen { accepted, percent },
            percent if percent < -TOLERANCE => Verdict::Fallen { accepted, percent },
            percent => Verdict::Within { accepted, percent },
        }
    }

    /// Returns what to do about a rise.
    pub(crate) fn advice(&self, tools: &str) -> String {
        let mut text = format!(
            "
A request costs over {TOLERANCE} % more instructions than accepted, or has no accepted figure.
  where they go:   … --bench instructions -- --keep FOLDER SCENARIO; callgrind_annotate FOLDER/callgrind.SCENARIO.5000
  if it is worth it: … --bench instructions -- --bless, and say why in the commit
"
        );
        if self.tools != tools {
            text.push_str(&format!(
                "The tools are others than the baseline's, which alone can move figures:\n  now  {tools}\n  then {}\n",
                self.tools
            ));
        }
        text
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accepted, percent, note) = match self {
            Self::New => return write!(f, "{:>10} {:>8}  no accepted figure", "-", "-"),
            Self::Within { accepted, percent } => (accepted, percent, ""),
            Self::Risen { accepted, percent } => (accepted, percent, "  RISEN"),
            Self::Fallen { accepted, percent } => (accepted, percent, "  fallen: --bless keeps the gain"),
        };
        write!(f, "{accepted:>10} {percent:>+7.2}%{note}")
    }
}
