//! The service: what systemd says of it, what it may do, and that neither a restart nor an upgrade is noticed by a peer.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use heartbeat_tests::topology::{Topology, TopologySpec};
use serde_json::Value;

use crate::{
    deb,
    machine::{Machine, boot_all, on_all},
    quickstart::is_member,
};

/// Capabilities of the unit: CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_NICE, CAP_PERFMON, CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 23 | 1 << 38 | 1 << 39;
/// Exposure that `systemd-analyze security` may find, 0 to 10, in tenths. What is left: it is root, sees the network, has the
/// capabilities above, and its hooks may be any program.
const EXPOSURE_MAX: u32 = 30;
/// What a peer of a restarted node must not report: about links, about nodes, about itself.
const NOTICED: [u64; 9] = [1122, 1123, 1135, 1177, 1006, 9002, 9005, 9006, 9007];

/// Machines with the package, of which the first two packages are made; and the topology that they hang on.
struct Installed {
    machines: Vec<Machine>,
    exchange: PathBuf,
    _topology: Topology,
}

fn install() -> Installed {
    let topology = Topology::build(TopologySpec::new(3, 2)).unwrap();
    let exchange = topology.prefix().directory().join("exchange");
    fs::create_dir_all(&exchange).unwrap();
    deb::make(&exchange, 1);
    deb::make(&exchange, 2);
    let machines = boot_all(&topology, &exchange);
    let users = |machine: &Machine| machine.run("cat /etc/passwd /etc/group; ls /etc/cron* /etc/sysctl.d");
    on_all(&machines, |machine| {
        let before = users(machine);
        machine.run(&format!("dpkg -i /srv/exchange/{}", deb::file_name(1)));
        assert_eq!(users(machine), before, "the package makes no users, jobs or settings");
    });
    Installed { machines, exchange, _topology: topology }
}

/// The example with a key, on every machine; started everywhere.
fn start(machines: &[Machine]) {
    let example = machines[0].root().join("etc/heartbeat-xdp/heartbeat.toml.example");
    machines[0].run("heartbeat keygen --out /etc/heartbeat-xdp/key");
    let key = fs::read(machines[0].root().join("etc/heartbeat-xdp/key")).unwrap();
    for machine in machines {
        let folder = machine.root().join("etc/heartbeat-xdp");
        fs::copy(&example, folder.join("heartbeat.toml")).unwrap();
        fs::write(folder.join("key"), &key).unwrap();
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
        machine.run("systemctl start heartbeat-xdp");
    }
    for machine in machines {
        machine.wait_for("a view of all three", || is_member(machine, &[1, 2, 3]));
    }
}

