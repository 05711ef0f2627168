//! Values of any JSON type.

use super::{At, Decoder};
use crate::config::scalar;
use crate::config::tree::View;
use serde_json::Value;

impl Decoder<'_> {
    /// Reads a value of any type. A plain scalar has its YAML meaning: a number, `true`, `false`, `null`, else text.
    pub(in crate::config) fn json(&self, at: &At<'_>) -> Option<Value> {
        match self.tree.view(at.node) {
            View::Scalar { text: "", plain: true } => self.empty(at),
            View::Scalar { text, plain } => match scalar::json(text).filter(|_| plain) {
                Some(value) => Some(value),
                None => self.string_or_empty(at).map(Value::from),
            },
            View::Sequence(_) => {
                let items: Vec<Option<Value>> = self.sequence(at)?.map(|item| self.json(&item)).collect();
                items.into_iter().collect::<Option<Vec<Value>>>().map(Value::from)
            }
            View::Mapping(_) => {
                let members = self.names(at)?.entries().map(|(name, at)| (name.to_owned(), self.json(&at)));
                let members: Vec<(String, Option<Value>)> = members.collect();
                members.into_iter().map(|(name, value)| Some((name, value?))).collect()
            }
        }
    }
}
