//! A section of the page, and what of it has changed since another rendering.

use maud::{Markup, PreEscaped};
use std::ops::Range;

/// The parts of a section that can change by themselves: its rows and its counts. Each is one element with an id.
#[derive(Debug, Default)]
pub(super) struct SectionParts(Vec<(String, String)>);

impl SectionParts {
    /// Notes an element with this id, which has to be placed into the section in the same order.
    pub(super) fn add(&mut self, id: impl Into<String>, element: Markup) -> Markup {
        self.0.push((id.into(), element.0.clone()));
        PreEscaped(element.0)
    }
}

/// One section, as one element with an id.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::admin) struct Section {
    html: String,
    /// The ids and places of its parts.
    parts: Vec<(String, Range<usize>)>,
}

impl Section {
    /// Makes a section of its whole element and of its parts.
    pub(super) fn new(element: Markup, parts: SectionParts) -> Self {
        let html = element.into_string();
        let mut from = 0;
        let places = parts.0.into_iter().filter_map(|(id, part)| {
            let start = from + html[from..].find(&part)?;
            from = start + part.len();
            Some((id, start..from))
        });
        let parts = places.collect();
        Self { html, parts }
    }

    pub(super) fn html(&self) -> &str {
        &self.html
    }

    /// Returns the elements that differ from `before`: parts where the same ones are there, else the section.
    pub(in crate::admin) fn changes<'a>(&'a self, before: &Self) -> Vec<&'a str> {
        if self.html == before.html {
            return Vec::new();
        }
        if !self.frame().eq(before.frame()) || !self.ids().eq(before.ids()) {
            return vec![&self.html];
        }
        let pairs = self.parts.iter().zip(&before.parts);
        let pairs = pairs.map(|((_, now), (_, then))| (&self.html[now.clone()], &before.html[then.clone()]));
        pairs.filter(|(now, then)| now != then).map(|(now, _)| now).collect()
    }

    /// The text around the parts.
    fn frame(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.parts.iter().map(|(_, place)| place.end));
        let ends = self.parts.iter().map(|(_, place)| place.start).chain([self.html.len()]);
        starts.zip(ends).map(|(start, end)| &self.html[start..end])
    }

    fn ids(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maud::html;

    fn section(heading: &str, rows: &[(&str, &str)]) -> Section {
        let mut parts = SectionParts::default();
        let element = html! {
            section {
                h2 { (heading) }
                @for (id, text) in rows {
                    (parts.add(*id, html! { p id=(id) { (text) } }))
                }
            }
        };
        Section::new(element, parts)
    }

    #[test]
    fn only_the_parts_that_differ_are_told() {
        let before = section("A", &[("a", "1"), ("b", "1")]);
        assert!(section("A", &[("a", "1"), ("b", "1")]).changes(&before).is_empty());
        assert_eq!(section("A", &[("a", "1"), ("b", "2")]).changes(&before), ["<p id=\"b\">2</p>"]);
        for other in [
            section("B", &[("a", "1"), ("b", "1")]),
            section("A", &[("b", "1"), ("a", "1")]),
            section("A", &[("a", "1")]),
        ] {
            assert_eq!(other.changes(&before), [other.html()]);
        }
    }
}
