//! What administrators do.

use super::*;
use crate::directory::Secret;
use crate::store::error::StoreError;
use crate::store::extensions::ExtensionChange;
use crate::store::secret::{KEY_FILE, SealKey, digest_secret, typeable_password};
use crate::store::tenants::{NewTenant, TenantChange};
use std::os::unix::fs::PermissionsExt;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn new(number: &str, name: &str, password: &str) -> NewExtension {
    NewExtension {
        number: number.into(),
        name: name.into(),
        email: "a@example.com".into(),
        password: password.into(),
        allow_external: false,
    }
}

fn other_tenant(store: &Store) -> TenantId {
    let tenant = NewTenant {
        name: "acme".into(),
        domains: vec!["PBX.Acme.example".into()],
        realm: "acme".into(),
        time_zone: "Europe/Berlin".into(),
    };
    block_on(store.add_tenant(&tenant)).unwrap()
}

#[test]
fn a_first_start_makes_files_only_the_owner_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("var/data");
    let store = open(&data);
    assert_eq!(mode(&data), 0o700);
    block_on(async {
        // The write-ahead log is there as long as a connection is that has read.
        let mut reader = store.pool().acquire().await.unwrap();
        sqlx::query("SELECT count(*) FROM tenants").execute(&mut *reader).await.unwrap();
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *reader).await.unwrap();
        assert_eq!(journal, "wal");
        for file in ["strowger.db", "strowger.db-wal", KEY_FILE] {
            assert_eq!(mode(&data.join(file)), 0o600, "{file}");
        }
    });
}

#[test]
fn a_key_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let key = dir.path().join(KEY_FILE);
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let error = block_on(Store::open(dir.path())).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn epochs_grow_by_one_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    for epoch in 1..=3 {
        assert_eq!(block_on(open(dir.path()).next_epoch()).unwrap(), epoch);
    }
}

#[test]
fn an_extension_added_is_in_the_directory_with_its_digest_secret() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    block_on(store.add_extension(DEFAULT_TENANT, &new("1005", "New User", "securepassword123"))).unwrap();
    let (directory, _) = block_on(open(dir.path()).directory()).unwrap();
    let tenant = directory.tenant(DEFAULT_TENANT).unwrap();
    assert_eq!((&*tenant.name, &*tenant.realm), ("default", "strowger"));
    let extension = tenant.extension("1005").unwrap();
    assert_eq!((&*extension.name, &*extension.email, extension.allow_external), ("New User", "a@example.com", false));
    assert_eq!(extension.secret, digest_secret("1005", "strowger", "securepassword123"));
    assert_eq!(block_on(store.password(DEFAULT_TENANT, "1005")).unwrap(), "securepassword123");
}

#[test]
fn digest_secrets_are_those_of_rfc_7616() {
    // RFC 7616 §3.9.1: user Mufasa, realm http-auth@example.org, password "Circle of Life".
    let Secret { md5, sha256 } = digest_secret("Mufasa", "http-auth@example.org", "Circle of Life");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&md5), "3d78807defe7de2157e2b0b6573a855f");
    assert_eq!(hex(&sha256), "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232");
}

#[test]
fn refusals_have_the_documented_texts() {
    let (_dir, store) = office();
    let add = |extension| block_on(store.add_extension(DEFAULT_TENANT, &extension)).unwrap_err().to_string();
    assert_eq!(add(new("1001", "Twin", "longenough")), "Extension already exists");
    assert_eq!(add(new("1002", "", "longenough")), "Missing required fields");
    assert_eq!(add(new("1002", "Short", "1234567")), "Password must be at least 8 characters");
    assert!(add(new("10 02", "Space", "longenough")).starts_with("Extension number must be"));
    let update = block_on(store.update_extension(DEFAULT_TENANT, "1009", &ExtensionChange::default()));
    assert_eq!(update.unwrap_err().to_string(), "Extension not found");
    let remove = block_on(store.remove_extension(DEFAULT_TENANT, "1009"));
    assert_eq!(remove.unwrap_err().to_string(), "Extension not found");
    let numbers: Vec<_> = block_on(store.extensions(DEFAULT_TENANT)).unwrap().into_iter().map(|e| e.number).collect();
    assert_eq!(numbers, ["1001".into()]);
}

#[test]
fn an_update_keeps_what_it_does_not_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    block_on(store.add_extension(DEFAULT_TENANT, &new("1001", "Ada", "securepassword123"))).unwrap();
    let before = block_on(store.extensions(DEFAULT_TENANT)).unwrap().remove(0);
    let change = ExtensionChange { name: Some("Ada Lovelace".into()), ..Default::default() };
    block_on(store.update_extension(DEFAULT_TENANT, "1001", &change)).unwrap();
    let mut expected = before;
    expected.name = "Ada Lovelace".into();
    assert_eq!(block_on(store.extensions(DEFAULT_TENANT)).unwrap(), [expected]);
}

