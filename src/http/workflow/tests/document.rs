//! The document lists what is served, and the pages that show it need nobody else.

use std::collections::BTreeSet;

use super::*;

const SERVED: [&str; 19] = [
    "GET /",
    "GET /agents",
    "GET /docs",
    "GET /docs/{file}",
    "GET /health",
    "GET /metrics",
    "GET /openapi.json",
    "GET /ready",
    "GET /redoc",
    "GET /redoc/{file}",
    "GET /workflows",
    "GET /workflows/{id}",
    "GET /workflows/{id}/artifacts",
    "GET /workflows/{id}/events",
    "GET /workflows/{id}/history",
    "POST /invoke/{agent}",
    "POST /workflows",
    "POST /workflows/{id}/advance",
    "POST /workflows/{id}/cancel",
];

async fn fetch(method: &str, path: &str) -> (Answer, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let (head, body) = bare_router().0.oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    let body = serde_json::from_str(&text).unwrap_or_default();
    (Answer { status: head.status.as_u16(), headers: head.headers, body }, text)
}

#[tokio::test]
async fn the_document_lists_exactly_what_is_served() {
    let (document, _) = fetch("GET", "/openapi.json").await;
    let paths = document.body["paths"].as_object().unwrap();
    let mut listed = BTreeSet::new();
    for (path, operations) in paths {
        let methods: BTreeSet<_> = operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        listed.extend(methods.iter().map(|method| format!("{method} {path}")));
        let real = path
            .replace("{id}", "00000000-0000-0000-0000-000000000007")
            .replace("{file}", "none")
            .replace("{agent}", "plan");
        // No route has DELETE: what it answers names every method that there is.
        let (refused, _) = fetch("DELETE", &real).await;
        assert_eq!(refused.error(), (405, "METHOD_NOT_ALLOWED"), "{path}");
        let allowed = refused.header("allow").split(',').filter(|method| *method != "HEAD");
        assert_eq!(allowed.map(str::to_owned).collect::<BTreeSet<_>>(), methods, "{path}");
    }
    assert_eq!(listed, SERVED.map(str::to_owned).into_iter().collect());
}

#[tokio::test]
async fn the_document_describes_every_key_and_every_reference_leads_somewhere() {
    let (document, text) = fetch("GET", "/openapi.json").await;
    let schemas = &document.body["components"]["schemas"];
    for at in text.split("\"#/components/schemas/").skip(1) {
        let name = at.split('"').next().unwrap();
        assert!(schemas.get(name).is_some(), "{name}");
    }
    let stand = Stand::manual().await;
    let created = stand.create("Users log in with a passkey").await;
    let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&schemas["Workflow"]["properties"]), keys(&created.body));
    let required = schemas["Workflow"]["required"].as_array().unwrap();
    assert_eq!(required.len(), created.body.as_object().unwrap().len());
    stand.close().await;
}

#[tokio::test]
async fn pages_bring_everything_from_this_server() {
    let attribute = regex::Regex::new(r#"(?:src|href|spec-url)="([^"]*)""#).unwrap();
    let elsewhere = regex::Regex::new(r#"(?i)(https?:)?//[a-z0-9]"#).unwrap();
    for page in ["/docs", "/redoc"] {
        let (head, html) = fetch("GET", page).await;
        assert_eq!((head.status, head.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(head.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
        assert!(!elsewhere.is_match(&html), "{html}");
        let assets: Vec<_> = attribute.captures_iter(&html).map(|found| found[1].to_owned()).collect();
        assert!(assets.len() > 1, "{assets:?}");
        for asset in assets.iter().filter(|asset| !asset.starts_with("data:")) {
            let (head, text) = fetch("GET", asset).await;
            assert!(head.status == 200 && text.len() > 100, "{asset}: {}", head.status);
        }
        assert_eq!(fetch("GET", &format!("{page}/index.html")).await.0.error(), (404, "NOT_FOUND"));
    }
    assert_eq!(fetch("GET", "/").await.0.text("docs"), "/docs");
}
