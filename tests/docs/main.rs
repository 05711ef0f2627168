//! The documents: links resolve, tables are complete, and every block is of a kind that is checked.

mod blocks;
mod documents;
mod links;
mod shell;
mod tables;