#[test]
fn a_new_password_ends_registrations_and_another_extensions_stay() {
    let (_dir, store) = office();
    add_extension(&store, "1002");
    let mut session = Session::start(&store, WriterConfig::default());
    assert!(session.record([bind("1001", "a", 1), bind("1002", "b", 1)]));
    session.writer.close();
    assert_eq!(bindings(&store).len(), 2);
    let change = ExtensionChange { password: Some("another password".into()), ..Default::default() };
    block_on(store.update_extension(DEFAULT_TENANT, "1001", &change)).unwrap();
    let left: Vec<_> = bindings(&store).into_iter().map(|b| b.extension).collect();
    assert_eq!(left, ["1002".into()]);
    assert_eq!(block_on(store.password(DEFAULT_TENANT, "1001")).unwrap(), "another password");
    block_on(store.remove_extension(DEFAULT_TENANT, "1002")).unwrap();
    assert!(bindings(&store).is_empty());
}

#[test]
fn a_running_daemon_notices_what_another_process_changed() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = open(dir.path());
    let (_, before) = block_on(daemon.directory()).unwrap();
    assert_eq!(block_on(daemon.directory_version()).unwrap(), before);
    add_extension(&open(dir.path()), "1001");
    let seen = block_on(daemon.directory_version()).unwrap();
    assert!(seen > before);
    let (directory, version) = block_on(daemon.directory()).unwrap();
    assert_eq!(version, seen);
    assert!(directory.tenant(DEFAULT_TENANT).unwrap().extension("1001").is_some());
}

#[test]
fn a_refused_change_is_no_change() {
    let (_dir, store) = office();
    let before = block_on(store.directory_version()).unwrap();
    block_on(store.add_extension(DEFAULT_TENANT, &new("1001", "Twin", "longenough"))).unwrap_err();
    let change = TenantChange { domains: Some(vec!["ok.example".into(), "not a host".into()]), time_zone: None };
    block_on(store.update_tenant(DEFAULT_TENANT, &change)).unwrap_err();
    assert_eq!(block_on(store.directory_version()).unwrap(), before);
    assert!(block_on(store.tenants()).unwrap()[0].domains.is_empty());
}

#[test]
fn two_tenants_have_the_same_numbers_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let acme = other_tenant(&store);
    add_extension(&store, "1001");
    block_on(store.add_extension(acme, &new("1001", "Wile", "correct horse"))).unwrap();
    let (directory, _) = block_on(store.directory()).unwrap();
    assert_eq!(directory.tenant_of_domain("pbx.acme.example"), Some(acme));
    let secret = |tenant| directory.tenant(tenant).unwrap().extension("1001").unwrap().secret.clone();
    assert_ne!(secret(DEFAULT_TENANT), secret(acme), "the realms differ, so must the secrets");
    block_on(store.remove_extension(acme, "1001")).unwrap();
    assert_eq!(block_on(store.extensions(DEFAULT_TENANT)).unwrap().len(), 1);
}

#[test]
fn a_domain_or_name_of_another_tenant_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    other_tenant(&store);
    let take = TenantChange { domains: Some(vec!["pbx.acme.example".into()]), time_zone: None };
    let error = block_on(store.update_tenant(DEFAULT_TENANT, &take)).unwrap_err();
    assert!(matches!(error, StoreError::Duplicate("Domain")), "{error}");
    let twin = NewTenant { name: "acme".into(), domains: vec![], realm: "acme".into(), time_zone: "UTC".into() };
    assert!(matches!(block_on(store.add_tenant(&twin)).unwrap_err(), StoreError::Duplicate("Tenant")));
    let nowhere = NewTenant { name: "x".into(), time_zone: "Mars/Olympus".into(), ..twin };
    assert!(matches!(block_on(store.add_tenant(&nowhere)), Err(StoreError::Invalid { field: "time_zone", .. })));
}

#[test]
fn a_first_start_tells_its_passwords_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let made = block_on(store.bootstrap()).unwrap().unwrap();
    let numbers: Vec<_> = made.iter().map(|(number, _)| number.as_str()).collect();
    assert_eq!(numbers, ["1001", "1002", "1003", "1004"]);
    let (directory, _) = block_on(store.directory()).unwrap();
    for (number, password) in &made {
        let extension = directory.tenant(DEFAULT_TENANT).unwrap().extension(number).unwrap();
        assert_eq!(extension.secret, digest_secret(number, "strowger", password));
    }
    assert!(block_on(store.bootstrap()).unwrap().is_none());
    for number in numbers {
        block_on(store.remove_extension(DEFAULT_TENANT, number)).unwrap();
    }
    assert!(block_on(open(dir.path()).bootstrap()).unwrap().is_none(), "an emptied office stays empty");
}

