//! The metronome's devices: a macvlan in whose queueing discipline the packet waits, on one end of a veth pair that leads
//! nowhere.
//!
//! Their MTU is below what IPv6 needs (RFC 8200 section 5), so that the kernel has no IPv6 on them and sends nothing of its
//! own through them; and it is just what the packet needs, or the kernel would complain that the bucket is below the MTU.

use std::{io, path::Path};

use heartbeat_common::metronome::ETHERNET_LENGTH;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoMacVlan, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode},
    tc::{TcAttribute, TcHandle, TcMessage, TcOption},
};
use sha2::{Digest as _, Sha256};

use super::{pace::Pace, requests::Requests};

/// linux/pkt_sched.h.
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_BURST: u16 = 6;
const LINKLAYER_ETHERNET: u8 = 1;

/// Names of the devices: of this controller alone, because `bpf_dir` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The macvlan.
    pub upper: String,
    /// The end of the veth pair that it is on.
    pub lower: String,
    /// The other end.
    pub end: String,
}

/// A device could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct LayoutError {
    step: &'static str,
    source: io::Error,
}

impl Names {
    /// Of the controller with this `bpf_dir`.
    #[must_use]
    pub fn of(bpf_dir: &Path) -> Self {
        let digest = Sha256::digest(bpf_dir.as_os_str().as_encoded_bytes());
        // 11 characters and one more: the kernel takes 15.
        let name = |last: char| format!("hbm{}{last}", hex::encode(&digest[..4]));
        Self { upper: name('u'), lower: name('l'), end: name('e') }
    }

    /// Index of the macvlan, where it is there.
    #[must_use]
    pub fn upper_index(&self) -> Option<u32> {
        Requests::open().and_then(|requests| requests.link_named(&self.upper)).ok().map(|link| link.index)
    }

    /// Makes the devices, up; returns the index of the macvlan.
    ///
    /// # Errors
    /// Which step failed; what was made before it is gone again.
    pub fn build(&self, pace: &Pace) -> Result<u32, LayoutError> {
        let built = self.try_build(pace);
        if built.is_err() {
            // What cannot be removed now is refused, and told, at the next start.
            let _removed = self.remove();
        }
        built
    }

    fn try_build(&self, pace: &Pace) -> Result<u32, LayoutError> {
        let step = |step| move |source| LayoutError { step, source };
        let requests = Requests::open().map_err(step("opening a routing socket"))?;
        let mtu = pace.length - ETHERNET_LENGTH;
        let mut pair = device(&self.lower, mtu);
        let peer = InfoData::Veth(InfoVeth::Peer(device(&self.end, mtu)));
        pair.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(peer)]));
        requests
            .change(RouteNetlinkMessage::NewLink(pair), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(step("making a veth pair"))?;
        let lower = requests.link_named(&self.lower).map_err(step("finding the veth pair"))?;
        let end = requests.link_named(&self.end).map_err(step("finding the veth pair"))?;
        for index in [end.index, lower.index] {
            requests.change(RouteNetlinkMessage::SetLink(up(index)), 0).map_err(step("setting the veth pair up"))?;
        }
        let mut upper = device(&self.upper, mtu);
        let mode = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Private)]);
        upper.attributes.push(LinkAttribute::Link(lower.index));
        upper.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(mode)]));
        requests
            .change(RouteNetlinkMessage::NewLink(upper), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(step("making a macvlan"))?;
        let upper = requests.link_named(&self.upper).map_err(step("finding the macvlan"))?;
        requests.change(RouteNetlinkMessage::SetLink(up(upper.index)), 0).map_err(step("setting the macvlan up"))?;
        requests
            .change(
                RouteNetlinkMessage::NewQueueDiscipline(token_bucket(upper.index, pace)),
                NLM_F_CREATE | NLM_F_REPLACE,
            )
            .map_err(step("setting the queueing discipline tbf"))?;
        Ok(upper.index)
    }

    /// Removes the devices, and the packet with them. None there is no error.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&self) -> io::Result<()> {
        let requests = Requests::open()?;
        // The macvlan goes with its lower device, and one end of a pair with the other.
        for name in [&self.lower, &self.upper] {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::IfName(name.clone()));
            match requests.change(RouteNetlinkMessage::DelLink(message), 0) {
                Err(error) if error.raw_os_error() != Some(libc::ENODEV) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A device that does not exist yet. One end of a pair cannot be set up while the other is not there, so all are set up
/// later.
fn device(name: &str, mtu: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Noarp;
    message.header.change_mask = LinkFlags::Noarp;
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    message
}

fn up(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

/// `tc qdisc replace dev ... root tbf rate ... burst ... limit ...`.
fn token_bucket(ifindex: u32, pace: &Pace) -> TcMessage {
    // struct tc_tbf_qopt: two struct tc_ratespec of 12 bytes, then limit, buffer and mtu. The bucket is in its own attribute.
    let mut parameters = [0; 36];
    parameters[1] = LINKLAYER_ETHERNET;
    parameters[8..12].copy_from_slice(&pace.rate.to_ne_bytes());
    // The packet alone waits here.
    parameters[24..28].copy_from_slice(&(2 * pace.length).to_ne_bytes());
    let mut message = TcMessage::default();
    message.header.index = ifindex.cast_signed();
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind("tbf".to_owned()));
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Other(DefaultNla::new(TCA_TBF_PARMS, parameters.to_vec())),
        TcOption::Other(DefaultNla::new(TCA_TBF_BURST, pace.burst.to_ne_bytes().to_vec())),
    ]));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let names = Names::of(Path::new("/sys/fs/bpf/heartbeat"));
        assert!([&names.upper, &names.lower, &names.end].iter().all(|name| name.len() < 16));
        assert_ne!(names, Names::of(Path::new("/sys/fs/bpf/other")));
        assert_ne!(names.upper, names.lower);
    }
}
