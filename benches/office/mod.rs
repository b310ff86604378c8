//! The tenant whose phones the benches are.

use std::sync::Arc;
use strowger::base::ids::TenantId;
use strowger::directory::plan::Plan;
use strowger::directory::{Extension, Secret, Tenant};
use strowger::proto::sip::digest::{ha1_md5, ha1_sha256};

pub const REALM: &str = "strowger";
pub const PASSWORD: &str = "correct horse";

/// A tenant with these extensions, each with that password.
pub fn tenant(numbers: impl IntoIterator<Item = u32>) -> Tenant {
    let extension = |number: u32| {
        let number: Box<str> = number.to_string().into();
        let secret = Secret { md5: ha1_md5(&number, REALM, PASSWORD), sha256: ha1_sha256(&number, REALM, PASSWORD) };
        let name = format!("Extension {number}").into();
        let extension = Extension { number: number.clone(), name, email: "".into(), allow_external: true, secret };
        (number, Arc::new(extension))
    };
    Tenant {
        id: TenantId(1),
        name: "default".into(),
        domains: vec![],
        realm: REALM.into(),
        time_zone: "UTC".into(),
        extensions: numbers.into_iter().map(extension).collect(),
        plan: Plan::sample(),
    }
}
