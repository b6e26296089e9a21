//! Machines: each with systemd as its first process, a root file system that it may change, and the network of a node.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use heartbeat_tests::{naming::node_name, topology::Topology};

/// As root of the machine.
const SCRIPT: &str = include_str!("machine.sh");
/// systemd has started everything, or hangs.
const BOOT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A machine that runs; it is switched off on drop.
pub(crate) struct Machine {
    name: String,
    child: Child,
    /// Its first process, as seen from here.
    init: u32,
    control_group: PathBuf,
}

/// Boots all nodes of a topology at once. `exchange` is /srv/exchange on each.
pub(crate) fn boot_all(topology: &Topology, exchange: &Path) -> Vec<Machine> {
    let machines: Vec<Machine> = topology.node_ids().map(|node| Machine::start(topology, node, exchange)).collect();
    machines.iter().for_each(Machine::wait_until_up);
    machines
}

/// Does something on several machines at the same time.
pub(crate) fn on_all<'a>(machines: impl IntoIterator<Item = &'a Machine>, action: impl Fn(&Machine) + Sync) {
    std::thread::scope(|scope| {
        for machine in machines {
            scope.spawn(|| action(machine));
        }
    });
}

impl Machine {
    fn start(topology: &Topology, node: u16, exchange: &Path) -> Self {
        let name = node_name(node);
        let folder = topology.prefix().directory().join(&name);
        fs::create_dir_all(&folder).unwrap();
        let control_group = unified_hierarchy().join(topology.prefix().node(&name));
        fs::create_dir(&control_group).unwrap();
        // Entered before the namespaces are made: this group is the root of the machine's.
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", control_group.display());
        let mut command = topology.node(node).command("sh").unwrap();
        command.args(["-c", &enter, "sh", "unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc"]);
        command.args(["--cgroup", "sh", "-c", SCRIPT, "sh"]).arg(&folder).arg(&name).arg(exchange);
        let log = fs::File::create(topology.prefix().directory().join(format!("{name}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let mut machine = Self { name, child, init: 0, control_group };
        machine.init = machine.wait_for("its first process", || only_child(machine.child.id()));
        machine
    }

    fn wait_until_up(&self) {
        self.wait_for("systemd", || {
            let output = self.try_run("systemctl is-system-running");
            // `degraded`: something of the distribution's does not run in a container.
            let state = String::from_utf8_lossy(&output.stdout);
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The machine's root, seen from here.
    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init))
    }

    /// Runs a script as root's shell would, in root's home.
    pub(crate) fn try_run(&self, script: &str) -> Output {
        let mut command = std::process::Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all", "env", "-i", "HOME=/root", "TERM=dumb"]);
        command.args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.args(["sh", "-c", &format!("cd /root && {{ {script}\n}}")]).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// As [`Machine::try_run`], which must end with 0; gives what it printed.
    pub(crate) fn run(&self, script: &str) -> String {
        let output = self.try_run(script);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{}: {script}\n{}\n{stdout}\n{stderr}\n{}",
            self.name,
            output.status,
            self.journal()
        );
        stdout.into_owned()
    }

    /// What the service and the manager said about it.
    pub(crate) fn journal(&self) -> String {
        let output = self.try_run("journalctl --no-pager --output=short-precise --lines=60 --unit=heartbeat-xdp");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks until there is an answer.
    pub(crate) fn wait_for<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + BOOT;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "{}: {what} did not come within {BOOT:?}\n{}",
                self.name,
                self.journal()
            );
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its first process dies with it, and everything else with that. Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let deadline = Instant::now() + Duration::from_secs(10);
        while remove_groups(&self.control_group).is_err() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Where the version 2 hierarchy of control groups is mounted: beside version 1, or alone.
fn unified_hierarchy() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = mounts.find(|fields| fields[2] == "cgroup2").expect("no cgroup2 is mounted");
    PathBuf::from(mount[1])
}

/// The only child of a process, once it has one and that is systemd.
fn only_child(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
    (name.trim() == "systemd").then_some(child)
}

/// Control groups are removed one by one, from the leaves up; those with processes that are just ending are refused.
fn remove_groups(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?.filter_map(Result::ok) {
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