fn events(machine: &Machine) -> Vec<Value> {
    machine.run("heartbeat events --json").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn property(machine: &Machine, name: &str) -> String {
    machine.run(&format!("systemctl show --value --property {name} heartbeat-xdp")).trim().to_owned()
}

/// Heartbeats that a machine has accepted from a node, on both networks.
fn received_from(machine: &Machine, peer: u64) -> u64 {
    let links: Vec<Value> = serde_json::from_str(&machine.run("heartbeat links --json")).unwrap();
    links.iter().filter(|link| link["peer"] == peer).map(|link| link["received"].as_u64().unwrap()).sum()
}

/// Does something to bravo, after which it is the same incarnation in another process, and nobody has noticed.
fn goes_unnoticed(machines: &[Machine], what: &str, script: &str) {
    let bravo = &machines[1];
    let observers = [&machines[0], &machines[2]];
    let before: Vec<usize> = observers.iter().map(|machine| events(machine).len()).collect();
    let own = events(bravo).len();
    let process = property(bravo, "MainPID");
    let begin = Instant::now();
    bravo.run(script);
    eprintln!("{what} took {:?}", begin.elapsed());
    assert_ne!(property(bravo, "MainPID"), process, "{what}: the process is another one");
    let started: Vec<Value> = events(bravo).split_off(own).into_iter().filter(|event| event["id"] == 9011).collect();
    assert!(started.len() == 1 && started[0]["detail"]["adopted"] == true, "{what}: {started:#?}\n{}", bravo.journal());
    for (observer, before) in observers.into_iter().zip(before) {
        let received = received_from(observer, 2);
        // Three more rounds on both networks, of which at most one was under way.
        observer.wait_for("heartbeats", || (received_from(observer, 2) >= received + 6).then_some(()));
        let noticed: Vec<Value> = events(observer)
            .split_off(before)
            .into_iter()
            .filter(|event| event["id"].as_u64().is_some_and(|id| NOTICED.contains(&id)))
            .collect();
        assert!(noticed.is_empty(), "{what}: {} noticed: {noticed:#?}", observer.name());
    }
    is_member(bravo, &[1, 2, 3]).unwrap_or_else(|| panic!("{what}: bravo is in no view\n{}", bravo.journal()));
}

fn has_what_it_needs_and_no_more(machine: &Machine) {
    let status: Value = serde_json::from_str(&machine.run("heartbeat status --json")).unwrap();
    assert_eq!(status["sender"]["rt_granted"], true, "{status:#}");
    assert_eq!(
        (&status["dataplane"]["mode"], &status["dataplane"]["judge"]),
        (&"native".into(), &"kernel-timer".into())
    );
    let degraded: Vec<Value> = events(machine).into_iter().filter(|event| event["id"] == 9003).collect();
    assert!(degraded.is_empty(), "{degraded:#?}");

    let process = property(machine, "MainPID");
    let process = machine.run(&format!("cat /proc/{process}/status"));
    let field = |name: &str| {
        let line = process.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    for set in ["CapBnd:", "CapEff:", "CapPrm:"] {
        assert_eq!(field(set), CAPABILITIES, "{set}");
    }
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), (1, 2));
}

/// Without progress of the reactor the manager kills the process, and the next one goes on. (A second instead of ten.)
fn is_watched(machines: &[Machine]) {
    let charlie = &machines[2];
    charlie.run(
        "mkdir -p /run/systemd/system/heartbeat-xdp.service.d
         printf '[Service]\\nWatchdogSec=1s\\nRestartSec=10ms\\n' > /run/systemd/system/heartbeat-xdp.service.d/watchdog.conf
         systemctl daemon-reload && systemctl restart heartbeat-xdp",
    );
    charlie.wait_for("its view", || is_member(charlie, &[1, 2, 3]));
    // Fed by progress: several periods pass without a restart.
    let restarts = property(charlie, "NRestarts");
    let process = property(charlie, "MainPID");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((property(charlie, "MainPID"), property(charlie, "NRestarts")), (process.clone(), restarts));

    charlie.run(&format!("kill -STOP {process}"));
    charlie.wait_for("another process", || {
        let now = property(charlie, "MainPID");
        (now != process && now != "0").then_some(())
    });
    charlie.wait_for("its view", || is_member(charlie, &[1, 2, 3]));
    assert!(charlie.journal().contains("Watchdog timeout"), "{}", charlie.journal());
    assert_eq!(property(charlie, "ActiveState"), "active");
}

/// An orderly stop: peers are told, nothing is left in the kernel.
fn stops(machines: &[Machine]) {
    let charlie = &machines[2];
    charlie.run("systemctl stop heartbeat-xdp");
    let end = (property(charlie, "ActiveState"), property(charlie, "Result"));
    assert_eq!(end, ("inactive".into(), "success".into()), "{}", charlie.journal());
    for machine in &machines[..2] {
        machine.wait_for("a view without charlie", || is_member(machine, &[1, 2]));
        let told = events(machine).into_iter().any(|event| event["id"] == 9006 && event["peer"] == 3);
        assert!(told, "{} was not told", machine.name());
    }
    leaves_nothing_in_the_kernel(charlie, "heartbeat");
}

