use super::shape::{assert_same_shape, example};
use super::*;
use crate::base::ids::TenantId;
use crate::store::tenants::NewTenant;
use serde_json::json;

#[tokio::test]
async fn every_documented_example_is_answered_as_documented() {
    let mut office = Office::open().await;
    office.add("1001").await;
    let answer = office.ask("POST", "/api/extensions", example("extension_add_request").to_string()).await.ok();
    assert_eq!(answer, example("extension_add"));
    office.event(TEN, EventBody::Registered { tenant: DEFAULT_TENANT, extension: "1005".into(), contacts: 1 });

    let list = office.get("/api/extensions").await.ok();
    assert_same_shape(&example("extensions"), &list, &[], &[]);
    let expected = json!({
        "number": "1005", "name": "New User", "email": "newuser@company.com", "registered": true, "allow_external": true
    });
    assert_eq!(list[1], expected);
    assert_eq!(list[0]["registered"], false);

    let answer = office.ask("PUT", "/api/extensions/1005", example("extension_update_request").to_string()).await.ok();
    assert_eq!(answer, example("extension_update"));
    let changed = office.get("/api/extensions").await.ok()[1].clone();
    assert_eq!(changed["name"], "Updated Name");
    assert_eq!(changed["email"], "updated@company.com");
    assert_eq!(changed["allow_external"], false);
    assert_eq!(office.store.password(DEFAULT_TENANT, "1005").await.unwrap(), "newpassword123");

    let answer = office.ask("DELETE", "/api/extensions/1005", Body::empty()).await.ok();
    assert_eq!(answer, example("extension_delete"));
    assert_eq!(office.get("/api/extensions").await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_exchange_knows_a_change_before_it_is_answered() {
    let office = Office::open().await;
    office.add("1001").await;
    assert!(office.knows(DEFAULT_TENANT, "1001"));
    let secret = |office: &Office| {
        let directory = office.daemon.directory.lock().unwrap();
        directory.tenant(DEFAULT_TENANT).unwrap().extension("1001").unwrap().secret.clone()
    };
    let before = secret(&office);
    office.ask("PUT", "/api/extensions/1001", r#"{"password":"another one"}"#).await.ok();
    assert!(secret(&office) != before);
    office.ask("DELETE", "/api/extensions/1001", Body::empty()).await.ok();
    assert!(!office.knows(DEFAULT_TENANT, "1001"));
}

#[tokio::test]
async fn a_change_the_exchange_does_not_take_is_no_success() {
    let office = Office::open().await;
    *office.daemon.stopped.lock().unwrap() = true;
    let body = r#"{"number":"1001","name":"A","password":"12345678"}"#;
    let error = office.ask("POST", "/api/extensions", body).await.error(500);
    assert_eq!(
        error,
        "The change is stored, but the exchange has not taken it yet: the exchange does not answer: it is stopping"
    );
}

#[tokio::test]
async fn the_documented_errors_have_their_words() {
    let office = Office::open().await;
    office.add("1001").await;
    let full = json!({ "number": "1002", "name": "A", "password": "12345678" });
    for missing in ["number", "name", "password"] {
        for value in [None, Some(Value::Null), Some(json!(""))] {
            let mut body = full.clone();
            match value {
                Some(value) => body[missing] = value,
                None => drop(body.as_object_mut().unwrap().remove(missing)),
            }
            let error = office.ask("POST", "/api/extensions", body.to_string()).await.error(400);
            assert_eq!(error, "Missing required fields", "{body}");
        }
    }
    let duplicate = json!({ "number": "1001", "name": "A", "password": "12345678" });
    let error = office.ask("POST", "/api/extensions", duplicate.to_string()).await.error(400);
    assert_eq!(error, "Extension already exists");
    for (method, body) in [("PUT", r#"{"name":"x"}"#), ("DELETE", "")] {
        assert_eq!(office.ask(method, "/api/extensions/1999", body).await.error(404), "Extension not found");
    }
    let short = json!({ "number": "1002", "name": "A", "password": "1234567" });
    let error = office.ask("POST", "/api/extensions", short.to_string()).await.error(400);
    assert_eq!(error, "Password must be at least 8 characters");
    let error = office.ask("PUT", "/api/extensions/1001", r#"{"password":"1234567"}"#).await.error(400);
    assert_eq!(error, "Password must be at least 8 characters");
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let office = Office::open().await;
    let error =
        async |method: &str, path: &str, body: Value| office.ask(method, path, body.to_string()).await.error(400);
    let body =
        json!({ "number": "1 1", "email": "nobody", "password": "short", "allow_external": 1, "vip": 1, "zone": 2 });
    assert_eq!(
        error("POST", "/api/extensions", body).await,
        "Unknown fields `vip`, `zone`: the fields are number, name, email, password, allow_external; `allow_external` must \
         be true or false; Extension number must be at most 64 letters, digits, or . _ - + *; Missing required fields; Email \
         must look like name@example.com; Password must be at least 8 characters"
    );
    let body = json!({ "number": 7, "name": "A", "password": "" });
    assert_eq!(error("POST", "/api/extensions", body).await, "`number` must be a string; Missing required fields");
    office.add("1001").await;
    let body = json!({ "number": "1002", "name": " ", "password": "short" });
    assert_eq!(
        error("PUT", "/api/extensions/1001", body).await,
        "An extension's number can't be changed: add another and delete this one; Name must be 1 to 256 bytes, not only \
         blanks, without control characters; Password must be at least 8 characters"
    );
}

#[tokio::test]
async fn a_number_with_another_meaning_is_taken_with_a_warning() {
    let office = Office::open().await;
    let add = async |number: &str| {
        let body = json!({ "number": number, "name": "A", "password": "12345678" });
        office.ask("POST", "/api/extensions", body.to_string()).await.ok()
    };
    assert_eq!(add("1001").await.get("warning"), None);
    let answer = add("911").await;
    assert_eq!(answer["success"], true);
    assert!(answer["warning"].as_str().unwrap().contains("can't be called"), "{answer}");
    assert!(add("2001").await["warning"].as_str().unwrap().contains("no conference room any more"));
}

#[tokio::test]
async fn what_is_not_a_valid_body_is_refused_by_name() {
    let office = Office::open().await;
    office.add("1001").await;
    let cases = [
        (r#"{"number":1002,"name":"A","password":"12345678"}"#, "`number` must be a string"),
        (r#"{"number":"1002","name":["A"],"password":"12345678"}"#, "`name` must be a string"),
        (
            r#"{"number":"1002","name":"A","password":"12345678","allow_external":"yes"}"#,
            "`allow_external` must be true or false",
        ),
        (r#"{"number":"1002","name":"A","password":"12345678","vip":true}"#, "Unknown field `vip`"),
        (r#"{"number":"1002","#, "The body is not valid JSON: "),
        (r#"["1002"]"#, "The body must be a JSON object"),
        ("", "The request has no body"),
        ("\u{0}", "The body is not valid JSON: "),
    ];
    for (body, reason) in cases {
        let error = office.ask("POST", "/api/extensions", body).await.error(400);
        assert!(error.starts_with(reason), "{body}: {error}");
    }
    let error = office.ask("PUT", "/api/extensions/1001", r#"{"number":"1002"}"#).await.error(400);
    assert!(error.contains("number can't be changed"), "{error}");
    let blank = json!({ "number": "1002", "name": " \u{a0}", "password": "12345678" });
    let error = office.ask("POST", "/api/extensions", blank.to_string()).await.error(400);
    assert!(error.contains("not only blanks"), "{error}");
    let number = json!({ "number": "10 01", "name": "A", "password": "12345678" });
    assert!(!office.ask("POST", "/api/extensions", number.to_string()).await.error(400).is_empty());
    assert_eq!(office.get("/api/extensions").await.ok().as_array().unwrap().len(), 1, "nothing was added");
}

#[tokio::test]
async fn an_update_keeps_what_it_does_not_name() {
    let office = Office::open().await;
    let body = r#"{"number":"1001","name":"A","email":"a@example.com","password":"12345678","allow_external":false}"#;
    office.ask("POST", "/api/extensions", body).await.ok();
    office.ask("PUT", "/api/extensions/1001", r#"{"name":"B","number":"1001"}"#).await.ok();
    let expected = json!([
        { "number": "1001", "name": "B", "email": "a@example.com", "registered": false, "allow_external": false }
    ]);
    assert_eq!(office.get("/api/extensions").await.ok(), expected);
    assert_eq!(office.store.password(DEFAULT_TENANT, "1001").await.unwrap(), "12345678");
}

#[tokio::test]
async fn another_tenants_extensions_are_neither_shown_nor_touched() {
    let office = Office::open().await;
    let tenant = NewTenant {
        name: "other".to_string(),
        domains: vec!["other.example".to_string()],
        realm: "other".to_string(),
        time_zone: "UTC".to_string(),
    };
    let other: TenantId = office.store.add_tenant(&tenant).await.unwrap();
    let new = crate::store::extensions::NewExtension {
        number: "1001".to_string(),
        name: "Theirs".to_string(),
        email: String::new(),
        password: "12345678".to_string(),
        allow_external: true,
    };
    office.store.add_extension(other, &new).await.unwrap();
    assert_eq!(office.get("/api/extensions").await.ok(), json!([]));
    assert_eq!(office.ask("DELETE", "/api/extensions/1001", "").await.error(404), "Extension not found");
    office.add("1001").await;
    assert_eq!(office.store.extensions(other).await.unwrap()[0].name.as_ref(), "Theirs");
}
