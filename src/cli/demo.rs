//! `attache demo`: the whole idea in one process on loopback, to be tried with `curl`.
//!
//! The real server runs on a real file in a temporary folder; only what it talks to is made up (see [`stubs`]): a
//! third party, a token endpoint, and a receiver. The stubs live on a thread and a runtime of their own, so
//! that nothing of the server has to know about them, and end when the server does. The credentials are random, made
//! for this one run, and the folder is removed at the end.

mod guide;
mod stubs;

use crate::secret::{Secret, hex};
use crate::server;
use ring::rand::SecureRandom as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use tokio::sync::oneshot;

/// What `attache demo` takes: nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  attache demo")]
pub struct DemoArgs {}

/// Serves until SIGINT or SIGTERM; returns the exit status.
pub fn run(_args: &DemoArgs) -> i32 {
    match Demo::prepare() {
        Ok(demo) => demo.serve(),
        Err(e) => {
            eprintln!("error: the demo can't start: {e}");
            1
        }
    }
}

/// Everything one run is made of.
struct Demo {
    folder: TemporaryFolder,
    config: PathBuf,
    stubs: stubs::Stubs,
    guide: guide::Guide,
}

impl Demo {
    fn prepare() -> io::Result<Self> {
        let secrets = DemoSecrets::random()?;
        let listen = DemoAddresses::free()?;
        let stubs = stubs::Stubs::bind(secrets.client_secret.clone())?;
        let folder = TemporaryFolder::create()?;
        let files = SecretFiles {
            api_key: folder.write("mailer-api-key", secrets.api_key.expose())?,
            client_secret: folder.write("erp-client-secret", secrets.client_secret.expose())?,
        };
        let text = configuration(&listen, &stubs.addresses()?, &files, &secrets);
        let config = folder.write("attache.yaml", &text)?;
        let guide = guide::Guide {
            config: config.clone(),
            script: folder.path().join("steps.sh"),
            listen,
            webhook_key: secrets.webhook_key,
            former_key: secrets.former_key,
        };
        folder.write("steps.sh", &guide.steps())?;
        Ok(Self { folder, config, stubs, guide })
    }

    fn serve(self) -> i32 {
        let Self { folder, config, stubs, guide } = self;
        let (stop, stopped) = oneshot::channel();
        let background =
            thread::Builder::new().name("demo-stubs".into()).spawn(move || stubs.serve(guide, stopped));
        let background = match background {
            Ok(background) => background,
            Err(e) => {
                eprintln!("error: the demo can't start: {e}");
                return 1;
            }
        };
        let status = server::run(server::Options { config, strict: false });
        drop(stop);
        let stubs_ended = background.join();
        drop(folder);
        match stubs_ended {
            Ok(Ok(())) => status,
            Ok(Err(e)) => {
                eprintln!("error: the demo's stubs failed: {e}");
                1
            }
            Err(_) => 1,
        }
    }
}

/// The addresses of the listeners in this run.
#[derive(Clone, Copy)]
struct DemoAddresses {
    outbound: SocketAddr,
    webhooks: SocketAddr,
    admin: SocketAddr,
}

impl DemoAddresses {
    /// The usual ports, or where one is taken another that is free. The sockets are closed again: the server binds
    /// for itself, as it does with any file.
    fn free() -> io::Result<Self> {
        let [a, b, c] = [8080, 8081, 9090].map(|port| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        });
        let (a, b, c) = (a?, b?, c?);
        Ok(Self { outbound: a.local_addr()?, webhooks: b.local_addr()?, admin: c.local_addr()? })
    }
}

/// The credentials of this run.
struct DemoSecrets {
    api_key: Secret,
    client_secret: Secret,
    webhook_key: Secret,
    former_key: Secret,
}

impl DemoSecrets {
    fn random() -> io::Result<Self> {
        Ok(Self {
            api_key: Secret::new(format!("demo-key-{}", random_hex(16)?)),
            client_secret: Secret::new(random_hex(16)?),
            webhook_key: Secret::new(format!("whk_{}", random_hex(16)?)),
            former_key: Secret::new(format!("whk_{}", random_hex(16)?)),
        })
    }
}

/// The paths at which the file finds its secrets.
struct SecretFiles {
    api_key: PathBuf,
    client_secret: PathBuf,
}

fn random_hex(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    ring::rand::SystemRandom::new()
        .fill(&mut buffer)
        .map_err(|_| io::Error::other("the system gave no random bytes"))?;
    Ok(hex(&buffer))
}

/// A folder only its owner can read, removed with all that is in it when dropped.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("attache-demo-{}", random_hex(8)?));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{}", text.trim_end())?;
        Ok(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("warning: {} is left behind: {e}", self.0.display());
        }
    }
}

fn configuration(
    listen: &DemoAddresses,
    stubs: &stubs::Addresses,
    files: &SecretFiles,
    secrets: &DemoSecrets,
) -> String {
    let DemoAddresses { outbound, webhooks, admin } = listen;
    let stubs::Addresses { third_party, token_endpoint, internal_app } = stubs;
    let (current, former) = (hex(&secrets.webhook_key.sha256()), hex(&secrets.former_key.sha256()));
    // Quoted as JSON, which is YAML: a temporary folder may have any name.
    let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    let (api_key, client_secret) = (quoted(&files.api_key), quoted(&files.client_secret));
    format!(
        "\
# The demo's configuration. Edit and save: it takes effect at once, or says why not.
listen:
  outbound: {outbound}
  webhooks: {webhooks}
  admin:    {admin}
public_url: http://{webhooks}

accounts:
  mailer:
    authorization:
      header: {{ name: X-API-KEY, value: {{ file: {api_key} }} }}
  erp:
    authorization:
      oauth2:
        grant: client_credentials
        token_url: http://{token_endpoint}/oauth/token
        client_id: attache-demo
        client_secret: {{ file: {client_secret} }}
        scopes: [contacts.read, contacts.write]

users:
  mailer-bot: {{ name: Mailer integration }}
  former-bot: {{ active: false }}

services:
  mailer:
    name: Mailer
    account: mailer
    server_url: http://{third_party}/v3
    timeout: 2s
    timeout_message: Mailer is not answering. Your message may or may not have been sent.
    webhook:
      user: mailer-bot
      forward_to: http://{internal_app}/hooks/mailer
      api_keys:
        - id: demo
          sha256: {current}
  erp:
    name: ERP
    account: erp
    server_url: http://{third_party}/erp
    timeout: 5s
    timeout_message: The ERP is not answering.
    webhook:
      user: former-bot
      forward_to: http://{internal_app}/hooks/erp
      api_keys:
        - id: demo
          sha256: {former}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_with_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = TemporaryFolder::create().unwrap();
        let path = folder.path().to_owned();
        let file = folder.write("a", "secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn the_configuration_holds_hashes_and_paths_and_never_a_secret() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let listen = DemoAddresses { outbound: address, webhooks: address, admin: address };
        let stubs = stubs::Addresses { third_party: address, token_endpoint: address, internal_app: address };
        let secrets = DemoSecrets::random().unwrap();
        let files = SecretFiles { api_key: "/tmp/a: b".into(), client_secret: "/tmp/\"c\"".into() };
        let text = configuration(&listen, &stubs, &files, &secrets);
        for secret in [secrets.api_key, secrets.client_secret, secrets.webhook_key, secrets.former_key] {
            assert!(!text.contains(secret.expose()));
        }
        serde_yaml::from_str::<serde_yaml::Value>(&text).expect("it is YAML");
    }
}