/// No attachment, no pin: of the BPF file system there is at most this empty folder.
fn leaves_nothing_in_the_kernel(machine: &Machine, folder: &str) {
    assert_eq!(
        machine.run("cd /sys/fs/bpf && find . -mindepth 1 -not -name '*.debug' -printf '%P'"),
        folder,
        "{}",
        machine.name()
    );
    let links = machine.run("ip -d link show");
    assert!(links.contains("private") && !links.contains("xdp"), "{links}");
}

/// Removed while it runs, then purged: what is the operator's stays, everything else goes.
fn is_removed(machine: &Machine) {
    let files = machine.run("dpkg -L heartbeat-xdp");
    let files: Vec<&str> = files.lines().collect();
    assert!(files.len() > 40, "{files:?}");
    machine.run("dpkg -r heartbeat-xdp");
    leaves_nothing_in_the_kernel(machine, "");
    assert!(machine.root().join("var/lib/heartbeat/incarnation").exists(), "a removal keeps what the node has written");
    machine.run("dpkg -P heartbeat-xdp");
    let left = |path: &&&str| {
        let path = machine.root().join(path.trim_start_matches('/'));
        path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir())
    };
    let left: Vec<&&str> = files.iter().filter(left).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(machine.run("ls /etc/heartbeat-xdp"), "heartbeat.toml\nkey\n");
    let state = machine.root().join("var/lib/heartbeat");
    assert!(!state.exists(), "{}", machine.run("ls -lA /var/lib/heartbeat"));
    assert_eq!(
        machine
            .run("find / -xdev -name '*heartbeat-xdp*' -not -path '/srv/*' -not -path '/proc/*' -newer /etc/hostname"),
        "/etc/heartbeat-xdp\n"
    );
}

fn unit_is_sound(machine: &Machine) {
    let said = machine.try_run("systemd-analyze verify --man=no heartbeat-xdp.service 2>&1");
    assert!(said.status.success() && said.stdout.is_empty(), "{}", String::from_utf8_lossy(&said.stdout));
    let report = machine.run("systemd-analyze security --no-pager --offline=true heartbeat-xdp.service");
    let (_, overall) = report.rsplit_once("Overall exposure level for heartbeat-xdp.service: ").unwrap();
    let (number, _) = overall.split_once(' ').unwrap();
    eprintln!("systemd-analyze security: {number}");
    let tenths: u32 = number.replace('.', "").parse().unwrap();
    assert!(tenths <= EXPOSURE_MAX, "{report}");
    let document = include_str!("../../../docs/security.md");
    assert!(document.contains(&format!("exposure {number}")), "docs/security.md names another figure than {number}");
}

#[test]
fn a_service_from_its_installation_to_its_removal() {
    let installed = install();
    let machines = &installed.machines;
    for machine in machines {
        let state = ["UnitFileState", "ActiveState"].map(|name| property(machine, name));
        assert_eq!(state, ["enabled", "inactive"], "it waits for its configuration");
        let written =
            [Path::new("run/heartbeat"), Path::new("var/lib/heartbeat")].map(|path| machine.root().join(path));
        assert!(written.iter().all(|path| !path.exists()), "nothing ran");
    }
    unit_is_sound(&machines[0]);
    start(machines);
    machines.iter().for_each(has_what_it_needs_and_no_more);
    goes_unnoticed(machines, "a restart", "systemctl restart heartbeat-xdp");
    let upgrade = format!("dpkg -i {}", Path::new("/srv/exchange").join(deb::file_name(2)).display());
    assert!(installed.exchange.join(deb::file_name(2)).is_file());
    goes_unnoticed(machines, "an upgrade", &upgrade);
    assert!(machines[1].run("dpkg-query --show heartbeat-xdp").trim().ends_with("-2"));
    is_watched(machines);
    stops(machines);
    is_removed(&machines[1]);
    let alpha = &machines[0];
    alpha.wait_for("9006 of bravo", || {
        events(alpha).into_iter().any(|event| event["id"] == 9006 && event["peer"] == 2).then_some(())
    });
}
