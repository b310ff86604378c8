//! Features: one file each, a state machine over the legs of a call.

pub mod dial;
mod missing;

use crate::directory::Tenant;
use crate::directory::plan::Place;
use crate::engine::app::App;

/// The app a dialled number begins with. Explicit numbers of the plan come first, then extensions that exist, then the
/// plan's patterns.
pub fn start(tenant: &Tenant, dialled: &str) -> Box<dyn App> {
    let rule = tenant.plan.route(dialled);
    let explicit = rule.filter(|rule| *rule.pattern == *dialled).map(|rule| rule.place);
    let extension = tenant.extension(dialled).map(|_| Place::Extension);
    match explicit.or(extension).or(rule.map(|rule| rule.place)) {
        Some(Place::Extension) | None => Box::new(dial::Dial::new(rule.map(|rule| rule.pattern.clone()))),
        Some(place) => Box::new(missing::Missing { place }),
    }
}