#[test]
fn a_database_with_extensions_is_not_bootstrapped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add_extension(&store, "2001");
    assert!(block_on(store.bootstrap()).unwrap().is_none());
}

#[test]
fn passwords_can_be_read_aloud_and_do_not_repeat() {
    let made: std::collections::BTreeSet<String> = (0..100).map(|_| typeable_password().unwrap()).collect();
    assert_eq!(made.len(), 100);
    for password in made {
        assert_eq!(password.len(), 16);
        assert!(
            !password.contains(['0', 'o', '1', 'l', 'i', '5', 's', '2', 'z', 'u', 'v', '8', 'b', 'q']),
            "{password}"
        );
    }
}

#[test]
fn a_sealed_password_opens_only_in_its_place_and_with_its_key() {
    let here = tempfile::tempdir().unwrap();
    let there = tempfile::tempdir().unwrap();
    let key = SealKey::load(here.path()).unwrap();
    let sealed = key.seal(DEFAULT_TENANT, "1001", "correct horse").unwrap();
    assert!(!sealed.windows(7).any(|window| window == b"correct"));
    let again = SealKey::load(here.path()).unwrap();
    assert_eq!(again.open(DEFAULT_TENANT, "1001", &sealed).unwrap(), "correct horse");
    assert!(matches!(key.open(DEFAULT_TENANT, "1002", &sealed), Err(StoreError::Damaged)));
    assert!(matches!(key.open(TenantId(2), "1001", &sealed), Err(StoreError::Damaged)));
    let other = SealKey::load(there.path()).unwrap();
    assert!(matches!(other.open(DEFAULT_TENANT, "1001", &sealed), Err(StoreError::OtherKey)));
    for at in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        assert!(key.open(DEFAULT_TENANT, "1001", &damaged).is_err(), "byte {at}");
        assert!(key.open(DEFAULT_TENANT, "1001", &sealed[..at]).is_err());
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone_and_says_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let write = |sql: &'static str| block_on(sqlx::query(sql).execute(store.pool())).unwrap();
    let try_open = || block_on(Store::open(dir.path())).map(drop).unwrap_err().to_string();
    write(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
           VALUES (99, 'to come', 1, x'00', 0)",
    );
    let said = try_open();
    let ours = env!("CARGO_PKG_VERSION");
    assert!(
        said.contains("to form 99 by a newer version") && said.contains(&format!("this is Strowger {ours}")),
        "{said}"
    );
    write("UPDATE meta SET value = 3000002000001 WHERE key = 'software'");
    let said = try_open();
    assert!(said.contains("by Strowger 3.2.1") && said.contains("backup"), "{said}");
    write("DELETE FROM _sqlx_migrations WHERE version = 99");
    drop(open(dir.path()));
}

#[test]
fn a_lost_key_is_told_until_it_is_back_or_no_longer_missed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(KEY_FILE);
    let store = open(dir.path());
    for number in ["1001", "1002", "1003", "1004"] {
        add_extension(&store, number);
    }
    assert_eq!(block_on(store.other_seals()).unwrap(), None);
    let saved = std::fs::read(&file).unwrap();

    std::fs::remove_file(&file).unwrap();
    let said = block_on(open(dir.path()).other_seals()).unwrap().unwrap();
    assert!(said.contains("4 extensions (1001, 1002, 1003, …)") && said.contains("just been made anew"), "{said}");
    assert!(said.contains("secret.key") && said.contains("strowger extensions passwd"), "{said}");
    let store = open(dir.path());
    let again = block_on(store.other_seals()).unwrap().unwrap();
    assert!(!again.contains("made anew"), "{again}");
    assert_eq!(block_on(store.extensions(DEFAULT_TENANT)).unwrap().len(), 4, "and all else works");

    let change = ExtensionChange { password: Some("battery staple".into()), ..ExtensionChange::default() };
    for number in ["1001", "1002", "1003"] {
        block_on(store.update_extension(DEFAULT_TENANT, number, &change)).unwrap();
    }
    assert!(block_on(store.other_seals()).unwrap().unwrap().contains("1 extension (1004)"));
    block_on(store.update_extension(DEFAULT_TENANT, "1004", &change)).unwrap();
    assert_eq!(block_on(store.other_seals()).unwrap(), None);

    std::fs::write(&file, saved).unwrap();
    assert!(block_on(open(dir.path()).other_seals()).unwrap().unwrap().contains("4 extensions"));
}

#[test]
fn processes_at_a_first_start_agree_on_one_key_and_one_database() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let all: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn({
                let data = data.clone();
                move || open(&data)
            })
        })
        .collect();
    let stores: Vec<Store> = all.into_iter().map(|thread| thread.join().unwrap()).collect();
    add_extension(&stores[0], "1001");
    for store in &stores {
        assert_eq!(block_on(store.password(DEFAULT_TENANT, "1001")).unwrap(), "correct horse");
    }
}
