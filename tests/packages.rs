//! The files that are shipped beside the program: the manifests, the unit, and those that a package installs. The packages
//! themselves are installed and started by `.ci/packages`.

use regex::Regex;
use serde_yaml::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// The folders that `kubectl apply -k` takes.
const KUSTOMIZATIONS: [&str; 3] = ["base", "overlays/ingress", "overlays/refresh-tokens"];
/// The oldest version that the manifests are for: it has `preStop.sleep`.
const OLDEST_KUBERNETES: &str = "1.30";
const PYTHON: &str = "tests/peers/.venv/bin";

fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}, of ./.ci/setup test: {error}"));
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
    child.wait_with_output().expect("an end")
}

fn succeeds(program: &str, arguments: &[&str], input: &str) -> String {
    let output = run(program, arguments, input);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// Checks a file as `attache check` does, without the secrets.
fn check(text: &str) {
    let attache = std::env::var("ATTACHE_BIN").unwrap_or(env!("CARGO_BIN_EXE_attache").to_owned());
    succeeds(&attache, &["check", "--offline", "-c", "-"], text);
}

/// Returns the manifests that `kubectl apply -k` would apply.
fn manifests(name: &str) -> String {
    let folder = format!("config/kubernetes/{name}");
    succeeds(&format!("{PYTHON}/kubectl"), &["kustomize", &folder], "")
}

fn objects(name: &str) -> Vec<Value> {
    let text = manifests(name);
    let objects = serde_yaml::Deserializer::from_str(&text);
    objects.map(|object| serde::Deserialize::deserialize(object).expect("an object")).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    found.next().unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn the_manifests_are_valid_and_so_is_the_file_in_them() {
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    for name in KUSTOMIZATIONS {
        writeln!(file, "---\n{}", manifests(name)).expect("write");
        let objects = objects(name);
        check(of_kind(&objects, "ConfigMap")["data"]["attache.yaml"].as_str().expect("a file"));
        let text = serde_yaml::to_string(&objects).expect("text");
        assert!(!text.contains("REPLACE"), "{name}");
        // A Secret is made by the operator, who alone knows what is in it.
        assert!(objects.iter().all(|object| object["kind"] != "Secret"), "{name}");
    }
    let (validate, path) = (format!("{PYTHON}/kubernetes-validate"), file.path().display().to_string());
    // And the newest version that the schemas know.
    succeeds(&validate, &["--strict", "-k", OLDEST_KUBERNETES, &path], "");
    succeeds(&validate, &["--strict", &path], "");
}

#[test]
fn every_selector_of_the_manifests_selects_attache_alone() {
    let own: Value = serde_yaml::from_str("{ app.kubernetes.io/name: attache }").expect("YAML");
    for name in KUSTOMIZATIONS {
        let objects = objects(name);
        let pod = &of_kind(&objects, "Deployment")["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"], own, "{name}");
        let deployment = &of_kind(&objects, "Deployment")["spec"]["selector"]["matchLabels"];
        let budget = &of_kind(&objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"];
        let policy = &of_kind(&objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"];
        let spread = pod["spec"]["topologySpreadConstraints"].as_sequence().expect("constraints");
        let spread = spread.iter().map(|constraint| &constraint["labelSelector"]["matchLabels"]);
        let services = objects.iter().filter(|object| object["kind"] == "Service");
        let services = services.map(|service| &service["spec"]["selector"]);
        for selector in [deployment, budget, policy].into_iter().chain(spread).chain(services) {
            assert_eq!(selector, &own, "{name}");
        }
    }
}

#[test]
fn every_port_and_path_of_the_manifests_is_there() {
    let paths = Regex::new(r"(?:file|ca): (/\S+)").expect("a pattern");
    for name in KUSTOMIZATIONS {
        let objects = objects(name);
        let spec = &of_kind(&objects, "Deployment")["spec"]["template"]["spec"];
        let container = &spec["containers"][0];
        let ports: Vec<_> =
            container["ports"].as_sequence().expect("ports").iter().map(|p| &p["name"]).collect();
        let rules = of_kind(&objects, "NetworkPolicy")["spec"]["ingress"].as_sequence().expect("rules");
        for rule in rules {
            // A rule without `from` would let everything in.
            assert!(rule["from"].as_sequence().is_some_and(|from| !from.is_empty()), "{name}");
            assert!(ports.contains(&&rule["ports"][0]["port"]), "{name}: {rule:?}");
        }
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let get = &container[probe]["httpGet"];
            assert!(
                get["port"] == "admin" && (get["path"] == "/readyz" || get["path"] == "/livez"),
                "{probe}"
            );
        }
        // Every file that the file names lies in a volume.
        let mounts = container["volumeMounts"].as_sequence().expect("mounts");
        let folders: Vec<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
        let file = of_kind(&objects, "ConfigMap")["data"]["attache.yaml"].as_str().expect("a file");
        for found in paths.captures_iter(file) {
            let folder = found[1].rsplit_once('/').expect("a path").0;
            assert!(folders.contains(&folder), "{name}: {}", &found[1]);
        }
    }
}

#[test]
fn no_manifest_lets_anonymous_callers_use_the_credentials() {
    for name in KUSTOMIZATIONS {
        let objects = objects(name);
        let file = of_kind(&objects, "ConfigMap")["data"]["attache.yaml"].as_str().expect("a file");
        let file: Value = serde_yaml::from_str(file).expect("YAML");
        assert!(file["callers"].is_mapping() && file.get("caller_rules").is_none(), "{name}");
        assert!(file.get("allow_anonymous_callers").is_none(), "{name}");
        // The tokens of the callers are verified by the keys of the cluster.
        if let Some(issuers) = file["issuers"].as_mapping() {
            for (_, caller) in file["callers"].as_mapping().expect("callers") {
                assert!(issuers.contains_key(&caller["jwt"]["issuer"]), "{name}: {caller:?}");
            }
        }
    }
}

#[test]
fn one_pod_at_a_time_spends_refresh_tokens() {
    let objects = objects("overlays/refresh-tokens");
    let spec = &of_kind(&objects, "Deployment")["spec"];
    assert_eq!((spec["replicas"].as_u64(), spec["strategy"]["type"].as_str()), (Some(1), Some("Recreate")));
    let mounts = spec["template"]["spec"]["containers"][0]["volumeMounts"].as_sequence().expect("mounts");
    assert!(mounts.iter().any(|mount| mount["name"] == "state" && mount["mountPath"] == "/var/lib/attache"));
}

#[test]
fn the_unit_is_confined() {
    // Tenths: an exposure of at most 1.5 of 10.
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=15"];
    succeeds("systemd-analyze", &[arguments.as_slice(), &["config/systemd/attache.service"]].concat(), "");
}

#[test]
fn the_socket_units_have_the_addresses_of_the_first_file() {
    let text = std::fs::read_to_string("config/debian/attache.yaml").expect("the file is there");
    for listener in ["outbound", "webhooks", "admin"] {
        let unit =
            std::fs::read_to_string(format!("config/systemd/attache-{listener}.socket")).expect("a unit");
        let value = |key: &str| {
            unit.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .expect("a value")
                .to_owned()
        };
        assert_eq!(value("FileDescriptorName"), listener);
        assert_eq!(value("Service"), "attache.service");
        let address = value("ListenStream");
        assert!(text.contains(&format!("{listener}: {address}")), "{listener}: {address}");
    }
}

#[test]
fn the_first_file_of_a_package_is_valid_as_it_is_and_uncommented() {
    let text = std::fs::read_to_string("config/debian/attache.yaml").expect("the file is there");
    check(&text);
    let example = Regex::new(r"(?m)^#(\S|  )").expect("a pattern");
    let uncommented = example.replace_all(&text, "$1").replace("services: {}", "services:");
    assert!(uncommented.contains("\nstate:"), "{uncommented}");
    check(&uncommented);
}

#[test]
fn the_first_file_of_the_containers_is_valid() {
    check(&std::fs::read_to_string("config/docker/attache/attache.yaml").expect("the file is there"));
}

#[test]
fn every_place_names_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, text) in [
        ("config/docker/Dockerfile", format!("-t attache:{version} ")),
        ("config/docker/compose.yaml", format!("image: attache:{version}\n")),
        ("config/kubernetes/base/kustomization.yaml", format!("newTag: {version} ")),
        ("docs/packages.md", format!("./attache_{version}-1_amd64.deb\n")),
    ] {
        let found = std::fs::read_to_string(file).expect("the file is there");
        assert!(found.contains(&text), "{file} has no {text:?}");
    }
}
