//! The problems of a configuration and their display: in the form of compiler errors, or as JSON.
//!
//! A [`Finding`] points into the text while it is being read. A [`Problem`] holds the few lines that it shows, with
//! every secret in them hidden, so that it can be stored, logged and served without the text.

use super::redact::Redaction;
use super::source::{Source, Span};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::ops::Range;

/// The severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused, or, if [`Problem::refuses`] is false, a part of it can't be used.
    Error,
    /// The configuration is accepted, but the operator should look at this.
    Warning,
}

impl Severity {
    /// Returns `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One problem, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The severity.
    pub severity: Severity,
    /// The kind of problem, in snake case: for programs.
    pub code: &'static str,
    /// The file, as the user gave it; empty if the problem concerns none.
    pub file: String,
    /// One sentence that names the full key path.
    pub message: String,
    /// The remedy.
    pub help: Option<String>,
    /// The configuration is refused because of it. False for a warning, and for an unreadable secret, which only its
    /// account or webhook needs.
    pub refuses: bool,
    label: String,
    excerpt: Option<Excerpt>,
    secondary: Option<Secondary>,
}

/// A line of the file, with secrets hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: usize,
    column: usize,
    text: String,
    marked: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Secondary {
    file: String,
    excerpt: Excerpt,
    label: String,
}

impl Problem {
    /// Returns the line, counted from 1, if the problem has a place in the file.
    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|e| e.line)
    }

    /// Returns the column in characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|e| e.column)
    }

    /// Returns true if it is an error that refuses nothing: an unreadable secret.
    fn is_unread(&self) -> bool {
        self.severity == Severity::Error && !self.refuses
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "severity": self.severity.as_str(),
            "code": self.code,
            "file": (!self.file.is_empty()).then_some(&self.file),
            "line": self.line(),
            "column": self.column(),
            "message": self.message,
            "help": self.help.as_ref().or((!self.label.is_empty()).then_some(&self.label)),
            "secondary": self.secondary.as_ref().map(|second| serde_json::json!({
                "file": second.file,
                "line": second.excerpt.line,
                "column": second.excerpt.column,
                "label": second.label,
            })),
        })
    }

    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&self.message));
        let label = match (&*self.label, &self.help) {
            ("", None) => String::new(),
            ("", Some(help)) => help.clone(),
            (label, None) => label.to_owned(),
            (label, Some(help)) => format!("{label}; {help}"),
        };
        let Some(excerpt) = &self.excerpt else {
            if !self.file.is_empty() {
                group = group.element(Origin::path(&self.file));
            }
            if !label.is_empty() {
                group = group.element(Level::HELP.message(label));
            }
            return renderer.render(&[group]);
        };
        let mut snippet = excerpt.snippet(&self.file, AnnotationKind::Primary, &label);
        if let Some(second) = &self.secondary {
            if second.file == self.file
                && second.excerpt.text == excerpt.text
                && second.excerpt.line == excerpt.line
            {
                let mark = AnnotationKind::Context.span(second.excerpt.marked.clone()).label(&second.label);
                snippet = snippet.annotation(mark);
            } else {
                group = group.element(snippet);
                snippet = second.excerpt.snippet(&second.file, AnnotationKind::Context, &second.label);
            }
        }
        let rendered = excerpt.correct_column(&self.file, renderer.render(&[group.element(snippet)]));
        match &self.secondary {
            Some(second) => second.excerpt.correct_column(&second.file, rendered),
            None => rendered,
        }
    }
}

impl Excerpt {
    /// Number of characters shown of a long line on either side of the start of the mark.
    const CONTEXT: usize = 120;

