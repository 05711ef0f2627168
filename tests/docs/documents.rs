//! The documents, and what they consist of.

use std::fs;
use std::path::{Path, PathBuf};

/// One Markdown file.
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// `path:line` of its first fence.
    pub(crate) place: String,
    /// The words after the backticks.
    pub(crate) info: Vec<String>,
    /// Its lines, without the indentation of the fence.
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document: of the root, of `docs/` with its folders, and of an example.
pub(crate) fn documents() -> Vec<Document> {
    let mut paths = markdown(root());
    paths.extend(markdown(&root().join("examples/verify-assertion")));
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        paths.extend(markdown(&folder));
        folders.extend(entries(&folder).filter(|path| path.is_dir()));
    }
    assert!(paths.len() > 20, "{paths:?}");
    let read = |path: PathBuf| Document { text: fs::read_to_string(&path).expect("a document"), path };
    paths.into_iter().map(read).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).expect("a folder of documents").map(|entry| entry.expect("an entry").path())
}

fn markdown(folder: &Path) -> Vec<PathBuf> {
    entries(folder).filter(|path| path.extension().is_some_and(|it| it == "md")).collect()
}

impl Document {
    /// The document at this path.
    pub(crate) fn read(path: &str) -> Self {
        let path = root().join(path);
        Self { text: fs::read_to_string(&path).expect("a document"), path }
    }

    /// Returns true for a page of `docs/`, which is a page of the book as well.
    pub(crate) fn is_page(&self) -> bool {
        self.path.starts_with(root().join("docs"))
    }

    /// Its lines outside of blocks.
    pub(crate) fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
    }

    /// Its blocks.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some((indentation, info)) = line.split_once("```") else { continue };
            if !indentation.trim().is_empty() {
                continue;
            }
            let inside =
                lines.by_ref().map(|(_, line)| line).take_while(|line| !line.trim().starts_with("```"));
            let inside = inside.map(|line| line.strip_prefix(indentation).unwrap_or(line.trim_start()));
            blocks.push(Block {
                place: format!("{}:{}", self.path.display(), number + 1),
                info: info.split_whitespace().map(str::to_owned).collect(),
                text: inside.flat_map(|line| [line, "\n"]).collect(),
            });
        }
        blocks
    }

    /// The code in its prose.
    pub(crate) fn code_spans(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    /// The anchors of its headings, as forges and mdbook make them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for heading in self.prose().filter(|line| line.starts_with('#')) {
            let text = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let again = anchors.iter().filter(|known| **known == anchor).count();
            anchors.push(if again == 0 { anchor } else { format!("{anchor}-{again}") });
        }
        anchors
    }

    /// The targets of its links and images.
    pub(crate) fn links(&self) -> impl Iterator<Item = &str> {
        let in_line = |line| str::split(line, "](").skip(1).filter_map(|rest| rest.split_once(')'));
        self.prose().flat_map(in_line).map(|(target, _)| target)
    }
}
