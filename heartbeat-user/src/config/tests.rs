//! One good configuration, and every way to spoil it: each message must name the place and what would be right.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

const GOOD: &str = r#"
[cluster]
name = "demo"
send_key = 1

[[cluster.key]]
id = 1
file = "key1"

[timing]
interval = "100ms"
late_after = 2
lost_after = 6

[[network]]
id = 1
name = "private"
role = "internal"

[[network]]
id = 2
name = "public"
role = "mixed"

[[node]]
id = 1
name = "alpha"
addresses = { private = "10.0.0.1", public = "2001:db8::1" }

[[node]]
id = 2
name = "bravo"
addresses = { private = "10.0.0.2", public = "2001:db8::2" }

[[node]]
id = 3
name = "charlie"
votes = 0
addresses = { private = "10.0.0.3" }

[local]
node = "alpha"
run_dir = "/run/hb-alpha"
state_dir = "/var/lib/hb-alpha"
bpf_dir = "/sys/fs/bpf/hb-alpha"
"#;

/// A directory with a good key file, and the text of a configuration in it.
fn load(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    private_file(&directory.path().join("key1"), &"ab".repeat(32));
    let path = directory.path().join("heartbeat.toml");
    std::fs::write(&path, text).unwrap();
    Config::parse(&path, text, "somewhere.example.org")
}

fn private_file(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The good text with one piece replaced; the piece must be there.
fn spoiled(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "the good configuration has no {old:?}");
    GOOD.replacen(old, new, 1)
}

/// Line of the first occurrence of `piece`, from 1.
fn line_of(text: &str, piece: &str) -> usize {
    text.lines().position(|line| line.contains(piece)).unwrap_or_else(|| panic!("no line has {piece:?}")) + 1
}

#[test]
fn a_good_configuration_is_complete() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.cluster_name, "demo");
    assert_eq!((config.send_key, config.keys.len(), config.keys[0].id), (1, 1, 1));
    assert_eq!(config.keys[0].secret.to_hex(), "ab".repeat(32));
    assert_eq!(config.timing.interval_ns, 100_000_000);
    assert_eq!(config.timing.slack_ns(), 12_500_000);
    assert_eq!(config.timing.late_timeout_ns(), 212_500_000);
    assert_eq!(config.timing.silent_timeout_ns(), 612_500_000);
    assert_eq!(config.timing.grace_ns, 600_000_000);
    assert_eq!(config.timing.hang_timeout_ns, 10_000_000_000);
    assert_eq!(config.local_node().name, "alpha");
    assert_eq!(config.nodes.iter().map(|node| node.votes).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(config.network(2).map(|network| (network.role, network.single_hop)), Some((Role::Mixed, true)));
    assert_eq!(config.local.rt_priority, 60);
    assert_eq!(config.quorum.tie_breaker, 1);
    assert_eq!(config.quorum.two_node, TwoNode::Refuse);
    let peers: Vec<(u16, IpAddr)> = config.peers_on(1).map(|(node, address)| (node.id, address)).collect();
    assert_eq!(peers, [(2, "10.0.0.2".parse().unwrap()), (3, "10.0.0.3".parse().unwrap())]);
    assert_eq!(config.peers_on(2).count(), 1);
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let timing = "[timing]\ninterval = \"100ms\"\nlate_after = 2\nlost_after = 6\n";
    let text = spoiled(timing, "").replace("run_dir = \"/run/hb-alpha\"\n", "").replace("node = \"alpha\"\n", "");
    let text = text.replace("name = \"alpha\"", "name = \"somewhere\"");
    let config = load(&text).unwrap();
    assert_eq!(config.local_node().id, 1, "the host name without its domain names the node");
    assert_eq!(config.timing.interval_ns, 1_200_000_000);
    assert_eq!((config.timing.late_after, config.timing.lost_after), (2, 6));
    assert_eq!(config.timing.late_timeout_ns(), 2_550_000_000);
    assert_eq!(config.timing.silent_timeout_ns(), 7_350_000_000);
    assert_eq!(config.timing.hang_timeout_ns, 60_000_000_000);
    assert_eq!(config.local.run_dir, Path::new("/run/heartbeat"));
    assert_eq!((config.local.sender, config.local.dataplane), (Sender::Auto, Dataplane::Auto));
    assert_eq!(config.metrics.listen, None);
}

