//! The query of the page: a filter, and a page of each table.

use url::form_urlencoded::{Serializer, parse};

/// Rows on a page of a table.
pub(super) const ROWS: usize = 200;
/// Characters of a filter that count.
const MAX_FILTER: usize = 100;

/// A table that is shown in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PagedTable {
    Services,
    Accounts,
    Callers,
    Webhooks,
}

impl PagedTable {
    const ALL: [Self; 4] = [Self::Services, Self::Accounts, Self::Callers, Self::Webhooks];

    /// The id of its section, and the name of its parameter.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Accounts => "accounts",
            Self::Callers => "callers",
            Self::Webhooks => "webhooks",
        }
    }
}

/// The query of a request for the page or its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::admin) struct Query {
    /// `q`: words that a row contains, each in one of its fields.
    filter: String,
    /// `show=problems`: only rows that need attention.
    only_problems: bool,
    /// `services`, `accounts`, `callers`, `webhooks`: the page of each table, from 0.
    pages: [usize; PagedTable::ALL.len()],
}

impl Query {
    /// Reads a query. What it does not know is ignored.
    pub(in crate::admin) fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in parse(text.as_bytes()) {
            match &*name {
                "q" => query.filter = value.trim().chars().take(MAX_FILTER).collect(),
                "show" => query.only_problems = value == "problems",
                name => {
                    if let Some(table) = PagedTable::ALL.into_iter().find(|table| table.id() == name) {
                        let page: usize = value.parse().unwrap_or(1);
                        query.pages[table as usize] = page.saturating_sub(1);
                    }
                }
            }
        }
        query
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) fn only_problems(&self) -> bool {
        self.only_problems
    }

    /// Returns true if it hides rows.
    pub(super) fn narrows(&self) -> bool {
        self.only_problems || !self.filter.is_empty()
    }

    /// Returns true if each word of the filter is in one of the fields, in any case of ASCII letters.
    pub(super) fn matches(&self, fields: &[&str]) -> bool {
        self.filter.split_whitespace().all(|word| fields.iter().any(|field| contains(field, word)))
    }

    /// Returns the page of a table that has so many rows, from 0: the last one instead of one that does not exist.
    pub(super) fn page(&self, table: PagedTable, rows: usize) -> usize {
        self.pages[table as usize].min(rows.saturating_sub(1) / ROWS)
    }

    /// Returns the link to another page of a table.
    pub(super) fn link(&self, table: PagedTable, page: usize) -> String {
        let mut other = self.clone();
        other.pages[table as usize] = page;
        format!("?{}#{}", other.encode(), table.id())
    }

    fn encode(&self) -> String {
        let mut query = Serializer::new(String::new());
        if !self.filter.is_empty() {
            query.append_pair("q", &self.filter);
        }
        if self.only_problems {
            query.append_pair("show", "problems");
        }
        for table in PagedTable::ALL {
            if self.pages[table as usize] > 0 {
                query.append_pair(table.id(), &(self.pages[table as usize] + 1).to_string());
            }
        }
        query.finish()
    }
}

fn contains(field: &str, word: &str) -> bool {
    field.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_what_it_was_made_of() {
        let query = Query::parse("q=a%26b+c&show=problems&services=3&webhooks=no&unknown=1");
        assert_eq!((query.filter(), query.only_problems()), ("a&b c", true));
        let link = query.link(PagedTable::Accounts, 1);
        assert_eq!(link, "?q=a%26b+c&show=problems&services=3&accounts=2#accounts");
        let again = Query::parse(link.trim_start_matches('?').split('#').next().unwrap());
        assert_eq!((again.pages, again.filter), ([2, 1, 0, 0], "a&b c".to_owned()));
    }

    #[test]
    fn each_word_has_to_be_in_a_field() {
        let fields = ["mailer", "Mailer (production)"];
        for (filter, expected) in [("", true), ("MAIL", true), ("prod mail", true), ("erp mail", false)] {
            assert_eq!(Query::parse(&format!("q={filter}")).matches(&fields), expected, "{filter}");
        }
    }

    #[test]
    fn a_page_that_does_not_exist_is_the_last_one() {
        let query = Query::parse("services=99999");
        assert_eq!([0, 1, 200, 201].map(|rows| query.page(PagedTable::Services, rows)), [0, 0, 0, 1]);
        assert_eq!(Query::parse("services=0").page(PagedTable::Services, 500), 0);
    }
}
