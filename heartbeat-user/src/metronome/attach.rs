//! The programs on the devices, by links that are pinned: they outlive the controller, and another one replaces them without
//! missing a lap.

use std::path::Path;

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions},
};

/// Attaches a program to what leaves by a device, in the place of the one that is pinned at `pin`, where there is one.
pub(super) fn attach(program: &mut SchedClassifier, device: &str, pin: &Path) -> Result<(), String> {
    if pin.exists() {
        if replace(program, pin) {
            return Ok(());
        }
        std::fs::remove_file(pin).map_err(|error| format!("the pin {} cannot be removed: {error}", pin.display()))?;
    }
    let text = |error: &dyn std::error::Error| crate::dataplane::object::chain(error);
    let id = program
        .attach_with_options(device, TcAttachType::Egress, TcAttachOptions::TcxOrder(LinkOrder::default()))
        .map_err(|error| format!("attaching to {device}: {}", text(&error)))?;
    let link = program.take_link(id).map_err(|error| text(&error))?;
    let link = FdLink::try_from(link).map_err(|error| format!("attaching to {device}: {}", text(&error)))?;
    link.pin(pin).map(drop).map_err(|error| format!("it cannot be pinned at {}: {}", pin.display(), text(&error)))
}

fn replace(program: &mut SchedClassifier, pin: &Path) -> bool {
    let Ok(pinned) = PinnedLink::from_pin(pin) else { return false };
    let Ok(link) = SchedClassifierLink::try_from(FdLink::from(pinned)) else { return false };
    let Ok(id) = program.attach_to_link(link) else { return false };
    // The pin keeps the attachment; the descriptor is not needed.
    program.take_link(id).is_ok()
}