    fn new(source: &Source, span: Span, redaction: &Redaction) -> Self {
        let mut line = source.line(span.start);
        let text = source.text();
        let start = (span.start as usize).min(line.end);
        let column = source.characters(line.start, start) + 1;
        let (mut before, mut after) = ("", "");
        if line.end - line.start > 3 * Self::CONTEXT {
            let (first, last) = (start.saturating_sub(Self::CONTEXT), start + 2 * Self::CONTEXT);
            if first > line.start {
                before = "…";
                line.start = (first..=start).find(|at| text.is_char_boundary(*at)).unwrap_or(start);
            }
            if last < line.end {
                after = "…";
                line.end = (start..=last).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(start);
            }
        }
        let end = (span.end as usize).clamp(start, line.end);
        let mut excerpt =
            Self { line: line.number, column, text: before.to_owned(), marked: before.len()..before.len() };
        for (offset, shown) in redaction.redact_line(source, span.file, &line) {
            if offset < start {
                excerpt.marked.start += shown.len_utf8();
            }
            if offset < end {
                excerpt.marked.end += shown.len_utf8();
            }
            excerpt.text.push(shown);
        }
        excerpt.text.push_str(after);
        excerpt
    }

    /// Returns the place without the text, for a problem that is not printed.
    fn place_of(source: &Source, span: Span) -> Self {
        let line = source.line(span.start);
        let start = (span.start as usize).min(line.end);
        let column = source.characters(line.start, start) + 1;
        Self { line: line.number, column, text: String::new(), marked: 0..0 }
    }

    /// Replaces the column that the renderer counted within a shortened line by the column in the file.
    fn correct_column(&self, file: &str, rendered: String) -> String {
        let counted = self.text[..self.marked.start].chars().count() + 1;
        if counted == self.column {
            return rendered;
        }
        let place = |column| format!("{file}:{}:{column}", self.line);
        rendered.replacen(&place(counted), &place(self.column), 1)
    }

    fn snippet<'a>(
        &'a self,
        file: &'a str,
        kind: AnnotationKind,
        label: &'a str,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let mark = kind.span(self.marked.clone()).label((!label.is_empty()).then_some(label));
        Snippet::source(&self.text).line_start(self.line).path(file).annotation(mark)
    }
}

/// Every problem of a configuration: errors first, then warnings, each by file and place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Maximum number of printed, logged or served problems: one mistake can be repeated 10,000 times.
    const SHOWN: usize = 50;

    /// Returns true if the configuration is refused.
    pub fn refuse(&self) -> bool {
        self.0.iter().any(|p| p.refuses)
    }

    /// Returns the errors that refuse nothing: unreadable secrets.
    pub fn unread(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|p| p.is_unread())
    }

    /// Returns the problems without those of [`Self::unread`].
    pub fn without_unread(&self) -> Self {
        Self(self.0.iter().filter(|p| !p.is_unread()).cloned().collect())
    }

    /// Returns true if there is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|p| p.severity == Severity::Error)
    }

    /// Returns true if there is a warning.
    pub fn has_warnings(&self) -> bool {
        self.0.iter().any(|p| p.severity == Severity::Warning)
    }

    /// Returns the number of warnings.
    pub fn warnings(&self) -> usize {
        self.0.iter().filter(|p| p.severity == Severity::Warning).count()
    }

    /// Returns true if there are no problems.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of problems.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns each problem.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    /// Formats the first problems like compiler errors, separated by blank lines, and the number of the others; each
    /// line ends with a line break.
    pub fn render_human(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let (shown, others) = self.shown();
        let mut out = String::new();
        for problem in shown {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&problem.render(&renderer));
            out.push('\n');
        }
        if let Some(others) = others {
            out.push_str(&format!("\n{others}\n"));
        }
        out
    }

    /// Returns all problems: `[{severity, code, file, line, column, message, help, secondary: {file, line, column,
    /// label}}]`; values that do not apply are null.
    pub fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(Problem::to_json).collect()
    }

    /// As [`Self::to_json`], with at most as many problems as are printed, and a last element with the number of the
    /// others.
    pub fn to_short_json(&self) -> serde_json::Value {
        let (shown, others) = self.shown();
        let others = others.map(|message| {
            let severity = if self.has_errors() { Severity::Error } else { Severity::Warning };
            serde_json::json!({ "severity": severity.as_str(), "code": "more_problems", "message": message })
        });
        shown.iter().map(Problem::to_json).chain(others).collect()
    }

    fn shown(&self) -> (&[Problem], Option<String>) {
        let (shown, others) = self.0.split_at(self.0.len().min(Self::SHOWN));
        let more = || format!("and {} more; `attache check --format json` lists all", others.len());
        (shown, (!others.is_empty()).then(more))
    }

    /// Returns these problems and `others`, errors first.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self.0.sort_by_key(|problem| problem.severity);
        self
    }

    /// Sorts the findings, and returns the lines of those that are printed, in order.
    pub(super) fn lines(sources: &[Source], findings: &mut [Finding]) -> Vec<Span> {
        findings.sort_by_key(|finding| (finding.severity, finding.span));
        let printed = findings.iter().take(Self::SHOWN);
        let spans = printed.flat_map(|finding| {
            finding.span.into_iter().chain(finding.secondary.as_ref().map(|(span, _)| *span))
        });
        let mut lines: Vec<Span> = spans
            .map(|span| {
                let line = sources[span.file as usize].line(span.start);
                Span { file: span.file, start: line.start as u32, end: line.end as u32 }
            })
            .collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    pub(super) fn new(sources: &[Source], redaction: &Redaction, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| (finding.severity, finding.span));
        let name = |span: Span| sources[span.file as usize].path.display().to_string();
        let problem = |(number, finding): (usize, Finding)| {
            let excerpt = |span: Span| {
                let source = &sources[span.file as usize];
                if number < Self::SHOWN {
                    Excerpt::new(source, span, redaction)
                } else {
                    Excerpt::place_of(source, span)
                }
            };
            Problem {
                severity: finding.severity,
                refuses: finding.refuses(),
                code: finding.code,
                file: finding.span.map(name).unwrap_or(finding.file),
                message: finding.message,
                help: finding.help,
                label: finding.label,
                excerpt: finding.span.map(excerpt),
                secondary: finding.secondary.map(|(span, label)| Secondary {
                    file: name(span),
                    excerpt: excerpt(span),
                    label,
                }),
            }
        };
        Self(findings.into_iter().enumerate().map(problem).collect())
    }
}

