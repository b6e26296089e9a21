use super::*;

const KEY: &str = "abababababababababababababababababababababababababababababababab";

/// A checked configuration of one network with a local address, and extra lines for `[[network]]` and `[local]`.
fn config(address: &str, network: &str, local: &str) -> Config {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[cluster]\nname = \"demo\"\nsend_key = 1\nkey = [{{ id = 1, file = \"key\" }}]\n\
         [[network]]\nid = 1\nname = \"private\"\nrole = \"internal\"\n{network}\n\
         [[node]]\nid = 1\nname = \"alpha\"\naddresses = {{ private = \"{address}\" }}\n\
         [local]\nnode = \"alpha\"\n{local}\n"
    );
    Config::parse(&directory.path().join("heartbeat.toml"), &text, "alpha").unwrap()
}

fn inventory() -> Inventory {
    Inventory {
        indexes: [("eth0", 2), ("eth0.7", 3), ("br0", 4)].map(|(name, index)| (name.to_owned(), index)).into(),
        addresses: [("10.0.0.1", "eth0"), ("10.0.7.1", "eth0.7"), ("10.0.9.1", "br0")]
            .map(|(address, name)| (address.parse().unwrap(), name.to_owned()))
            .into(),
        vlans: vlan_table(
            "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\neth0.7 | 7 | eth0\n",
        ),
    }
}

/// Names of (carrier, attach), or the problem as text.
fn resolved(config: &Config) -> Result<(String, String), String> {
    let mut problems = Vec::new();
    let interfaces = resolve(config, &inventory(), &mut problems);
    match interfaces.into_iter().next() {
        Some(interface) => Ok((interface.carrier.name, interface.attach.name)),
        None => Err(ConfigError::new(&config.file, problems).to_string()),
    }
}

#[test]
fn the_interface_is_found_by_its_address() {
    assert_eq!(resolved(&config("10.0.0.1", "", "")), Ok(("eth0".into(), "eth0".into())));
}

#[test]
fn a_vlan_is_received_on_the_parent() {
    assert_eq!(resolved(&config("10.0.7.1", "vlan = 7", "")), Ok(("eth0.7".into(), "eth0".into())));
    let named = config("10.0.7.1", "vlan = 7", "interfaces = { private = \"eth0\" }");
    assert_eq!(resolved(&named), Ok(("eth0.7".into(), "eth0".into())));
    let named = config("10.0.7.1", "vlan = 7", "interfaces = { private = \"eth0.7\" }");
    assert_eq!(resolved(&named), Ok(("eth0.7".into(), "eth0".into())));
}

#[test]
fn a_port_of_a_bridge_can_be_named() {
    let config = config("10.0.9.1", "", "interfaces = { private = \"eth0\" }");
    assert_eq!(resolved(&config), Ok(("br0".into(), "eth0".into())));
}

#[test]
fn what_does_not_fit_is_named_with_its_line() {
    for (address, network, local, expected) in [
        (
            "10.0.0.1",
            "",
            "interfaces = { private = \"eth9\" }",
            &[":16: [local] interfaces.private", "no interface `eth9`", "br0, eth0, eth0.7"][..],
        ),
        (
            "10.0.0.9",
            "",
            "",
            &[":13: [[node]] `alpha` addresses.private", "no interface here has the address 10.0.0.9"],
        ),
        ("10.0.7.1", "vlan = 8", "", &["`eth0.7` has VLAN tag 7, but the network has vlan = 8"]),
        ("10.0.0.1", "vlan = 8", "", &[":7: [local] interfaces.private", "10.0.0.1 is on `eth0`, not a VLAN device"]),
    ] {
        let message = resolved(&config(address, network, local)).unwrap_err();
        for words in expected {
            assert!(message.contains(words), "{words:?} is not in\n{message}");
        }
    }
}

#[test]
fn this_machine_has_a_loopback_interface() {
    let config = config("127.0.0.1", "", "dataplane = \"socket\"\nbpf_dir = \"/proc\"");
    let machine = check_machine(&config).expect("the socket dataplane needs no BPF file system");
    assert_eq!(machine.interfaces.len(), 1);
    assert_eq!(machine.interfaces[0].carrier.name, "lo");
    assert!(machine.interfaces[0].carrier.index > 0);
}

#[test]
fn a_bpf_directory_elsewhere_is_refused_with_the_remedy() {
    for directory in ["/proc", "/tmp/not/yet/there"] {
        let config = config("127.0.0.1", "", &format!("bpf_dir = \"{directory}\""));
        let message = check_machine(&config).unwrap_err().to_string();
        for words in [":16: [local] bpf_dir", directory, "not on a BPF file system", "mount -t bpf", "nsenter --net="] {
            assert!(message.contains(words), "{words:?} is not in\n{message}");
        }
    }
}

#[test]
fn everything_that_is_missing_is_reported_at_once() {
    let config = config("192.0.2.77", "", "bpf_dir = \"/proc\"");
    assert_eq!(check_machine(&config).unwrap_err().problems.len(), 2);
}
