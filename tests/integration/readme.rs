//! README's first service and first webhook, done as it says. The public echo is a stub here, and the usual ports are any that
//! are free.

use crate::harness::*;
use std::path::Path;

#[path = "../docs/documents.rs"]
#[expect(dead_code, reason = "the tests of the documents use the rest")]
mod documents;

const ECHO: &str = "https://postman-echo.com";
/// Stands in README for the hash of the key that the reader has made.
const SAMPLE: &str = "5e20dfe2397513938b8ab7dbcfd225179d6d504189012a286364ce0a37da168f";

/// A reader who does one step after the other.
struct Reader {
    folder: tempfile::TempDir,
    echo: Stub,
    file: String,
    attache: Option<Attache>,
    /// The key that was made, and its hash.
    key: Option<(String, String)>,
    answers: Vec<String>,
}

impl Reader {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("attache.yaml")
    }

    fn attache(&self) -> &Attache {
        self.attache.as_ref().expect("attache runs")
    }

    /// Saves the file, with its new end.
    async fn save(&mut self, lines: &str) {
        let lines = lines.replace(ECHO, &self.echo.url());
        let lines = match &self.key {
            Some((_, hash)) => lines.replace(SAMPLE, hash),
            None => lines,
        };
        self.file.push_str(&lines);
        let before = match &self.attache {
            Some(attache) => attache.reloads("applied").await,
            None => 0.0,
        };
        std::fs::write(self.path(), &self.file).expect("write");
        if let Some(attache) = &self.attache {
            attache.reloaded("applied", before).await;
        }
    }

    async fn run(&mut self, line: &str) {
        if let Some((variable, "attache run")) = line.split_once(' ') {
            let (name, value) = variable.split_once('=').expect("a variable");
            self.attache = Some(attache().env(name, value).at(&self.path()).await);
        } else if let Some(arguments) = line.strip_prefix("attache ") {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            let made = command(&arguments).in_folder(self.folder.path()).finish().await;
            assert_eq!(made.code, Some(0), "{line}: {made:?}");
            let after = |label: &str| {
                let value =
                    made.stdout.split_once(label).unwrap_or_else(|| panic!("no {label} in {made:?}")).1;
                value.lines().next().unwrap_or_default().to_owned()
            };
            self.key = Some((after("key: "), after("sha256: ")));
        } else if line.starts_with("curl ") {
            self.curl(line).await;
        } else {
            panic!("a step that this test does not know: {line}");
        }
    }

    /// Makes a second key, and pastes its lines below the first one's.
    async fn add_a_key(&mut self, service: &str) {
        let made = command(&["keys", "new", "--service", service]).in_folder(self.folder.path());
        let made = made.finish().await;
        let items = made.stdout.split_once("webhook.api_keys:\n");
        let items = items.unwrap_or_else(|| panic!("no lines in {made:?}")).1;
        let key = made.stdout.lines().next().and_then(|line| line.strip_prefix("key: "));
        self.key = Some((key.expect("a key").to_owned(), String::new()));
        // The captured output lacks its last line break.
        self.file = self.file.replace("\nusers:\n", &format!("\n{}\nusers:\n", items.trim_end()));
        self.save("").await;
    }

    async fn curl(&mut self, line: &str) {
        let key = self.key.as_ref().map_or("KEY", |(key, _)| key.as_str());
        let line = line
            .replace("127.0.0.1:8080", &self.attache().outbound().to_string())
            .replace("127.0.0.1:8081", &self.attache().webhooks().to_string())
            .replace("KEY", key);
        let ran = tokio::process::Command::new("sh").args(["-c", &line]).output();
        let ran = within(PATIENCE, &line, ran).await.expect("sh");
        assert!(ran.status.success(), "{line}: {ran:?}");
        self.answers.push(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
}

#[tokio::test]
async fn the_first_service_and_the_first_webhook_work_as_readme_says() {
    let mut reader = Reader {
        folder: tempfile::tempdir().expect("a folder"),
        echo: third_party().answers(200, "echoed"),
        // Not in README: other tests have the usual ports.
        file: "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }\n".to_owned(),
        attache: None,
        key: None,
        answers: Vec::new(),
    };
    let readme = documents::Document { path: "README.md".into(), text: readme() };
    for block in readme.blocks() {
        match block.info[0].as_str() {
            "yaml" => reader.save(&block.text).await,
            "sh" if block.text.starts_with("./.ci/") => {}
            "sh" => {
                for line in block.text.lines() {
                    reader.run(line).await;
                }
            }
            _ => {}
        }
    }
    assert_eq!(reader.answers, ["echoed", "echoed"]);
    let (first, second) = (reader.echo.head(0).await, reader.echo.head(1).await);
    assert_eq!((first.target().as_str(), first.header("x-api-key")), ("/get", Some("secret-0123456789")));
    assert_eq!((second.target().as_str(), second.header("x-attache-user")), ("/post", Some("echo-bot")));
    let other = send(reader.attache().webhooks(), post("/webhooks/another-key-than-that", "{}")).await;
    assert_eq!(other.status, 404);
    reader.add_a_key("echo").await;
    let call = post(format!("/webhooks/{}", reader.key.as_ref().expect("a key").0), "{}");
    assert_eq!(send(reader.attache().webhooks(), call).await.status, 200);
}

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README")
}
