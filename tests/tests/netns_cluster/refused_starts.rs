//! Starts that must not happen: mistakes in the configuration, and a second instance. Each is told in words.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use heartbeat_tests::{
    cluster::Cluster,
    events::{LINK_LOST, LINK_RESTORED},
    process::find_program,
    topology::TopologySpec,
};

use crate::{
    nodes::{CONTROLLER_STARTED, JUDGE_RESTARTED, PATIENCE, QUORUM_LOST, prepared, spec, status, three_up},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(200);

/// Runs a node with a configuration of its own in the namespace of `node`, until it ends by itself.
fn run(cluster: &Cluster, node: u16, config: &str) -> Output {
    let path = cluster.node(node).files().directory.join("other.toml");
    fs::write(&path, config).unwrap();
    let mut command = cluster.topology().node(node).command(find_program().unwrap()).unwrap();
    command.arg("run").arg("--config").arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it started: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn config(cluster: &Cluster, node: u16) -> String {
    fs::read_to_string(cluster.node(node).files().config()).unwrap()
}

/// How a configuration is spoilt, and what the message has to name.
struct Mistake<'a> {
    from: &'a str,
    to: &'a str,
    named: &'a [&'a str],
}

#[test]
fn mistakes_in_the_configuration_end_with_2_and_name_the_place() {
    let cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    let good = config(&cluster, 1);
    let directory = cluster.topology().prefix().directory();
    let key = directory.join("secret.key").display().to_string();
    let missing = directory.join("missing.key").display().to_string();
    let open = directory.join("open.key").display().to_string();
    fs::copy(&key, &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
    let bpf = cluster.node(1).files().bpf_directory.display().to_string();

    let mistakes = [
        Mistake { from: "interval = ", to: "intervall = ", named: &["intervall", "unknown"] },
        Mistake { from: "id = 2\nname = \"bravo\"", to: "id = 1\nname = \"bravo\"", named: &["[[node]] id", "alpha"] },
        Mistake { from: "10.77.1.2\"", to: "10.77.1.3\"", named: &["10.77.1.3", "bravo", "charlie"] },
        Mistake { from: "\"200ms\"", to: "\"100us\"", named: &["[timing] interval", "1ms", "1m"] },
        Mistake { from: "\"200ms\"", to: "\"61s\"", named: &["[timing] interval", "1ms", "1m"] },
        Mistake {
            from: "interval = ",
            to: "late_after = 6\nlost_after = 6\ninterval = ",
            named: &["[timing] late_after", "late_after = 6", "lost_after = 6"],
        },
        Mistake { from: &key, to: &missing, named: &["[[cluster.key]] file", &missing, "heartbeat keygen"] },
        Mistake { from: &key, to: &open, named: &["[[cluster.key]] file", &open, "chmod 600"] },
        Mistake { from: &bpf, to: "/run/not-bpf", named: &["[local] bpf_dir", "/run/not-bpf", "BPF file system"] },
        Mistake { from: "node = \"alpha\"", to: "node = \"zulu\"", named: &["[local] node", "zulu", "bravo"] },
        Mistake {
            from: "node = \"alpha\"",
            to: "node = \"alpha\"\ninterfaces = { private = \"eth7\" }",
            named: &["[local] interfaces.private", "eth7", "public"],
        },
        Mistake { from: "10.77.1.1\"", to: "10.77.1.77\"", named: &["`alpha` addresses.private", "10.77.1.77"] },
    ];
    for Mistake { from, to, named } in mistakes {
        assert!(good.contains(from), "{from} is not in\n{good}");
        let output = run(&cluster, 1, &good.replacen(from, to, 1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{to}: {stderr}");
        let file = cluster.node(1).files().directory.join("other.toml").display().to_string();
        for part in named.iter().chain([&file.as_str()]) {
            assert!(stderr.contains(part), "{to}: no {part:?} in\n{stderr}");
        }
        let line =
            stderr.split_once(&format!("{file}:")).and_then(|(_, rest)| rest.split(':').next()?.parse::<u32>().ok());
        assert!(line.is_some_and(|line| line > 0), "{to}: no line in\n{stderr}");
        assert!(!pinned::path(&cluster, 1, "NODE").exists(), "{to}: nothing is left pinned");
    }
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    let good = config(&cluster, 1);
    let files = cluster.node(1).files();
    let own = |name: &str| format!("{name} = \"{}\"", files.directory.join(name.trim_end_matches("_dir")).display());
    let elsewhere = |name: &str| format!("{name} = \"{}\"", files.directory.join(format!("second-{name}")).display());
    let other = |text: &str, name: &str| {
        let from = own(name);
        assert!(text.contains(&from), "{from} is not in\n{text}");
        text.replace(&from, &elsewhere(name))
    };
    let pid = cluster.node(1).pid().unwrap().to_string();
    let cases = [
        ("everything the same", good.clone(), vec!["state_dir"]),
        ("its own state_dir", other(&good, "state_dir"), vec!["run_dir", pid.as_str()]),
        ("its own run_dir", other(&good, "run_dir"), vec!["state_dir"]),
        ("only bpf_dir and addresses the same", other(&other(&good, "state_dir"), "run_dir"), vec!["3343"]),
    ];
    for (what, text, named) in cases {
        let output = run(&cluster, 1, &text);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{what}: {output:?}");
        for part in named {
            assert!(stderr.contains(part), "{what}: no {part:?} in\n{stderr}");
        }
        is_undisturbed(&cluster, place, what);
    }
}

#[test]
fn the_bpf_dir_of_a_running_node_is_refused() {
    let mut cluster = three_up(INTERVAL);
    let other = cluster.node(1).files().bpf_directory.display().to_string();
    let own = cluster.node(3).files().bpf_directory.display().to_string();
    cluster.node_mut(3).terminate().unwrap();
    // Longer than the report of its leaving takes.
    std::thread::sleep(2 * INTERVAL);
    let place = cluster.events().len();
    let output = run(&cluster, 3, &config(&cluster, 3).replace(&own, &other));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    for part in ["bpf_dir", &other] {
        assert!(stderr.contains(part), "no {part:?} in\n{stderr}");
    }
    is_undisturbed(&cluster, place, "its bpf_dir in another namespace");
}

/// Node 1 has what it had, and nobody reports anything about it.
fn is_undisturbed(cluster: &Cluster, place: usize, what: &str) {
    let before = pinned::link(cluster, 1, 2, 1);
    pinned::wait_for_heartbeats(cluster, 1, (2, 1), &before, 2, PATIENCE);
    assert_eq!(status(cluster, 1)["dataplane"]["mode"], "native", "{what}");
    let events = cluster.events().since(place);
    // Contact, membership and the judge; not the view, from which another node may have left.
    let serious = [LINK_LOST, LINK_RESTORED, QUORUM_LOST, JUDGE_RESTARTED, CONTROLLER_STARTED];
    let told: Vec<_> = events.iter().filter(|event| serious.contains(&event.id())).collect();
    assert!(told.is_empty(), "{what}: {told:#?}");
}
