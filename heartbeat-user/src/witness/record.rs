//! One epoch as text: lines that people can read, and a digest that tells whether they are whole.

use sha2::{Digest as _, Sha256};

use super::Holder;

const TITLE: &str = "heartbeat witness 1";

/// Longest record that is read: whole ones have about 220 bytes.
pub(super) const LONGEST: u64 = 4096;

/// The text of an epoch.
pub(super) fn compose(cluster: &str, epoch: u64, holder: &Holder) -> String {
    let Holder { node, incarnation, view } = holder;
    let lines =
        format!("{TITLE}\ncluster {cluster}\nepoch {epoch}\nholder {node}\nincarnation {incarnation}\nview {view}\n");
    let digest = digest(&lines);
    format!("{lines}sha256 {digest}\n")
}

/// Who holds the epoch that this is the text of.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn parse(text: &[u8], cluster: &str, epoch: u64) -> Result<Holder, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
    let Some((lines, last)) = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n')) else {
        return Err("it is not whole".to_owned());
    };
    let lines = format!("{lines}\n");
    if last.strip_prefix("sha256 ") != Some(digest(&lines).as_str()) {
        return Err("its digest is wrong, or missing".to_owned());
    }
    let mut lines = lines.lines();
    if lines.next() != Some(TITLE) {
        return Err("it is of another version".to_owned());
    }
    let mut value = |name: &str| {
        let line = lines.next().and_then(|line| line.strip_prefix(name)).and_then(|line| line.strip_prefix(' '));
        line.ok_or_else(|| format!("it has no {name} where that should be"))
    };
    let number = |name: &str, text: &str| text.parse::<u64>().map_err(|_| format!("its {name} is no number"));
    if value("cluster")? != cluster {
        return Err("it belongs to another cluster than its name says".to_owned());
    }
    if number("epoch", value("epoch")?)? != epoch {
        return Err("it is of another epoch than its name says".to_owned());
    }
    let node = number("holder", value("holder")?)?;
    let node = u16::try_from(node).map_err(|_| "its holder is no node".to_owned())?;
    let incarnation = number("incarnation", value("incarnation")?)?;
    let view = number("view", value("view")?)?;
    if lines.next().is_some() {
        return Err("it has more lines than it should".to_owned());
    }
    Ok(Holder { node, incarnation, view })
}

fn digest(lines: &str) -> String {
    hex::encode(Sha256::digest(lines.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: Holder = Holder { node: 3, incarnation: 1_700_000_000_000_000_000, view: 1 << 32 | 7 };
    const CLUSTER: &str = "2a97516c354b6884";

    #[test]
    fn what_was_composed_is_parsed() {
        let text = compose(CLUSTER, 12, &HOLDER);
        assert_eq!(parse(text.as_bytes(), CLUSTER, 12), Ok(HOLDER));
        assert!((text.len() as u64) < LONGEST);
    }

    #[test]
    fn no_part_and_no_changed_byte_passes_for_whole() {
        let text = compose(CLUSTER, 12, &HOLDER).into_bytes();
        for length in 0..text.len() {
            assert!(parse(&text[..length], CLUSTER, 12).is_err(), "cut to {length}");
        }
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[position] ^= 1 << bit;
                assert!(parse(&changed, CLUSTER, 12).is_err(), "bit {bit} of byte {position}");
            }
        }
        let mut longer = text;
        longer.push(b'\n');
        assert!(parse(&longer, CLUSTER, 12).is_err());
    }

    #[test]
    fn a_record_under_another_name_is_told() {
        let text = compose(CLUSTER, 12, &HOLDER);
        assert!(parse(text.as_bytes(), CLUSTER, 13).is_err_and(|why| why.contains("epoch")));
        assert!(parse(text.as_bytes(), "0000000000000000", 12).is_err_and(|why| why.contains("cluster")));
    }
}
