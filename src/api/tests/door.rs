use super::*;
use serde_json::json;

async fn with(office: &Office, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    office.send(request.body(Body::empty()).unwrap()).await
}

const LOCAL: (&str, &str) = ("host", "localhost:8080");

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405_that_tells_the_right_ones() {
    let office = Office::open().await;
    for path in ["/", "/api", "/api/nothing", "/api/status/", "/api/conferences", "/api/extensions/1001/password"] {
        assert_eq!(office.get(path).await.error(404), format!("There is nothing at {path}"));
    }
    let reply = office.ask("PATCH", "/api/extensions", "").await;
    assert_eq!(reply.error(405), "/api/extensions does not take PATCH");
    assert_eq!(reply.header("allow"), "GET,HEAD,POST");
    for (method, path) in
        [("POST", "/api/status"), ("DELETE", "/api/calls"), ("GET", "/api/extensions/1001"), ("PUT", "/healthz")]
    {
        assert!(!office.ask(method, path, "").await.error(405).is_empty());
    }
}

#[tokio::test]
async fn a_preflight_is_answered_for_all_origins_with_authorization_allowed() {
    let office = Office::open().await;
    let headers = [
        LOCAL,
        ("origin", "https://crm.example.com"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    for path in ["/api/extensions/1001", "/api/status", "/api/nothing"] {
        let reply = with(&office, "OPTIONS", path, &headers).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (204, ""));
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert_eq!(reply.header("access-control-allow-methods"), "*");
        assert!(reply.header("access-control-allow-headers").contains("authorization"));
        assert_eq!(reply.header("access-control-allow-credentials"), "");
    }
    assert_eq!(office.get("/api/status").await.header("access-control-allow-origin"), "*");
    assert_eq!(office.get("/api/nothing").await.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn without_cors_no_origin_is_allowed() {
    let office = Office::with_cors(Cors::Off).await;
    let reply = with(&office, "OPTIONS", "/api/status", &[LOCAL, ("access-control-request-method", "GET")]).await;
    reply.error(405);
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn narrowed_cors_names_the_origin_that_may() {
    let office = Office::with_cors(Cors::Only(vec!["http://localhost:3000".parse().unwrap()])).await;
    for (origin, allowed) in [("http://localhost:3000", "http://localhost:3000"), ("http://localhost:4000", "")] {
        let reply = with(&office, "GET", "/api/status", &[LOCAL, ("origin", origin)]).await;
        assert_eq!(reply.header("access-control-allow-origin"), allowed);
    }
}

#[tokio::test]
async fn foreign_hosts_proxies_and_pages_are_refused_with_the_reason() {
    let office = Office::open().await;
    office.add("1001").await;
    let cases: [&[(&str, &str)]; 4] = [
        &[("host", "pbx.example.com")],
        &[LOCAL, ("forwarded", "for=192.0.2.60")],
        &[LOCAL, ("x-forwarded-for", "127.0.0.1")],
        &[LOCAL, ("origin", "https://evil.example")],
    ];
    for headers in cases {
        for (method, path) in [("GET", "/api/extensions"), ("DELETE", "/api/extensions/1001"), ("GET", "/metrics")] {
            let reason = with(&office, method, path, headers).await.error(403);
            assert!(reason.contains("`api.auth` is `none`"), "{reason}");
        }
    }
    assert_eq!(office.get("/api/extensions").await.ok().as_array().unwrap().len(), 1);
    let reply = with(&office, "GET", "/api/status", &[LOCAL, ("origin", "http://localhost:3000")]).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn every_reply_has_an_id_the_clients_own_if_it_is_plain() {
    let office = Office::open().await;
    let own = with(&office, "GET", "/api/status", &[LOCAL, ("x-request-id", "abc-1")]).await;
    assert_eq!(own.header("x-request-id"), "abc-1");
    let mut seen = std::collections::BTreeSet::new();
    for headers in [&[LOCAL][..], &[LOCAL, ("x-request-id", "a b")], &[("host", "evil.example")]] {
        let reply = with(&office, "GET", "/api/nothing", headers).await;
        let id = reply.header("x-request-id").to_string();
        assert!(id.len() > 8 && seen.insert(id));
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_in_json() {
    let office = Office::open().await;
    let body = format!(r#"{{"number":"1001","name":"{}"}}"#, "x".repeat(crate::base::limits::HTTP_BODY_BYTES));
    let error = office.ask("POST", "/api/extensions", body).await.error(413);
    assert_eq!(error, "The body is too long: at most 65536 bytes are taken");
}

#[tokio::test]
async fn health_tells_what_is_wrong() {
    let office = Office::open().await;
    assert_eq!(office.get("/healthz").await.ok(), json!({ "healthy": true }));
    office.daemon.troubles.lock().unwrap().push("the journal takes no records: disk full".to_string());
    let reply = office.get("/healthz").await;
    assert_eq!(reply.status.as_u16(), 503);
    assert_eq!(reply.json()["reasons"], json!(["the journal takes no records: disk full"]));
    assert_eq!(reply.json()["error"], "the journal takes no records: disk full");
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let mut office = Office::open().await;
    office.event(TEN, EventBody::Registered { tenant: DEFAULT_TENANT, extension: "1001".into(), contacts: 1 });
    let reply = office.get("/metrics").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(reply.text.contains("\nstrowger_registered_extensions 1.0\n"), "{}", reply.text);
}
