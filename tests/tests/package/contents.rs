//! What is in the package, without installing it.

use std::{fs, path::Path, process::Command};

use clap::CommandFactory as _;
use heartbeat_user::cli::Cli;

use crate::deb;

/// Files of Debian's package `heartbeat` (3.0.6-12), which is Linux-HA's, that carry its name; below the folders everything is.
const LINUX_HA: [&str; 12] = [
    "./etc/ha.d/",
    "./etc/init.d/heartbeat",
    "./etc/logcheck/ignore.d.server/heartbeat",
    "./etc/logrotate.d/heartbeat",
    "./lib/systemd/system/heartbeat.service",
    "./usr/lib/systemd/system/heartbeat.service",
    "./usr/lib/heartbeat/",
    "./usr/lib/tmpfiles.d/heartbeat.conf",
    "./usr/libexec/heartbeat/",
    "./usr/share/heartbeat/",
    "./usr/share/man/man8/heartbeat.8",
    "./var/lib/heartbeat/",
];

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The package unpacked, and the names of its files.
fn unpacked(folder: &Path) -> Vec<String> {
    let deb = deb::make(folder, 1);
    output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(folder.join("root")));
    let listed = output(Command::new("dpkg-deb").arg("-c").arg(&deb));
    listed.lines().map(|line| line.split_whitespace().nth(5).unwrap().to_owned()).collect()
}

#[test]
fn the_package_has_everything_and_shares_no_path_with_linux_ha() {
    let folder = tempfile::tempdir().unwrap();
    let files = unpacked(folder.path());
    let root = folder.path().join("root");
    for theirs in LINUX_HA {
        let shared: Vec<&String> = files.iter().filter(|file| file.starts_with(theirs)).collect();
        assert!(shared.is_empty(), "{shared:?}");
    }
    for file in [
        "usr/bin/heartbeat",
        "usr/lib/systemd/system/heartbeat-xdp.service",
        "etc/heartbeat-xdp/heartbeat.toml.example",
        "usr/share/heartbeat-xdp/wireshark/heartbeat.lua",
        "usr/share/heartbeat-xdp/grafana/heartbeat.json",
        "usr/share/heartbeat-xdp/prometheus/heartbeat.rules.yml",
        "usr/share/doc/heartbeat-xdp/quickstart.md",
        "usr/share/bash-completion/completions/heartbeat",
        "usr/share/zsh/vendor-completions/_heartbeat",
        "usr/share/fish/vendor_completions.d/heartbeat.fish",
    ] {
        assert!(root.join(file).is_file(), "no {file}");
    }
    has_a_page_for_every_command(&root);
    completes(&root);
    example_is_correct(&root);
}

fn has_a_page_for_every_command(root: &Path) {
    let pages = root.join("usr/share/man/man1");
    let mut commands = 0;
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let page = pages.join(format!("heartbeat-{}.1", command.get_name()));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".SH NAME") && text.contains(".SH OPTIONS"), "{}", page.display());
        commands += 1;
    }
    assert!(commands > 8, "{commands}");
    let main = fs::read_to_string(pages.join("heartbeat.1")).unwrap();
    assert!(main.contains(".SH FILES") && main.contains("heartbeat\\-check\\-config"), "{main}");
}

/// bash takes the file, and completes with it.
fn completes(root: &Path) {
    let file = root.join("usr/share/bash-completion/completions/heartbeat");
    let script = format!(
        "source {} && COMP_WORDS=(heartbeat che) && COMP_CWORD=1 && _heartbeat heartbeat che heartbeat && echo ${{COMPREPLY[@]}}",
        file.display()
    );
    assert_eq!(output(Command::new("bash").args(["-c", &script])).trim(), "check-config");
}

/// With a key where it names one, it passes the check of the program that it comes with.
fn example_is_correct(root: &Path) {
    let program = root.join("usr/bin/heartbeat");
    let (key, config) = (root.join("key"), root.join("heartbeat.toml"));
    output(Command::new(&program).args(["keygen", "--out"]).arg(&key));
    let example = fs::read_to_string(root.join("etc/heartbeat-xdp/heartbeat.toml.example")).unwrap();
    let named = "/etc/heartbeat-xdp/key\"";
    assert!(example.contains(named));
    let text = example.replace(named, &format!("{}\"", key.display())).replace("# node = ", "node = ");
    fs::write(&config, text).unwrap();
    let said = output(Command::new(&program).arg("check-config").arg(&config));
    assert!(said.contains("is correct"), "{said}");
    // What is commented out is correct as well.
    let all: String = fs::read_to_string(&config)
        .unwrap()
        .lines()
        .map(|line| {
            let code = line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || rest.contains(" = "));
            format!("{}\n", code.unwrap_or(line))
        })
        .collect();
    fs::write(&config, all).unwrap();
    let said = output(Command::new(&program).arg("check-config").arg(&config));
    assert!(said.contains("127.0.0.1:9343"), "{said}");
}