#[test]
fn everything_can_be_said() {
    let text = spoiled("send_key = 1", "send_key = 2")
        .replace(
            "[timing]",
            "[[cluster.key]]\nid = 2\nfile = \"key1\"\n\n[timing]\ngrace = \"2s\"\nhang_timeout = \"30s\"",
        )
        .replace(
            "role = \"internal\"",
            "role = \"internal\"\nvlan = 4094\nsingle_hop = false\nmulticast = \"239.1.2.3\"",
        )
        .replace("role = \"mixed\"", "role = \"mixed\"\nmulticast = \"auto\"");
    let text = format!(
        "{text}interfaces = {{ private = \"eth0\" }}\nsender = \"metronome\"\ndataplane = \"generic\"\nrt_priority = 99\n\
         watchdog = \"quorate\"\nlog = \"debug\"\n\
         hooks = {{ on_quorum_lost = \"/bin/true\" }}\n[quorum]\nmode = \"majority\"\ntwo_node = \"tie-breaker\"\n\
         tie_breaker = \"bravo\"\n[metrics]\nlisten = \"127.0.0.1:9343\"\n"
    );
    let config = load(&text).unwrap();
    assert_eq!(config.keys.iter().map(|key| key.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((config.timing.grace_ns, config.timing.hang_timeout_ns), (2_000_000_000, 30_000_000_000));
    let private = config.network(1).unwrap();
    assert_eq!((private.vlan, private.single_hop), (Some(4094), false));
    assert_eq!(private.multicast, Multicast::Group("239.1.2.3".parse().unwrap()));
    assert_eq!(config.network(2).unwrap().multicast, Multicast::Auto);
    assert_eq!(config.local.interfaces.get(&1).map(String::as_str), Some("eth0"));
    assert_eq!((config.local.sender, config.local.dataplane), (Sender::Metronome, Dataplane::Generic));
    assert_eq!((config.local.watchdog, config.local.log), (Watchdog::Quorate, Some(LogLevel::Debug)));
    assert_eq!(config.local.hooks.on_quorum_lost.as_deref(), Some(Path::new("/bin/true")));
    assert_eq!((config.quorum.two_node, config.quorum.tie_breaker), (TwoNode::TieBreaker, 2));
    assert_eq!(config.metrics.listen, Some("127.0.0.1:9343".parse().unwrap()));
}

/// (replaced, by, piece of the line that the message must name, what the message must say).
const SPOILED: &[(&str, &str, &str, &[&str])] = &[
    // Shape.
    ("interval = ", "intervall = ", "intervall", &["[timing] intervall", "unknown key", "`interval`", "`lost_after`"]),
    ("[timing]", "[timings]", "[timings]", &["unknown key `timings`", "`timing`"]),
    ("name = \"bravo\"", "name = \"bravo\"\nvote = 1", "vote = 1", &["[[node]] vote", "unknown key `vote`", "`votes`"]),
    ("send_key = 1", "send_key = \"one\"", "send_key", &["[cluster] send_key", "invalid type"]),
    ("interval = \"100ms\"", "interval = 100", "interval", &["[timing] interval", "invalid type", "string"]),
    ("interval = \"100ms\"", "interval = \"100ms", "interval", &["[timing] interval"]),
    ("lost_after = 6", "lost_after = 6\nlost_after = 7", "lost_after = 7", &["duplicate key"]),
    // [cluster].
    ("name = \"demo\"", "", "[cluster]", &["[cluster] name", "is missing"]),
    ("name = \"demo\"", "name = \"\"", "name = \"\"", &["[cluster] name", "allowed: 1 to 64 bytes"]),
    ("name = \"demo\"", "name = \"de\\nmo\"", "de\\nmo", &["[cluster] name", "not a valid name"]),
    ("send_key = 1", "", "[cluster]", &["[cluster] send_key", "is missing"]),
    ("send_key = 1", "send_key = 2", "send_key", &["[cluster] send_key", "no [[cluster.key]] with id 2"]),
    ("send_key = 1", "send_key = 5", "send_key", &["[cluster] send_key", "5 is out of range", "allowed: 1 to 4"]),
    ("id = 1\nfile", "id = 0\nfile", "id = 0", &["[[cluster.key]] id", "0 is out of range", "allowed: 1 to 4"]),
    ("id = 1\nfile", "file", "[[cluster.key]]", &["[[cluster.key]] id", "is missing"]),
    ("file = \"key1\"", "", "[[cluster.key]]", &["[[cluster.key]] file", "is missing", "keygen"]),
    ("file = \"key1\"", "file = \"key9\"", "key9", &["[[cluster.key]] file", "key9 cannot be read", "keygen"]),
    (
        "[timing]",
        "[[cluster.key]]\nid = 1 # again\nfile = \"key1\"\n[timing]",
        "# again",
        &["[[cluster.key]] id", "key 1 is there twice"],
    ),
    // [timing].
    ("\"100ms\"", "\"0.9ms\"", "interval", &["[timing] interval", "0.9ms is out of range", "allowed: 1ms to 1m"]),
    ("\"100ms\"", "\"61s\"", "interval", &["[timing] interval", "61s is out of range", "allowed: 1ms to 1m"]),
    ("\"100ms\"", "\"100\"", "interval", &["[timing] interval", "has no unit", "1.2s"]),
    ("\"100ms\"", "\"100 parsec\"", "interval", &["[timing] interval", "`parsec` is not a unit"]),
    ("late_after = 2", "late_after = 6", "late_after", &["[timing] late_after", "not less than lost_after = 6"]),
    ("late_after = 2", "late_after = 7", "late_after", &["[timing] late_after", "1 <= late_after < lost_after <= 255"]),
    ("late_after = 2", "late_after = 0", "late_after", &["[timing] late_after", "allowed: 1 to 254"]),
    ("lost_after = 6", "lost_after = 256", "lost_after", &["[timing] lost_after", "allowed: 2 to 255"]),
    ("lost_after = 6", "grace = \"25h\"", "grace", &["[timing] grace", "allowed: 0s to 24h"]),
    ("lost_after = 6", "hang_timeout = \"900ms\"", "hang_timeout", &["[timing] hang_timeout", "allowed: 1s to 24h"]),
    (
        "lost_after = 6",
        "lost_after = 60\nhang_timeout = \"5s\"",
        "hang_",
        &["5s is shorter than the 6.0125s", "silent"],
    ),
    // [[network]].
    (
        "id = 2\nname = \"public\"",
        "id = 1 # again\nname = \"public\"",
        "# again",
        &["1 is already the id", "`private`"],
    ),
    ("id = 2\nname = \"public\"", "id = 9\nname = \"public\"", "id = 9", &["[[network]] id", "allowed: 1 to 8"]),
    ("id = 2\nname = \"public\"", "name = \"public\"", "[[network]]", &["[[network]] id", "is missing"]),
    ("name = \"public\"", "name = \"private\" # again", "# again", &["[[network]] name", "`private` is there twice"]),
    ("name = \"public\"", "name = \"pub lic\"", "pub lic", &["[[network]] name", "allowed: 1 to 63 bytes"]),
    ("name = \"public\"", "", "[[network]]", &["[[network]] name", "is missing"]),
    ("\"mixed\"", "\"both\"", "both", &["[[network]] `public` role", "\"internal\", \"mixed\", \"client\""]),
    ("role = \"mixed\"", "", "[[network]]", &["[[network]] `public` role", "is missing"]),
    ("role = \"mixed\"", "role = \"mixed\"\nvlan = 0", "vlan", &["[[network]] `public` vlan", "allowed: 1 to 4094"]),
    ("role = \"mixed\"", "role = \"mixed\"\nvlan = 4095", "vlan", &["[[network]] `public` vlan", "allowed: 1 to 4094"]),
    (
        "role = \"mixed\"",
        "role = \"mixed\"\nmulticast = \"10.0.0.1\"",
        "multicast",
        &["[[network]] `public` multicast", "10.0.0.1 is not a multicast address", "224.0.0.0/4"],
    ),
    (
        "role = \"mixed\"",
        "role = \"mixed\"\nmulticast = \"on\"",
        "multicast",
        &["\"on\" is neither", "\"off\", \"auto\""],
    ),
    (
        "role = \"mixed\"",
        "role = \"mixed\"\nmulticast = \"239.0.0.1\"",
        "2001:db8::1",
        &["2001:db8::1 and 239.0.0.1, its multicast group, are of two families"],
    ),
    // [[node]].
    ("id = 2\nname = \"bravo\"", "id = 1 # again\nname = \"bravo\"", "# again", &["[[node]] id", "node `alpha`"]),
    ("id = 2\nname = \"bravo\"", "id = 1025\nname = \"bravo\"", "1025", &["[[node]] id", "allowed: 1 to 1024"]),
    ("id = 2\nname = \"bravo\"", "id = 0\nname = \"bravo\"", "id = 0", &["[[node]] id", "allowed: 1 to 1024"]),
    ("id = 2\nname = \"bravo\"", "name = \"bravo\"", "[[node]]", &["[[node]] id", "is missing"]),
    ("name = \"bravo\"", "name = \"alpha\" # again", "# again", &["[[node]] name", "`alpha` is there twice"]),
    ("name = \"bravo\"", "name = \"br/avo\"", "br/avo", &["[[node]] name", "not a valid name"]),
    ("name = \"bravo\"", "", "[[node]]", &["[[node]] name", "is missing"]),
    ("votes = 0", "votes = -1", "votes", &["[[node]] `charlie` votes", "allowed: 0 to 255"]),
    ("\"10.0.0.2\"", "\"10.0.0.1\"", "2001:db8::2", &["10.0.0.1 is already the address of node `alpha`", "`private`"]),
    ("\"2001:db8::2\"", "\"10.0.0.1\"", "public = \"10.0.0.1\"", &["10.0.0.1 is already the address"]),
    ("\"10.0.0.2\"", "\"10.0.0.2/24\"", "/24", &["[[node]] `bravo` addresses.private", "prefix length"]),
    ("\"10.0.0.2\"", "\"bravo.example.org\"", "example", &["[[node]] `bravo` addresses.private", "is not the address"]),
    ("\"10.0.0.2\"", "\"0.0.0.0\"", "0.0.0.0", &["[[node]] `bravo` addresses.private"]),
    ("\"10.0.0.2\"", "\"224.0.0.1\"", "224.0.0.1", &["[[node]] `bravo` addresses.private", "unicast"]),
    ("\"2001:db8::2\"", "\"fe80::2\"", "fe80::2", &["[[node]] `bravo` addresses.public", "not link-local"]),
    ("\"10.0.0.2\"", "\"fd00::2\"", "fd00::2", &["[[node]] `bravo` addresses.private", "two families"]),
    (
        "private = \"10.0.0.2\"",
        "privat = \"10.0.0.2\"",
        "privat =",
        &["no network `privat`", "allowed: private, public"],
    ),
    ("addresses = { private = \"10.0.0.3\" }", "addresses = {}", "[[node]]", &["no address on any internal or mixed"]),
    ("addresses = { private = \"10.0.0.3\" }", "", "[[node]]", &["[[node]] `charlie` addresses", "no address on any"]),
    (
        "private = \"10.0.0.2\", ",
        "",
        "[[node]]",
        &["[[node]] `charlie` addresses", "shares no internal or mixed network with `bravo`"],
    ),
    // [local].
    ("node = \"alpha\"", "node = \"zulu\"", "zulu", &["[local] node", "no node `zulu`", "alpha, bravo, charlie"]),
    ("node = \"alpha\"", "", "[local]", &["[local] node", "`somewhere.example.org`", "alpha, bravo, charlie"]),
    ("node = \"alpha\"", "node = \"alpha\"\nsender = \"fast\"", "fast", &["[local] sender", "\"realtime\""]),
    ("node = \"alpha\"", "node = \"alpha\"\ndataplane = \"xdp\"", "xdp", &["[local] dataplane", "\"native\""]),
    ("node = \"alpha\"", "node = \"alpha\"\nrt_priority = 0", "rt_", &["[local] rt_priority", "allowed: 1 to 99"]),
    ("node = \"alpha\"", "node = \"alpha\"\nwatchdog = \"off\"", "off", &["[local] watchdog", "\"quorate\""]),
    ("\"/run/hb-alpha\"", "\"run/hb-alpha\"", "run_dir", &["[local] run_dir", "not an absolute path"]),
    (
        "\"/run/hb-alpha\"",
        "\"/run/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"",
        "run_dir",
        &["[local] run_dir", "allowed: 107"],
    ),
    (
        "node = \"alpha\"",
        "node = \"alpha\"\ninterfaces = { privat = \"eth0\" }",
        "interfaces",
        &["[local] interfaces.privat", "no network `privat`", "allowed: private, public"],
    ),
    (
        "node = \"alpha\"",
        "node = \"charlie\"\ninterfaces = { public = \"eth0\" }",
        "interfaces",
        &["[local] interfaces.public", "node `charlie` has no address on network `public`"],
    ),
    (
        "node = \"alpha\"",
        "node = \"alpha\"\ninterfaces = { private = \"an-interface-name\" }",
        "interfaces",
        &["[local] interfaces.private", "allowed: 1 to 15 characters"],
    ),
    (
        "node = \"alpha\"",
        "node = \"alpha\"\nhooks = { on_view = \"x\" }",
        "hooks",
        &["[local] hooks.on_view", "absolute"],
    ),
    // [quorum] and [metrics].
    ("[local]", "[quorum]\nmode = \"consensus\"\n[local]", "mode", &["[quorum] mode", "\"majority\""]),
    ("[local]", "[quorum]\ntwo_node = \"yes\"\n[local]", "two_node", &["[quorum] two_node", "\"tie-breaker\""]),
    ("[local]", "[quorum]\ntie_breaker = \"charlie\"\n[local]", "tie_", &["[quorum] tie_breaker", "`charlie`", "vote"]),
    (
        "[local]",
        "[quorum]\nwitness = \"/mnt\"\nrecord_lease = \"4s\"\n[local]",
        "record_lease",
        &["[quorum] record_lease", "5s to 10m"],
    ),
    (
        "[local]",
        "[quorum]\nwitness = \"/mnt\"\ntie_breaker = \"bravo\"\n[local]",
        "tie_breaker",
        &["[quorum] tie_breaker", "witness"],
    ),
    ("[local]", "[local]\nlog = \"loud\"", "log", &["[local] log", "\"trace\""]),
    ("[local]", "[quorum]\nwitness = \"here\"\n[local]", "witness", &["[quorum] witness", "absolute path"]),
    ("[local]", "[metrics]\nlisten = \"9343\"\n[local]", "listen", &["[metrics] listen", "127.0.0.1:9343"]),
];

#[test]
fn every_spoiled_configuration_is_refused_with_its_place() {
    for (old, new, piece, expected) in SPOILED {
        let text = spoiled(old, new);
        let error = load(&text).map(|_| ()).expect_err(new);
        let message = error.to_string();
        for words in *expected {
            assert!(message.contains(words), "{new:?}: {words:?} is not in\n{message}");
        }
        let lines: Vec<Option<usize>> =
            (1..).zip(text.lines()).filter(|(_, line)| line.contains(piece)).map(|(number, _)| Some(number)).collect();
        let named: Vec<Option<usize>> = error.problems.iter().map(|problem| problem.line).collect();
        assert!(named.iter().any(|line| lines.contains(line)), "{new:?}: lines {lines:?} expected\n{message}");
        assert!(message.contains("heartbeat.toml:"), "{message}");
    }
}

#[test]
fn missing_sections_are_named() {
    let error = load("").unwrap_err();
    let message = error.to_string();
    for words in ["[cluster]: is missing", "[[network]]: is missing", "[[node]]: is missing"] {
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn several_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = spoiled("\"100ms\"", "\"5h\"").replace("id = 2\nname = \"bravo\"", "id = 5000\nname = \"bravo\"");
    let text = text.replace("node = \"alpha\"", "node = \"zulu\"");
    let error = load(&text).unwrap_err();
    let lines: Vec<Option<usize>> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(
        lines,
        [line_of(&text, "5h"), line_of(&text, "5000"), line_of(&text, "zulu")].map(Some).to_vec(),
        "{error}"
    );
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn too_many_of_anything_is_refused() {
    let mut text = GOOD.to_owned();
    for id in 4..=1025 {
        let (high, low) = (id / 256, id % 256);
        text.push_str(&format!(
            "[[node]]\nid = {id}\nname = \"n{id}\"\naddresses = {{ private = \"10.9.{high}.{low}\" }}\n"
        ));
    }
    let error = load(&text).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    assert!(error.to_string().contains("1025 is out of range"), "{error}");
    let config = load(&text[..text.rfind("[[node]]").unwrap()]).unwrap();
    assert_eq!(config.nodes.len(), 1024);
}

#[test]
fn key_files_must_be_private_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.toml");
    std::fs::write(&path, GOOD).unwrap();
    let key = directory.path().join("key1");
    private_file(&key, "ab");
    let message = Config::load(&path).unwrap_err().to_string();
    let line = line_of(GOOD, "file = ");
    assert!(message.contains(&format!("heartbeat.toml:{line}: [[cluster.key]] file")), "{message}");
    assert!(message.contains("64 hexadecimal digits"), "{message}");
    private_file(&key, &"ab".repeat(32));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(message.contains("has mode 0644") && message.contains("chmod 600"), "{message}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    Config::load(&path).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let absent = directory.path().join("absent.toml");
    let message = Config::load(&absent).unwrap_err().to_string();
    assert!(message.contains("absent.toml: cannot be read"), "{message}");
    let message = Config::load(directory.path()).unwrap_err().to_string();
    assert!(message.contains("not a regular file"), "{message}");
}

#[test]
fn the_digest_covers_what_nodes_must_agree_on() {
    let digest = load(GOOD).unwrap().digest();
    let equal = [
        ("node = \"alpha\"", "node = \"bravo\"\nrt_priority = 70"),
        ("\"100ms\"", "\"0.1s\""),
        ("[timing]", "# a comment\n[timing]"),
        ("late_after = 2\n", ""),
        ("bpf_dir = ", "dataplane = \"socket\"\nbpf_dir = "),
    ];
    for (old, new) in equal {
        assert_eq!(load(&spoiled(old, new)).unwrap().digest(), digest, "{new:?} must not matter");
    }
    let different = [
        ("\"demo\"", "\"demo2\""),
        ("\"100ms\"", "\"101ms\""),
        ("late_after = 2", "late_after = 3"),
        ("lost_after = 6", "lost_after = 7"),
        ("lost_after = 6", "lost_after = 6\ngrace = \"1s\""),
        ("lost_after = 6", "lost_after = 6\nhang_timeout = \"11s\""),
        ("role = \"mixed\"", "role = \"internal\""),
        ("role = \"mixed\"", "role = \"mixed\"\nvlan = 7"),
        ("role = \"mixed\"", "role = \"mixed\"\nsingle_hop = false"),
        ("role = \"mixed\"", "role = \"mixed\"\nmulticast = \"auto\""),
        ("votes = 0", "votes = 1"),
        ("\"10.0.0.3\"", "\"10.0.0.4\""),
        ("\"charlie\"", "\"carol\""),
        ("id = 3", "id = 4"),
        ("[local]", "[quorum]\ntwo_node = \"tie-breaker\"\n[local]"),
        ("[local]", "[quorum]\ntie_breaker = \"bravo\"\n[local]"),
        ("[local]", "[quorum]\nwitness = \"/mnt\"\n[local]"),
    ];
    let mut seen = vec![digest];
    for (old, new) in different {
        let changed = load(&spoiled(old, new)).unwrap().digest();
        assert!(!seen.contains(&changed), "{new:?} must matter");
        seen.push(changed);
    }
}

#[test]
fn with_a_witness_the_grace_lasts_twice_as_long_as_its_record() {
    let with = |timing: &str, quorum: &str| {
        let text = spoiled("[local]", &format!("[quorum]\nwitness = \"/mnt\"\n{quorum}\n[local]"));
        load(&text.replace("[timing]", &format!("[timing]\n{timing}")))
    };
    let config = with("", "").unwrap();
    assert_eq!((config.quorum.record_lease_ns, config.timing.grace_ns), (5_000_000_000, 10_000_000_000));
    let longer = with("", "record_lease = \"30s\"").unwrap();
    assert_eq!((longer.quorum.record_lease_ns, longer.timing.grace_ns), (30_000_000_000, 60_000_000_000));
    assert_ne!(config.digest(), longer.digest());
    assert_eq!(with("grace = \"70s\"", "record_lease = \"30s\"").unwrap().timing.grace_ns, 70_000_000_000);
    let error = with("grace = \"59s\"", "record_lease = \"30s\"").unwrap_err().to_string();
    assert!(error.contains("[timing] grace") && error.contains("60s to 24h") || error.contains("1m to 24h"), "{error}");
}

#[test]
fn the_order_of_tables_does_not_matter_to_the_digest() {
    let alpha =
        "[[node]]\nid = 1\nname = \"alpha\"\naddresses = { private = \"10.0.0.1\", public = \"2001:db8::1\" }\n";
    let moved = spoiled(alpha, "").replace("[local]", &format!("{alpha}\n[local]"));
    let moved = load(&moved).unwrap();
    assert_eq!(moved.digest(), load(GOOD).unwrap().digest());
}

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_documentation_explains_every_key() {
    // Whatever a table accepts is what it names when it is asked for something else.
    for (table, wrong) in [
        ("[cluster]", "zzz = 1"),
        ("[[cluster.key]]", "zzz = 1"),
        ("[timing]", "zzz = 1"),
        ("[[network]]", "zzz = 1"),
        ("[[node]]", "zzz = 1"),
        ("[quorum]", "zzz = 1"),
        ("[local]", "zzz = 1"),
        ("[local.hooks]", "zzz = 1"),
        ("[metrics]", "zzz = 1"),
    ] {
        let error = load(&format!("{table}\n{wrong}\n")).unwrap_err();
        let problem = &error.problems[0];
        assert_eq!((problem.line, problem.message.as_str()), (Some(2), "unknown key `zzz`"), "{error}");
        let allowed = problem.allowed.as_ref().unwrap();
        assert!(allowed.contains('`'), "{error}");
        for key in allowed.split('`').skip(1).step_by(2) {
            assert!(DOCUMENT.contains(&format!("`{key}`")), "{table} {key} is not in docs/configuration.md");
        }
    }
}

#[test]
fn the_examples_of_the_documentation_and_of_the_help_are_correct() {
    let example = |text: &str, indent: &str| -> String {
        text.lines()
            .skip_while(|line| *line != format!("{indent}[cluster]"))
            .take_while(|line| line.is_empty() || line.starts_with(indent))
            .map(|line| {
                format!(
                    "{}\n",
                    line.trim().replace("/etc/heartbeat-xdp/key1", "key1").replace("/etc/heartbeat-xdp/key", "key1")
                )
            })
            .collect()
    };
    let documented = load(&example(DOCUMENT, "    ")).unwrap();
    assert_eq!((documented.nodes.len(), documented.networks.len()), (3, 2));
    let helped = format!("{}[local]\nnode = \"alpha\"\n", example(crate::cli::CHECK_CONFIG_HELP, "  "));
    assert_eq!(load(&helped).unwrap().nodes.len(), 2);
}