/// A problem that still points into the text.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    severity: Severity,
    tolerated: bool,
    code: &'static str,
    span: Option<Span>,
    file: String,
    message: String,
    label: String,
    help: Option<String>,
    secondary: Option<(Span, String)>,
}

impl Finding {
    pub(super) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            tolerated: false,
            code,
            span: Some(span),
            file: String::new(),
            message: message.into(),
            label: String::new(),
            help: None,
            secondary: None,
        }
    }

    /// Returns a problem with a whole file that could not be read, or with none.
    pub(super) fn without_place(
        code: &'static str,
        file: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let nowhere = Span { file: 0, start: 0, end: 0 };
        Self { span: None, file: file.into(), ..Self::error(code, nowhere, message) }
    }

    pub(super) fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Returns the finding as a warning.
    pub(super) fn into_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Sets the text at the mark.
    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// Sets the remedy.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(super) fn secondary(self, span: Span, label: impl Into<String>) -> Self {
        Self { secondary: Some((span, label.into())), ..self }
    }

    /// Returns true if it points into `text`.
    pub(super) fn is_within(&self, text: Span) -> bool {
        self.span.is_some_and(|span| text.contains(span))
    }

    /// Adds the part of the file that it concerns, whose place is another one.
    pub(super) fn concern(&mut self, part: &str, place: Span, remedy: &str) {
        self.message = format!("{part}: {}", self.message);
        self.help = Some(match self.help.take() {
            Some(help) => format!("{help}; {remedy}"),
            None => remedy.to_owned(),
        });
        self.secondary.get_or_insert_with(|| (place, "it inherits the default".to_owned()));
    }

    /// Returns what two reports of one problem have in common, if it has a place.
    pub(super) fn identity(&self) -> Option<(Span, &'static str, String)> {
        self.span.map(|span| (span, self.code, self.label.clone()))
    }

    /// Lets the configuration be accepted in spite of the error, which concerns only a part of it.
    pub(super) fn tolerated(self) -> Self {
        Self { tolerated: true, ..self }
    }

    /// Returns true if the configuration is refused because of it.
    pub(super) fn refuses(&self) -> bool {
        self.severity == Severity::Error && !self.tolerated
    }
}
